"""Lines over time, as paths of SVG: geometry alone, no text.

A drawing is `WIDTH` by `HEIGHT` units and is stretched to the place that it gets; its strokes keep their width
(`vector-effect`), and its words stand around it as HTML. A path of one point is a dot, since line ends are round.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Protocol

__all__ = [
    "HEIGHT",
    "WIDTH",
    "Axis",
    "Band",
    "Line",
    "LinearAxis",
    "LogAxis",
    "Period",
    "Points",
    "band_path",
    "bands",
    "line_path",
]

WIDTH: Final = 1000
HEIGHT: Final = 100
#: Where points are this many times further apart than they usually are, the service did not run: no line there.
_GAP_FACTOR: Final = 5.0
#: Heights that end an axis of shares or counts well: times a power of ten.
_ROUND_ENDS: Final = (1.0, 2.0, 4.0, 6.0, 8.0, 10.0)

Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `style` is a class of the style sheet, `last` is where a dot marks its last value."""

    name: str
    style: str
    path: str
    last: str


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of time, in units of the drawing."""

    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Period:
    """The stretch of time that drawings show, in seconds since 1970."""

    begin: float
    end: float

    def place(self, seconds: float) -> float:
        """Return how far right a moment is."""
        return round(WIDTH * (seconds - self.begin) / max(self.end - self.begin, 1.0), 1)


class Axis(Protocol):
    """How high values stand."""

    @property
    def ticks(self) -> tuple[float, ...]:
        """The values beside the axis, from top to bottom, evenly spaced."""

    def place(self, value: float) -> float:
        """Return how far down a value is; values beyond the axis stand at its end."""


@dataclass(frozen=True, slots=True)
class LinearAxis:
    """From `bottom` to `top`."""

    top: float
    bottom: float = 0.0

    @classmethod
    def around(cls, values: Sequence[float], *, at_least: float) -> "LinearAxis":
        """Return the axis from 0 to a round number that has room for `values` and `at_least`."""
        largest = max((*values, at_least))
        power = 10.0 ** math.floor(math.log10(largest))
        return cls(next(end * power for end in _ROUND_ENDS if end * power >= largest * (1 - 1e-9)))

    @property
    def ticks(self) -> tuple[float, ...]:
        """Both ends and the middle."""
        return (self.top, (self.top + self.bottom) / 2, self.bottom)

    def place(self, value: float) -> float:
        """Return how far down a value is."""
        return _down((value - self.bottom) / (self.top - self.bottom))


@dataclass(frozen=True, slots=True)
class LogAxis:
    """Powers of ten, from `10 ** bottom` to `10 ** top`; with `top` below `bottom` small values stand high."""

    top: int
    bottom: int

    @classmethod
    def around(cls, values: Sequence[float], *, lowest: int, highest: int, limit: int) -> "LogAxis":
        """Return the axis over the powers `lowest` to `highest`, and up to `limit` as far as `values` go."""
        largest = max((value for value in values if value > 0), default=1.0)
        return cls(top=min(limit, max(highest, math.ceil(math.log10(largest)))), bottom=lowest)

    @property
    def ticks(self) -> tuple[float, ...]:
        """Each power of ten."""
        step = -1 if self.top > self.bottom else 1
        return tuple(10.0**power for power in range(self.top, self.bottom + step, step))

    def place(self, value: float) -> float:
        """Return how far down a value is."""
        power = math.log10(value) if value > 0 else -math.inf
        return _down((power - self.bottom) / (self.top - self.bottom))


def line_path(points: Points, period: Period, axis: Axis) -> tuple[str, str]:
    """Return the path through `points`, broken where values or runs are missing, and the path of its last dot."""
    pieces, last = [], ""
    for part in _parts(points):
        places = [f"{period.place(at):g} {axis.place(value):g}" for at, value in part]
        pieces.append(f"M{places[0]}h0" if len(places) == 1 else "M" + "L".join(places))
        last = f"M{places[-1]}h0"
    return "".join(pieces), last


def band_path(lower: Points, upper: Points, period: Period, axis: Axis) -> str:
    """Return the area between two lines with the same moments."""
    pieces = []
    for below, above in zip(_parts(lower), _parts(upper), strict=True):
        corners = [*above, *reversed(below)]
        pieces.append(
            "M" + "L".join(f"{period.place(at):g} {axis.place(value):g}" for at, value in corners) + "Z"
        )
    return "".join(pieces)


def bands(flags: Sequence[tuple[float, bool]], period: Period) -> tuple[Band, ...]:
    """Return the stretches in which the flag was set: from its moment to the next, or to the end of the period."""
    found: list[Band] = []
    begin: float | None = None
    for at, flag in [*flags, (period.end, False)]:
        if flag and begin is None:
            begin = at
        elif not flag and begin is not None:
            left = period.place(begin)
            found.append(Band(left, max(round(period.place(at) - left, 1), 1.0)))
            begin = None
    return tuple(found)


def _parts(points: Points) -> list[list[tuple[float, float]]]:
    """Return the stretches of `points` that belong together."""
    distances = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(points)]
    longest = _GAP_FACTOR * median(distances) if distances else math.inf
    parts: list[list[tuple[float, float]]] = []
    before = -math.inf
    joined = False
    for at, value in points:
        if value is None:
            joined = False
        else:
            if not joined or at - before > longest:
                parts.append([])
            parts[-1].append((at, value))
            joined = True
        before = at
    return parts


def _down(share: float) -> float:
    return round(HEIGHT * (1 - min(1.0, max(0.0, share))), 1)
