"""The datatypes of the protocol: what one element is, and how raw contents hold it."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.errors import InvalidRequestError, Violation
from inference.rows import Numbers, quoted

__all__ = ["BYTES", "DATATYPES", "Datatype", "datatype_of"]

BYTES: Final = "BYTES"

_FLOAT16_MAX: Final = 65504


class Datatype(NamedTuple):
    """One datatype."""

    name: str
    #: How raw contents hold one element, little-endian; None for BYTES, whose elements have no fixed length.
    raw: "np.dtype[np.generic] | None"
    #: The least and the greatest value, where that is not left to the model's own limits.
    bounds: tuple[int, int] | None = None
    #: Whether elements are whole numbers.
    whole: bool = False

    def numbers_of(self, elements: "NDArray[np.generic]") -> Numbers:
        """Return elements, in the form of raw contents, as numbers."""
        if self.name == "BF16":  # the upper half of a 32-bit float
            widened: NDArray[np.float32] = (elements.astype("<u4") << 16).view("<f4")
            return widened
        if self.name == "FP64":
            return elements.astype(np.float64, copy=False)
        with np.errstate(invalid="ignore"):  # a signalling nan is refused later, with its place
            if self.name in ("FP16", "FP32"):
                return elements.astype(np.float32, copy=False)
            return elements.astype(np.float64)


def _whole(name: str, code: str) -> Datatype:
    dtype = np.dtype(code)
    limits = np.iinfo(dtype)
    return Datatype(name, dtype, (int(limits.min), int(limits.max)), whole=True)


#: By name. The protocol has all but BF16, which is Triton's.
DATATYPES: Final = {
    each.name: each
    for each in (
        Datatype("BOOL", np.dtype("u1"), (0, 1), whole=True),
        *(_whole(f"UINT{8 * size}", f"<u{size}") for size in (1, 2, 4, 8)),
        *(_whole(f"INT{8 * size}", f"<i{size}") for size in (1, 2, 4, 8)),
        Datatype("FP16", np.dtype("<f2"), (-_FLOAT16_MAX, _FLOAT16_MAX)),
        Datatype("BF16", np.dtype("<u2")),
        Datatype("FP32", np.dtype("<f4")),
        Datatype("FP64", np.dtype("<f8")),
        Datatype(BYTES, None),
    )
}


def datatype_of(name: object, place: str) -> Datatype:
    """Return the datatype called `name`. Raises `InvalidRequestError`."""
    found = DATATYPES.get(name) if isinstance(name, str) else None
    if found is None:
        expected = f"expected one of {', '.join(DATATYPES)}"
        raise InvalidRequestError([Violation(place, f"found {quoted(name)}, {expected}")])
    return found
