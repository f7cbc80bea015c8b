"""Values between Arrow and NumPy by their memory.

Arrow's own ways (`to_numpy`, `pa.array`, `pa.scalar`) import pandas where it is installed: 40 MiB for nothing.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["float_values", "int_values", "place_array", "text_array"]


def text_array(texts: Sequence[str]) -> pa.Array:
    """Return an array of texts, in Arrow's layout: where each one ends, and all of them in UTF-8."""
    encoded = [text.encode() for text in texts]
    ends = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(text) for text in encoded], out=ends[1:])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.large_string(), len(encoded), buffers).cast(pa.string())


def place_array(places: NDArray[np.intp]) -> pa.Array:
    """Return an array of the places of rows, as `take` wants it."""
    buffer = pa.py_buffer(np.ascontiguousarray(places, np.int64))
    return pa.Array.from_buffers(pa.int64(), len(places), [None, buffer])


def float_values(column: pa.Array) -> NDArray[np.float64]:
    """Return the values of an array of float64, NaN where one is missing."""
    return np.asarray(np.from_dlpack(column.fill_null(_NAN)), np.float64)


def int_values(column: pa.Array) -> NDArray[np.int32]:
    """Return the values of an array of int32 that misses none."""
    return np.asarray(np.from_dlpack(column), np.int32)


_NAN = pa.Array.from_buffers(pa.float64(), 1, [None, pa.py_buffer(np.array([np.nan]))])[0]
