"""The pages of `/docs` as HTML. Names, classes and versions are anybody's text: `_text` escapes all of it."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Final
from urllib.parse import quote

import orjson
from google.protobuf.json_format import MessageToDict

from inference.gateway.examples import Addresses, Cell, Example, answer_of, curl, grpcurl, python
from inference.generation import Generation
from inference.kinds import Kind
from inference.oip.outputs import outputs_of
from protos.inference.v1.manifest_pb2 import Feature, FeatureType, Task

__all__ = ["POLICY", "index_page", "message_page", "model_page"]

_STYLE: Final = files("inference.gateway").joinpath("docs.css").read_text()
_SCRIPT: Final = files("inference.gateway").joinpath("docs.js").read_text()
#: Features that the page offers to try; more are a form that nobody fills in.
_MOST_FIELDS: Final = 60
#: Categories that a field offers to choose from, and that the table lists.
_MOST_CHOICES: Final = 500
_MOST_LISTED: Final = 12


def _source(content: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() + "'"


#: Nothing is loaded from anywhere; the one style and the one script are named by their digest.
POLICY: Final = (
    f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def index_page(models: Sequence[Generation], *, default: Generation | None, root: str) -> str:
    """Return the page that lists the models."""
    if not models:
        return message_page(
            "No model is loaded yet", "This page fills when /health/ready answers 200.", root=root
        )
    rows = [
        [
            f'<a href="{_text(_path(each, models, root))}">{_text(each.name)}</a>',
            f"<code>{_text(each.version)}</code>" + (" answers by default" if each is default else ""),
            _text(_task(each)),
            str(len(each.signature.names)),
            _text(each.predictor.runtime),
            _text(each.loaded_at.strftime("%Y-%m-%d %H:%M UTC")),
        ]
        for each in models
    ]
    headings = ("Model", "Version", "Task", "Features", "Runtime", "Loaded")
    body = f"<h1>Models of this server</h1>{_table(headings, rows, numbers=(3,))}"
    return _page("Models", body, root)


def message_page(title: str, sentence: str, *, root: str) -> str:
    """Return a page with one sentence."""
    return _page(title, f"<h1>{_text(title)}</h1><p>{_text(sentence)}</p>", root)


def model_page(generation: Generation, example: Example, addresses: Addresses, *, root: str) -> str:
    """Return the page of one model."""
    manifest = generation.bundle.manifest
    tags = [
        ("version", generation.version),
        ("task", _task(generation)),
        ("runtime", generation.predictor.runtime),
    ]
    shown = "".join(f'<span class="tag">{_text(key)} <b>{_text(value)}</b></span>' for key, value in tags)
    features = [
        [f"<code>{_text(feature.name)}</code>", _text(_type(feature)), _cell(value)]
        for feature, value in zip(manifest.features, example.row.values(), strict=True)
    ]
    outputs = [
        [f"<code>{_text(name)}</code>", _text(kind), f"<code>{_text(_shape(shape))}</code>"]
        for name, kind, shape in outputs_of(generation)
    ]
    parts = [
        f'<h1>{_text(generation.name)}</h1><div class="tags">{shown}</div>',
        "<h2>Features</h2>",
        _table(("Name", "Type", "Example"), features, numbers=(2,)),
        '<div class="pair"><div><h2>Answer to the example</h2>',
        _answer(generation),
        "</div><div><h2>Outputs</h2>",
        _table(("Name", "Datatype", "Shape"), outputs),
        "</div></div>",
        _form(example, generation.signature.kinds, addresses, root),
        "<h2>Ask</h2>",
        '<p class="soft">One golden row of this model; the answer is the one above.</p>',
        _code("curl", curl(example, addresses)),
        _code("grpcurl", grpcurl(example, addresses)),
        _code("Python", python(example, addresses, classifies=bool(generation.classes))),
        f'<div class="pair"><div>{_metrics(generation)}</div><div>{_origin(generation)}</div></div>',
    ]
    return _page(generation.name, "".join(parts), root)


def _answer(generation: Generation) -> str:
    answer = answer_of(generation)
    if "value" in answer:
        return _table(("Value",), [[f"<b>{_number(answer['value'])}</b>"]])
    rows = [
        [
            f"<b>{_text(label)}</b>" if number == answer["class_index"] else _text(label),
            # SVG draws by attributes, which the policy allows where it forbids styles.
            f'<svg width="100%" height="8" role="img" aria-label="{share:.1%}"><rect width="{share:.1%}" height="8" '
            'fill="currentColor"/></svg>',
            f"{share:.3f}",
        ]
        for number, (label, share) in enumerate(zip(generation.classes, answer["probabilities"], strict=True))
    ]
    return _table(("Class", "", "Probability"), rows, numbers=(2,))


def _form(example: Example, kinds: Sequence[Kind], addresses: Addresses, root: str) -> str:
    if len(example.row) > _MOST_FIELDS:
        return ""
    fields = "".join(
        f"<label>{_text(kind.name)}{_field(kind, cell)}</label>"
        for kind, cell in zip(kinds, example.row.values(), strict=True)
    )
    token = '<label>Token<input type="password" autocomplete="off"></label>' if addresses.token else ""
    names = _text(orjson.dumps(example.names).decode())
    return (
        f'<form id="try" hidden action="{_text(root)}/predict" data-names="{names}"><h2>Try it</h2>'
        f'<div class="fields">{fields}{token}</div><button class="main">Predict</button>'
        '<div class="example"><header><h3>Answer</h3></header><pre id="answer" aria-live="polite">'
        "Change a value and press Predict.</pre></div></form>"
    )


def _field(kind: Kind, cell: Cell) -> str:
    """Return the field of one feature; what it holds is a number, and of a category the JSON of its text."""
    name = f'data-feature="{_text(kind.name)}"'
    if not kind.is_category:
        shown = "" if cell is None else _text(repr(cell))
        needed = "" if kind.nullable else " required"
        return f'<input {name} type="number" step="any"{needed} value="{shown}">'
    known: list[Cell] = [*kind.categories[:_MOST_CHOICES], *([None] if kind.nullable else [])]
    if cell not in known:
        known.append(cell)
    choices = "".join(
        f'<option value="{_text(orjson.dumps(each).decode())}"{" selected" if each == cell else ""}>'
        f"{'(missing)' if each is None else _text(str(each))}</option>"
        for each in known
    )
    return f"<select {name}>{choices}</select>"


def _metrics(generation: Generation) -> str:
    found = generation.bundle.metrics
    if found is None:
        return '<h2>Quality</h2><p class="soft">The bundle has no metrics.</p>'
    content = MessageToDict(found, preserving_proto_field_name=True)
    rows = [[_text(key.replace("_", " ")), _number(value)] for key, value in content.items()]
    return "<h2>Quality on held-out rows</h2>" + _table(("Metric", "Value"), rows, numbers=(1,))


def _origin(generation: Generation) -> str:
    lineage = generation.bundle.manifest.lineage
    facts = [
        ("Digest", generation.digest),
        ("Loaded", generation.loaded_at.strftime("%Y-%m-%d %H:%M:%S UTC")),
        ("Estimator", lineage.estimator),
        ("Data", lineage.data_source),
        ("Commit", lineage.git_commit + (" with changes" if lineage.git_dirty else "")),
        ("MLflow run", lineage.mlflow_run_id),
    ]
    rows = [[_text(key), f"<code>{_text(value)}</code>"] for key, value in facts if value]
    return "<h2>Where it comes from</h2>" + _table((), rows, kind="facts")


def _code(title: str, content: str) -> str:
    name = f"code-{title.lower()}"
    button = f'<button data-copy="{name}" hidden>Copy</button>'
    return (
        f'<section class="example"><header><h3>{_text(title)}</h3>{button}</header>'
        f'<pre id="{name}">{_text(content)}</pre></section>'
    )


def _table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = (), kind: str = ""
) -> str:
    """Return a table; headings and cells are HTML already."""

    def cell(tag: str, place: int, content: str) -> str:
        return f"<{tag}{' class=number' if place in numbers else ''}>{content}</{tag}>"

    head = "".join(cell("th", place, heading) for place, heading in enumerate(headings))
    body = "".join(
        f"<tr>{''.join(cell('td', place, content) for place, content in enumerate(row))}</tr>" for row in rows
    )
    return (
        f'<div class="wide"><table class="{kind}">{f"<thead><tr>{head}</tr></thead>" if head else ""}'
        f"<tbody>{body}</tbody></table></div>"
    )


def _page(title: str, body: str, root: str) -> str:
    links = "".join(
        f'<a href="{_text(root + path)}">{text}</a>'
        for path, text in (("/docs", "Models"), ("/openapi.json", "OpenAPI"), ("/health", "Health"))
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)} · Coalmine</title><style>{_STYLE}</style></head>"
        f"<body><main><nav>{links}</nav>{body}</main><script>{_SCRIPT}</script></body></html>"
    )


def _path(generation: Generation, models: Sequence[Generation], root: str) -> str:
    path = f"{root}/docs/{quote(generation.name, safe='')}"
    alone = sum(each.name == generation.name for each in models) == 1
    return path if alone else f"{path}?version={quote(generation.version, safe='')}"


def _task(generation: Generation) -> str:
    return Task.Name(generation.bundle.manifest.task).removeprefix("TASK_").lower()


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join('rows' if size == -1 else str(size) for size in shape)}]"


def _type(feature: Feature) -> str:
    name = FeatureType.Name(feature.type).removeprefix("FEATURE_TYPE_").lower()
    if feature.categories:
        more = len(feature.categories) - _MOST_LISTED
        listed = ", ".join(feature.categories[:_MOST_LISTED])
        name += f": {listed}" + (f" and {more} more" if more > 0 else "")
    if feature.unknown_as_missing:
        name += "; an unknown text counts as missing"
    return name + ("; may be missing" if feature.nullable else "")


def _cell(cell: Cell) -> str:
    if cell is None:
        return "null"
    return _text(cell) if isinstance(cell, str) else _number(cell)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"


def _text(content: str) -> str:
    return escape(content, quote=True)
