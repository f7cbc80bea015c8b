"""What is wrong with the content of a dataset, whatever its format."""

import re
from collections.abc import Mapping
from typing import Final

__all__ = ["BrokenContentError", "NotPlainError", "first_line", "refuse_other_content"]

#: How files begin that are often given for a CSV.
_OTHER_CONTENT: Final[Mapping[bytes, str]] = {
    rb"PK\x03\x04": "a ZIP archive, such as an Excel workbook",
    rb"\xd0\xcf\x11\xe0": "an old Excel workbook",
    rb"\xff\xfe|\xfe\xff": "UTF-16 text",
    rb"\x28\xb5\x2f\xfd|BZh\d|\xfd7zXZ": "compressed in another way than gzip",
    rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml)\b": "a page of HTML or XML",
    rb"(\xef\xbb\xbf)?\s*(\[\s*[\[{]|\{\s*\"[^\"]*\"\s*:)": "JSON",
}


class BrokenContentError(Exception):
    """A content that is no dataset. `reason` completes the sentence "<role> dataset …"."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(f"{reason}; {remedy}")


class NotPlainError(Exception):
    """A content that cannot be read the quick way: the slow way reads it, or knows what is wrong and where."""


def refuse_other_content(start: bytes) -> None:
    """Raise `BrokenContentError` when a file that begins like this is no CSV."""
    for pattern, what in _OTHER_CONTENT.items():
        if re.match(pattern, start, re.IGNORECASE):
            raise BrokenContentError(
                f"cannot be read (it is {what})", "save it as CSV in UTF-8, or as Parquet"
            )


def first_line(error: BaseException) -> str:
    """Return what a library says of a file, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
