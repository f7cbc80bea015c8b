"""Turn whatever a model raises into the one error that refuses its bundle, and read what a child found."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from inference.artifacts.bundle import Bundle
from inference.errors import BundleError

__all__ = ["read_verdict", "refusing_failures"]


@contextmanager
def refusing_failures(bundle: Bundle, action: str) -> Iterator[None]:
    """Raise `BundleError` when the model's own code fails; `action` says during what, as in `loading x`.

    ONNX Runtime derives its errors from `Exception` itself and an estimator may raise anything, so nothing
    narrower would hold.
    """
    try:
        yield
    except BundleError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        reason = f"{action} failed with {type(error).__name__}: {lines[0]}"
        raise BundleError(str(bundle.path), reason) from error


def read_verdict(line: str) -> dict[str, str] | None:
    """Read what a child says of a model: nothing against it, or the `reason` and `remedy` of a refusal.

    Returns None when the line is no verdict at all.
    """
    try:
        fields = json.loads(line)
        return {name: str(fields[name]) for name in ("reason", "remedy")} if fields else {}
    except (ValueError, TypeError, KeyError):
        return None
