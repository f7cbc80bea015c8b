"""Fields of a JSON body as what they must be, or the error that says what was found in their place."""

from collections.abc import Mapping
from typing import Any

from inference.errors import InvalidRequestError, Violation
from inference.rows import quoted

__all__ = ["invalid", "list_of", "object_of", "text_of"]


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
