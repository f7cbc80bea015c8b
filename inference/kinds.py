"""What each feature of a model takes: numbers, or the texts of a fixed set, and whether it may be missing.

To the model everything is a 32-bit float: a text is its code, its place in the manifest's `categories`, and what is
missing is nan.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.rows import Numbers, quoted
from protos.inference.v1.manifest_pb2 import FEATURE_TYPE_CATEGORY, FEATURE_TYPE_INTEGER, Feature

__all__ = ["FLOAT32_MAX", "MAX_NAME", "Kind", "wrong_numbers"]

FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
#: Characters of a feature name that a sentence about one value repeats.
MAX_NAME: Final = 64
#: Categories that one sentence lists, and characters that it repeats of each.
_MAX_LISTED: Final = 5
_MAX_TEXT: Final = 24


@dataclass(frozen=True, slots=True)
class Kind:
    """What one feature takes."""

    name: str
    #: Whether it takes texts.
    is_category: bool
    #: Whether it takes whole numbers alone.
    whole: bool
    nullable: bool
    #: Whether a text that the model does not know is a missing value.
    takes_unknown: bool
    #: The texts that the model knows, in the order of their codes.
    categories: tuple[str, ...]
    #: Returns the code of a text; of None nan, where the feature may be missing. None for what is refused.
    code_of: Callable[[str | None], float | None]

    @classmethod
    def of(cls, feature: Feature) -> "Kind":
        """Read the kind of a feature of the manifest."""
        codes: dict[str | None, float] = {text: float(code) for code, text in enumerate(feature.categories)}
        if feature.nullable:
            codes[None] = math.nan
        return cls(
            name=feature.name,
            is_category=feature.type == FEATURE_TYPE_CATEGORY,
            whole=feature.type == FEATURE_TYPE_INTEGER,
            nullable=feature.nullable,
            takes_unknown=feature.unknown_as_missing,
            categories=tuple(feature.categories),
            code_of=_Lenient(codes).get if feature.unknown_as_missing else codes.get,
        )

    @property
    def is_plain(self) -> bool:
        """Whether it takes numbers, and is never missing."""
        return not self.is_category and not self.nullable

    @property
    def highest(self) -> float:
        """The greatest number that the model takes here."""
        return len(self.categories) - 1 if self.is_category else FLOAT32_MAX

    def text_of(self, code: float) -> str | None:
        """Return the text that a code stands for, None for what is missing."""
        return None if math.isnan(code) else self.categories[int(code)]

    @property
    def expected(self) -> str:
        """What a cell may be, as a sentence says it."""
        missing = " or null" if self.nullable else ""
        return f"expected {self._texts if self.is_category else 'a number'}{missing}{self.named}"

    @property
    def named(self) -> str:
        """The feature, as a sentence about one of its values ends."""
        return f" (feature {self.name[:MAX_NAME]})"

    @property
    def _texts(self) -> str:
        listed = ", ".join(quoted(text[:_MAX_TEXT]) for text in self.categories[:_MAX_LISTED])
        more = len(self.categories) - _MAX_LISTED
        return f"one of {listed}" + (f" and {more} more" if more > 0 else "")

    def expected_number(self, number: float) -> str:
        """What would be right where `number` is wrong."""
        missing = " or nan" if self.nullable else ""
        if self.is_category:
            codes = f"the code of a category, a whole number from 0 to {self.highest}"
            return f"expected {codes}{missing}{self.named}"
        if not math.isfinite(number):
            return f"expected a finite number{missing}{self.named}"
        if abs(number) > FLOAT32_MAX:
            return f"expected a number within ±3.4028235e+38, the range of 32-bit floats{self.named}"
        return f"expected a whole number{missing}{self.named}"


class _Lenient:
    """Codes among which an unknown text is a missing value."""

    def __init__(self, codes: Mapping[str | None, float]) -> None:
        self._codes = codes

    def get(self, text: str | None) -> float:
        return self._codes.get(text, math.nan)


def wrong_numbers(numbers: Numbers, kinds: Sequence[Kind | None]) -> NDArray[np.bool_]:
    """Tell which of `numbers` (rows, columns) their columns do not take; a column of no kind takes all."""
    low, high, whole, nullable = (np.array(each) for each in zip(*map(_limits, kinds), strict=True))
    right = (numbers >= low) & (numbers <= high) & ~(whole & (numbers != np.rint(numbers)))
    taken: NDArray[np.bool_] = right | (nullable & np.isnan(numbers))
    return ~taken


def _limits(kind: Kind | None) -> tuple[float, float, bool, bool]:
    if kind is None:
        return -math.inf, math.inf, False, True
    low = 0.0 if kind.is_category else -FLOAT32_MAX
    return low, kind.highest, kind.whole or kind.is_category, kind.nullable
