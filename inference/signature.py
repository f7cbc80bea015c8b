"""What rows a model takes, and the way from a request's rows to the model's matrix.

Good requests pay for a few vectorised operations; only when one of them fails are the places looked for.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.errors import InvalidRequestError, Violation
from inference.kinds import FLOAT32_MAX, MAX_NAME, Kind, wrong_numbers
from inference.rows import MAX_VIOLATIONS, Numbers, RowBlock, quoted
from protos.inference.v1.manifest_pb2 import FEATURE_TYPE_INTEGER, ModelManifest

__all__ = ["Signature"]

#: From more numbers on OpenBLAS would start threads for a sum of squares (its kernel/x86_64/ddot.c).
_MOST_SQUARED: Final = 10_000
#: Feature names that one sentence lists.
_MAX_NAMES: Final = 12


class Signature:
    """The features of one model: their names, their order and their types."""

    def __init__(self, manifest: ModelManifest) -> None:
        self.names: Final = tuple(feature.name for feature in manifest.features)
        self._known = frozenset(self.names)
        self.kinds: Final = tuple(map(Kind.of, manifest.features))
        #: Whether every feature is a number that is never missing; all else takes the slower way.
        self.is_plain: Final = all(kind.is_plain for kind in self.kinds)
        self._integers = frozenset(f.name for f in manifest.features if f.type == FEATURE_TYPE_INTEGER)

    def features_of(self, block: RowBlock, names: Sequence[str] = ()) -> NDArray[np.float32]:
        """Return the matrix (rows, features) of `block` in the model's own order.

        `names` are the columns of the block in its order; empty means the model's order. Raises
        `InvalidRequestError` with up to `MAX_VIOLATIONS` places.
        """
        if block.row_count < 1:
            raise InvalidRequestError([Violation("rows", "found no rows, expected at least 1")])
        name_violations = list(islice(self._name_violations(names), MAX_VIOLATIONS)) if names else []
        columns = names or self.names
        kinds = () if self.is_plain else self._kinds_of(names)
        given, shape_violations = block.decode(len(self.names), kinds)
        sound = not name_violations and not shape_violations
        if not sound or not self._takes(given, columns, kinds):
            numbers = self._number_violations(block, given, columns, kinds)
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

    def _kinds_of(self, names: Sequence[str]) -> Sequence[Kind | None]:
        if not names:
            return self.kinds
        width = len(self.kinds)
        known = {kind.name: kind for kind in self.kinds}
        return [*map(known.get, names[:width]), *[None] * (width - len(names))]

    def _takes(self, given: Numbers, columns: Sequence[str], kinds: Sequence[Kind | None]) -> bool:
        if kinds:
            return not wrong_numbers(given, kinds).any()
        return _fits(given) and not self._has_fractions(given, columns)

    def _has_fractions(self, given: Numbers, columns: Sequence[str]) -> bool:
        return bool(self._integers) and bool(self._fractions(given, columns).any())

    def _fractions(self, given: Numbers, columns: Sequence[str]) -> NDArray[np.bool_]:
        wrong = np.zeros(given.shape, dtype=np.bool_)
        whole = [index for index, name in enumerate(columns[: given.shape[1]]) if name in self._integers]
        wrong[:, whole] = given[:, whole] != np.rint(given[:, whole])
        return wrong

    def _wrong(self, given: Numbers, columns: Sequence[str]) -> NDArray[np.bool_]:
        fits: NDArray[np.bool_] = np.abs(given) <= FLOAT32_MAX
        return ~fits | self._fractions(given, columns)

    def _number_violations(
        self, block: RowBlock, given: Numbers, columns: Sequence[str], kinds: Sequence[Kind | None]
    ) -> Iterator[Violation]:
        wrong = wrong_numbers(given, kinds) if kinds else self._wrong(given, columns)
        for flat in np.flatnonzero(wrong):
            row, column = divmod(int(flat), given.shape[1])
            value = float(given[row, column])
            kind = kinds[column] if kinds else None
            if kind is not None:
                expected = kind.expected_number(value)
            else:
                # The name may be a caller's own, so only a little of it is repeated.
                feature = f" (feature {columns[column][:MAX_NAME]})" if column < len(columns) else ""
                expected = f"{_expected(value)}{feature}"
            yield Violation(block.place(row, column), f"found {value!r}, {expected}")


def _fits(given: Numbers) -> bool:
    """Tell whether all numbers are finite and within what a 32-bit float holds; nan compares false."""
    # No number is larger than the root of the sum of all squares; half of the time of the other look.
    if given.size <= _MOST_SQUARED and np.vdot(given, given) <= FLOAT32_MAX:
        return True
    return bool(np.maximum.reduce(np.abs(given), axis=None) <= FLOAT32_MAX)


def _expected(value: float) -> str:
    if not np.isfinite(value):
        return "expected a finite number"
    if abs(value) > FLOAT32_MAX:
        return "expected a number within ±3.4028235e+38, the range of 32-bit floats"
    return "expected a whole number"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more
