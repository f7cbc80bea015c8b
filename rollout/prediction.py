"""The command `invoke predict`: rows from flags or a CSV file, predictions as a table or as JSON lines."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from inference.client import (
    InvalidRequestError,
    NotFoundError,
    PredictionClient,
    PredictionError,
    PredictResult,
    TlsFiles,
    UnauthenticatedError,
    Violation,
)
from protos.inference.v1.manifest_pb2 import FEATURE_TYPE_CATEGORY, ModelManifest
from rollout.console import fail, write_json
from rollout.errors import ExitCode, RolloutError, UsageError
from rollout.rows_file import NamedRows, read_csv, read_rows

__all__ = ["PredictOptions", "predict"]

#: Where a server listens by default, when no local stack runs.
_DEFAULT_ADDRESS: Final = "127.0.0.1:50051"

#: What people call the parts of a request.
_WORDS: Final = {"feature_names": "columns", "tensor.column_count": "number of columns"}

#: So wide that nothing is cut when a program reads the table.
_PIPE_WIDTH: Final = 10_000


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """What `predict` was asked for; `csv` is a file name, or - for standard input."""

    rows: tuple[str, ...] = ()
    csv: str = ""
    address: str = ""
    model_name: str = ""
    model_version: str = ""
    token_env: str = ""
    tls: bool = False
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    timeout_seconds: float = 5.0
    home: Path = field(default_factory=lambda: Path(".coalmine"))
    as_json: bool = False


def predict(options: PredictOptions) -> int:
    """Ask and show. Exit codes: 0, 2 wrong usage or rows that the model cannot take, 4 no answer."""
    try:
        return _predict(options)
    except RolloutError as error:
        fail(str(error))
        return int(error.exit_code)
    except BrokenPipeError:  # whoever read the output has gone
        sys.stdout = None  # so that nothing is flushed into the pipe at exit
        return int(ExitCode.INFRASTRUCTURE)


def _predict(options: PredictOptions) -> int:
    rows = _rows(options)
    address = options.address or _stack_address(options.home)
    try:
        client = PredictionClient(address, tls=_tls(options), token=_token(options.token_env))
    except (OSError, ValueError) as error:
        raise UsageError(f"TLS cannot be used: {error}") from None
    with client:
        try:
            results = _ask(client, rows, options)
        except InvalidRequestError as error:
            raise UsageError("\n".join(_told(error, rows))) from None
        except PredictionError as error:
            if isinstance(error, NotFoundError | UnauthenticatedError):
                raise UsageError(str(error)) from None
            fail(f"no predictions from {address}: {error}; `invoke stack-up` starts a server")
            return int(ExitCode.INFRASTRUCTURE)
    (_write_lines if options.as_json else _write_table)(results, rows)
    return 0


def _ask(client: PredictionClient, rows: NamedRows, options: PredictOptions) -> list[PredictResult]:
    asked: dict[str, Any] = {
        "model_name": options.model_name,
        "model_version": options.model_version,
        "deadline_seconds": options.timeout_seconds,
    }
    manifest = client.get_model(**asked).manifest
    cells = rows.cells(manifest.features)
    texts = any(isinstance(cell, str) for row in cells for cell in row)
    sent = cells if texts or _has_categories(manifest) else np.array(cells, np.float64)  # None becomes nan
    results = client.predict_batches(sent, feature_names=rows.names, **asked)
    # The answer to rows of cells does not tell the classes.
    return [
        result if result.classes else replace(result, classes=tuple(manifest.classes)) for result in results
    ]


def _has_categories(manifest: ModelManifest) -> bool:
    return any(feature.type == FEATURE_TYPE_CATEGORY for feature in manifest.features)


def _rows(options: PredictOptions) -> NamedRows:
    if not 0 < options.timeout_seconds < float("inf"):
        raise UsageError(f"--timeout-seconds is {options.timeout_seconds:g}, expected a number above 0")
    if bool(options.rows) == bool(options.csv):
        raise UsageError(
            "which rows? say --row 5.1,3.5,1.4,0.2 (as often as there are rows) or --csv FILE, not both"
        )
    return read_csv(options.csv) if options.csv else read_rows(options.rows)


def _tls(options: PredictOptions) -> TlsFiles | None:
    ca, cert, key = (name or None for name in (options.tls_ca, options.tls_cert, options.tls_key))
    return TlsFiles(ca, cert, key) if options.tls or ca or cert or key else None


def _token(variable: str) -> str | None:
    if not variable:
        return None
    token = os.environ.get(variable, "")
    if not token.strip():
        raise UsageError(f"--token-env names the variable {variable}, which is not set; it holds the token")
    return token


def _stack_address(home: Path) -> str:
    from rollout.local.stack import load_stack  # noqa: PLC0415  # a second of imports, for who names no address
    from rollout.state import Home  # noqa: PLC0415  # as above

    try:
        envoy = load_stack(Home(home)).envoy
    except UsageError:  # no stack
        return _DEFAULT_ADDRESS
    return envoy.address if envoy.process.find() else _DEFAULT_ADDRESS


def _told(error: InvalidRequestError, rows: NamedRows) -> Iterator[str]:
    yield f"the model cannot take these rows (request id {error.request_id}):"
    for violation in error.violations:
        yield f"  {_place(violation, rows)}: {violation.description}"


def _place(violation: Violation, rows: NamedRows) -> str:
    named = re.fullmatch(r"feature_names\[(\d+)\]", violation.field)
    if named:
        return f"column {int(named[1]) + 1}"
    if violation.row is None:
        return _WORDS.get(violation.field, violation.field)
    column = "" if violation.column is None else f", column {rows.column(violation.column)}"
    return f"{rows.places[violation.row]}{column}"


def _write_lines(results: list[PredictResult], rows: NamedRows) -> None:
    places = iter(rows.places)
    for result in results:
        model = {
            "model": result.model_name,
            "version": result.model_version,
            "track": result.track,
            "request_id": result.request_id,
            "event_id": result.event_id,
        }
        for outputs in _outputs(result):
            write_json({"row": next(places)} | outputs | model)


def _outputs(result: PredictResult) -> Iterator[dict[str, Any]]:
    for value in result.values:
        yield {"value": value}
    shares = result.probabilities or ((),) * len(result.labels)
    for label, row in zip(result.labels, shares, strict=True):
        yield {"label": label, "probabilities": dict(zip(result.classes, row, strict=False))}


def _write_table(results: list[PredictResult], rows: NamedRows) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    classes = list(dict.fromkeys(name for result in results for name in result.classes))
    several = len({result.model_version for result in results}) > 1
    table = Table(box=None, pad_edge=False)
    heads = ["row", *(["label", *classes] if classes else ["value"]), *(["version"] if several else [])]
    for position, head in enumerate(heads):
        table.add_column(escape(head), justify="left" if position < 2 and classes else "right")
    places = iter(rows.places)
    for result in results:
        version = [result.model_version] if several else []
        for outputs in _outputs(result):
            cells = [next(places), *_cells(outputs, classes), *version]
            table.add_row(*map(escape, cells))
    console.print(table)
    answered = sorted({f"{r.model_name} version {r.model_version} ({r.track or '?'})" for r in results})
    console.print(f"answered by {escape(', '.join(answered))} · request id {escape(results[0].request_id)}")


def _cells(outputs: dict[str, Any], classes: list[str]) -> list[str]:
    if "value" in outputs:
        return [f"{outputs['value']:.6g}", *[""] * len(classes)]
    shares = outputs["probabilities"]
    return [outputs["label"], *(f"{shares[name]:.4f}" if name in shares else "" for name in classes)]
