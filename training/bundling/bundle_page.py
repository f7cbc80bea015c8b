"""The facts of a bundle as a page for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from training.data.columns import listed

__all__ = ["show_facts"]

#: Of the categories of a feature, so many are shown.
_SHOWN_CATEGORIES: Final = 6
_DIGEST_LENGTH: Final = 12
#: Where there is no terminal, lines are for `grep`: as long as the longest that we write.
_PIPED_WIDTH: Final = 400
_INTERVALS: Final = ("accuracy", "r2")


def show_facts(facts: Mapping[str, Any], stream: TextIO) -> None:
    """Write the page to `stream`."""
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else _PIPED_WIDTH)
    for title, rows in (
        ("bundle", _head(facts)),
        ("features", [_feature(feature) for feature in facts["features"]]),
        ("metrics", list(_metrics(facts["metrics"]))),
        ("parity", [(key, str(value)) for key, value in (facts["parity"] or {}).items() if value != ""]),
        ("lineage", list(_lineage(facts["lineage"] or {}))),
        ("files, each as its digest says", [_file(file) for file in facts["files"]]),
    ):
        console.print(Text(title, style="bold"))
        console.print(_table(rows or [("none",)]))


def _table(rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    return table


def _head(facts: Mapping[str, Any]) -> list[tuple[str, ...]]:
    classes = f", classes {listed(facts['classes'], len(facts['classes']))}" if facts["classes"] else ""
    signature = facts["signature"]
    signed = signature["state"]
    if signed != "none":
        check = "" if signed == "verified" else ", not checked: give --public-key"
        signed = f"{signed} (of {signature['files']} files by key {signature['key_sha256'][:_DIGEST_LENGTH]}{check})"
    return [
        ("source", facts["source"]),
        ("model", f"{facts['name']}: {facts['task']}{classes}"),
        ("digest", facts["digest"]),
        ("served by", f"{facts['runtime']} (scikit-learn model in {facts['sklearn_file']})"),
        ("golden rows", str(facts["golden_rows"])),
        ("size", f"{facts['size_bytes']:,} bytes in {len(facts['files'])} files"),
        ("signature", signed),
    ]


def _feature(feature: Mapping[str, Any]) -> tuple[str, ...]:
    notes = ["may be missing"] if feature["nullable"] else []
    categories = feature.get("categories")
    if categories is not None:
        notes.append(listed(categories, _SHOWN_CATEGORIES))
        if feature["unknown_as_missing"]:
            notes.append("others count as missing")
    return feature["name"], feature["type"], "; ".join(notes)


def _metrics(metrics: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    bounds = {f"{name}_{end}" for name in _INTERVALS for end in ("low", "high")}
    for name, value in metrics.items():
        if name in bounds:
            continue
        text = str(value) if isinstance(value, int) else f"{value:.4f}"
        low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
        if low is not None and high is not None:
            text += f"  (95 %: {low:.4f} to {high:.4f})"
        yield name, text


def _lineage(lineage: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in lineage.items():
        if isinstance(value, Mapping):
            yield name, ", ".join(f"{key} {version}" for key, version in sorted(value.items()))
        elif value != "":
            yield name, str(value)


def _file(file: Mapping[str, Any]) -> tuple[str, ...]:
    return file["path"], f"{file['size_bytes']:,} bytes", file["sha256"][:_DIGEST_LENGTH]
