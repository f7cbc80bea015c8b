"""Fields of a JSON body as what they must be, or the error that says what was found in their place."""

import re
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

import orjson

from inference.errors import InvalidRequestError, OverloadError, Violation
from inference.rows import quoted

__all__ = ["UNLIMITED", "invalid", "json_of", "list_of", "object_of", "text_of"]

#: More rows than any body has.
UNLIMITED: Final = 1 << 62
#: Texts of this size are looked at before they are read: three bytes, such as `{},`, become 72 and more.
_LARGE_BYTES: Final = 1 << 20
#: What a body may open beside its rows: inputs, outputs, their shapes and parameters.
_BESIDE_ROWS: Final = 1024
#: A text, in which brackets open nothing; one without its end too, and nothing is tried twice, so that each byte is
#: looked at once.
_TEXT: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_OBJECT: Final = re.compile(_TEXT + rb"|(\{)", re.DOTALL)
_LIST: Final = re.compile(_TEXT + rb"|(\[)", re.DOTALL)


def json_of(text: bytes, *, objects: int, lists: int) -> object:
    """Return what the JSON `text` says; a large one has at most so many objects and lists, and some beside.

    Raises `orjson.JSONDecodeError`, and `OverloadError` before anything is made of more.
    """
    if len(text) > _LARGE_BYTES:
        if text.count(b"{") > objects + _BESIDE_ROWS:
            _check_count(text, _OBJECT, "objects", objects + _BESIDE_ROWS)
        if text.count(b"[") > lists + _BESIDE_ROWS:
            _check_count(text, _LIST, "lists", lists + _BESIDE_ROWS)
    return orjson.loads(text)


def _check_count(text: bytes, opened: re.Pattern[bytes], what: str, most: int) -> None:
    # One match after the other, and none after the first too many: a list of them would be the larger body.
    brackets = (match for match in opened.finditer(text) if match.lastindex)
    if next(islice(brackets, most, None), None) is not None:
        raise OverloadError(
            "rows",
            f"found more than {most} {what} in a body of {len(text)} bytes, at most {most} are taken at once "
            "(as MAX_ROWS_PER_REQUEST says); send several requests",
            None,
        )


def invalid(place: str, description: str) -> InvalidRequestError:
    """Return the error of one thing wrong at `place`."""
    return InvalidRequestError([Violation(place, description)])


def list_of(value: object, place: str, expected: str = "a list") -> list[Any]:
    """Return `value`, which must be a list. Raises `InvalidRequestError`."""
    if not isinstance(value, list):
        raise invalid(place, f"found {quoted(value)}, expected {expected}")
    return value


def text_of(value: object, place: str) -> str:
    """Return `value`, which must be text. Raises `InvalidRequestError`."""
    if not isinstance(value, str):
        raise invalid(place, f"found {quoted(value)}, expected text")
    return value


def object_of(value: object, place: str, expected: str = "an object") -> Mapping[str, Any]:
    """Return `value`, which must be an object. Raises `InvalidRequestError`."""
    if not isinstance(value, dict):
        raise invalid(place, f"found {quoted(value)}, expected {expected}")
    return value
