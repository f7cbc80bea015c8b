"""The header line of a CSV file: its names, and what is often mistaken for a CSV file."""

import csv
import io
import re
from pathlib import Path
from typing import Final

import pyarrow as pa

from training.configuration.sections import DatasetSection
from training.data.content import broken, refuse_repeated

__all__ = ["read_header"]

_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
#: What bytes that are no UTF-8 become.
_REPLACED: Final = "\ufffd"
_DELIMITERS: Final = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}

#: How what is often mistaken for a CSV file begins.
_OTHER_CONTENT: Final = {
    rb"PK\x03\x04": "a ZIP archive, such as an Excel workbook",
    rb"\xd0\xcf\x11\xe0": "an old Excel workbook",
    rb"\0\0": "NUL bytes",
    rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml)\b": "a page of HTML or XML",
    rb"(\xef\xbb\xbf)?\s*(\[\s*[\[{]|\{\s*\"[^\"]*\"\s*:)": "JSON",
}

#: The header line is looked for in so much of the file.
_HEADER_BYTES: Final = 1 << 20


def read_header(path: Path, source: str, dataset: DatasetSection, compression: str | None) -> list[str]:
    """Return the names in the header line; refuse one that another delimiter would divide."""
    with pa.input_stream(str(path), compression=compression) as stream:
        start = stream.read(_HEADER_BYTES)
    if start.startswith(_UTF16):
        raise broken(source, "it is not UTF-8 text but UTF-16", "save it as CSV in UTF-8")
    line = start[: start.rfind(b"\n")] if b"\n" in start else start
    _refuse_other_content(start, source)
    text = line.decode("utf-8-sig", errors="replace").lstrip("\r\n")
    if not text.strip():
        raise broken(source, "the file is empty", "give it a header line and rows")
    try:
        names = _fields(text, dataset.delimiter)
    except csv.Error as error:
        raise broken(source, f"its header cannot be read: {error}", "write the file again") from error
    if any(_REPLACED in name for name in names):
        raise broken(source, "its header is not UTF-8 text", "save it as CSV in UTF-8")
    _refuse_wrong_delimiter(names, text, source, dataset)
    refuse_repeated(names, source)
    if "" in names and dataset.features is None:
        reason = f"column {names.index('') + 1} has no name in the header"
        remedy = "name it, or leave the column out (pandas writes one unless index=False), or name [dataset] features"
        raise broken(source, reason, remedy)
    return names


def _refuse_other_content(start: bytes, source: str) -> None:
    for pattern, what in _OTHER_CONTENT.items():
        if re.match(pattern, start, re.IGNORECASE):
            remedy = "save it as CSV in UTF-8, or as Parquet"
            raise broken(source, f"it is no CSV but {what}", remedy)


def _fields(text: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def _refuse_wrong_delimiter(names: list[str], text: str, source: str, dataset: DatasetSection) -> None:
    if len(names) > 1 and (dataset.target is None or dataset.target in names):
        return
    others = {found: _fields(text, found) for found in _DELIMITERS if found != dataset.delimiter}
    best = max(others, key=lambda found: (dataset.target in others[found], len(others[found])))
    if len(others[best]) > 1 and (len(names) == 1 or dataset.target in others[best]):
        shown = _DELIMITERS.get(dataset.delimiter, repr(dataset.delimiter))
        columns = "column" if len(names) == 1 else "columns"
        reason = (
            f"between its fields stands {_DELIMITERS[best]}: divided by {shown} its header has {len(names)} "
            f"{columns}, divided by {_DELIMITERS[best]} it has {len(others[best])}"
        )
        toml = best.replace("\t", r"\t")
        raise broken(source, reason, f'set [dataset] delimiter = "{toml}"')
