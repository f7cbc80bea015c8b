"""Turn whatever a model raises into the one error that refuses its bundle."""

from collections.abc import Iterator
from contextlib import contextmanager

from inference.artifacts.bundle import Bundle
from inference.errors import BundleError

__all__ = ["refusing_failures"]


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
