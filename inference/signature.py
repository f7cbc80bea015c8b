"""What rows a model takes, and the way from a request's rows to the model's matrix.

Good requests pay for a few vectorised operations; only when one of them fails are the places looked for.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.errors import InvalidRequestError, Violation
from inference.rows import MAX_VIOLATIONS, Numbers, RowBlock, quoted
from protos.inference.v1.manifest_pb2 import FEATURE_TYPE_INTEGER, ModelManifest

__all__ = ["Signature"]

#: Feature names that one sentence lists.
_MAX_NAMES: Final = 12
#: Characters of a feature name that a sentence about a number repeats.
_MAX_NAME: Final = 64
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)


class Signature:
    """The features of one model: their names, their order and their types."""

    def __init__(self, manifest: ModelManifest) -> None:
        self.names: Final = tuple(feature.name for feature in manifest.features)
        self._known = frozenset(self.names)
        self._integers = frozenset(f.name for f in manifest.features if f.type == FEATURE_TYPE_INTEGER)

    def features_of(self, block: RowBlock, names: Sequence[str] = ()) -> NDArray[np.float32]:
        """Return the matrix (rows, features) of `block` in the model's own order.

        `names` are the columns of the block in its order; empty means the model's order. Raises
        `InvalidRequestError` with up to `MAX_VIOLATIONS` places.
        """
        if block.row_count < 1:
            raise InvalidRequestError([Violation("rows", "found no rows, expected at least 1")])
        name_violations = list(islice(self._name_violations(names), MAX_VIOLATIONS)) if names else []
        given, shape_violations = block.decode(len(self.names))
        columns = names or self.names
        sound = not name_violations and not shape_violations
        if not sound or not _fits(given) or self._has_fractions(given, columns):
            numbers = _number_violations(block, given, self._wrong(given, columns), columns)
            every = chain(name_violations, shape_violations, numbers)
            raise InvalidRequestError(list(islice(every, MAX_VIOLATIONS)))
        matrix = given.astype(np.float32)
        if not names:
            return matrix
        return np.ascontiguousarray(matrix[:, [columns.index(name) for name in self.names]])

    def _name_violations(self, names: Sequence[str]) -> Iterator[Violation]:
        seen: dict[str, int] = {}
        for index, name in enumerate(names):
            place = f"feature_names[{index}]"
            if name not in self._known:
                yield Violation(place, f"found {quoted(name)}, expected one of {_listed(self.names)}")
            elif name in seen:
                yield Violation(place, f"found {quoted(name)} again, it is feature_names[{seen[name]}] too")
            seen.setdefault(name, index)
        missing = [name for name in self.names if name not in seen]
        if missing:
            yield Violation("feature_names", f"misses {_listed(missing)}; name every feature exactly once")

    def _has_fractions(self, given: Numbers, columns: Sequence[str]) -> bool:
        return bool(self._integers) and bool(self._fractions(given, columns).any())

    def _fractions(self, given: Numbers, columns: Sequence[str]) -> NDArray[np.bool_]:
        wrong = np.zeros(given.shape, dtype=np.bool_)
        whole = [index for index, name in enumerate(columns[: given.shape[1]]) if name in self._integers]
        wrong[:, whole] = given[:, whole] != np.rint(given[:, whole])
        return wrong

    def _wrong(self, given: Numbers, columns: Sequence[str]) -> NDArray[np.bool_]:
        fits: NDArray[np.bool_] = np.abs(given) <= _FLOAT32_MAX
        return ~fits | self._fractions(given, columns)


def _fits(given: Numbers) -> bool:
    """Tell whether all numbers are finite and within what a 32-bit float holds; nan compares false."""
    return bool(np.maximum.reduce(np.abs(given), axis=None) <= _FLOAT32_MAX)


def _number_violations(
    block: RowBlock, given: Numbers, wrong: NDArray[np.bool_], columns: Sequence[str]
) -> Iterator[Violation]:
    for flat in np.flatnonzero(wrong):
        row, column = divmod(int(flat), given.shape[1])
        value = float(given[row, column])
        # The name may be a caller's own, so only a little of it is repeated.
        feature = f" (feature {columns[column][:_MAX_NAME]})" if column < len(columns) else ""
        yield Violation(block.place(row, column), f"found {value!r}, {_expected(value)}{feature}")


def _expected(value: float) -> str:
    if not np.isfinite(value):
        return "expected a finite number"
    if abs(value) > _FLOAT32_MAX:
        return "expected a number within ±3.4028235e+38, the range of 32-bit floats"
    return "expected a whole number"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more
