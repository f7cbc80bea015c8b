"""Which method and threshold a column has, where the default is not wanted."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from drift.errors import UnfitMethodError
from drift.statistics.method import METHODS, ColumnKind, Method

__all__ = ["Choice", "Methods"]


#: People write `PSI` and `tvd`.
_BY_FOLDED_NAME: Final = {name.casefold(): name for name in METHODS}


@dataclass(frozen=True, slots=True)
class Choice:
    """A method, and a threshold other than its own."""

    method: Method
    threshold: float | None = None


@dataclass(frozen=True, slots=True)
class Methods:
    """The choices by column: `feature_0…N`, `prediction` and `target`. The others have Evidently's defaults."""

    choices: Mapping[str, Choice] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def parse(cls, text: str) -> "Methods":
        """Read `feature_3=psi:0.2,prediction=ks`: column=method, and perhaps :threshold. Raises `ValueError`."""
        choices: dict[str, Choice] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            column, given, choice = (word.strip() for word in part.partition("="))
            if not column or not given or not choice:
                raise ValueError(
                    f"{part!r} is no choice of a method; write column=method or column=method:0.2"
                )
            if column in choices:
                raise ValueError(f"{column} has two methods; give it one")
            choices[column] = _parse_choice(choice)
        return cls(MappingProxyType(choices))

    @property
    def text(self) -> str:
        """The choices as `parse` reads them."""
        parts = []
        for column, choice in self.choices.items():
            limit = "" if choice.threshold is None else f":{choice.threshold!r}"
            parts.append(f"{column}={choice.method.name}{limit}")
        return ",".join(parts)

    def of(self, column: str, kind: ColumnKind) -> Choice | None:
        """Return the choice for a column, None for the default. Raises `UnfitMethodError`."""
        choice = self.choices.get(column)
        if choice is not None and kind not in choice.method.kinds:
            fit = sorted(name for name, method in METHODS.items() if kind in method.kinds)
            raise UnfitMethodError(column, f"{choice.method.name} is not for a {kind} column", fit)
        return choice

    def check(self, columns: list[str]) -> None:
        """Raise `UnfitMethodError` when a choice is for a column that is not there."""
        for column, choice in self.choices.items():
            if column not in columns:
                reason = f"{choice.method.name} is chosen for it, and there is no such column"
                raise UnfitMethodError(column, reason, columns)


def _parse_choice(text: str) -> Choice:
    name, given, limit = (word.strip() for word in text.partition(":"))
    name = _BY_FOLDED_NAME.get(name.casefold(), name)
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=3, cutoff=0.5)
        asked = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ValueError(f"{name!r} is no method{asked}; there are {', '.join(METHODS)}")
    return Choice(METHODS[name], _parse_threshold(limit) if given else None)


def _parse_threshold(text: str) -> float:
    try:
        threshold = float(text)
    except ValueError:
        threshold = math.nan
    if not 0 < threshold < math.inf:
        raise ValueError(f"{text!r} is no threshold; give a number above 0")
    return threshold
