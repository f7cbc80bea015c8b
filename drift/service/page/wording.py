"""How the page writes numbers and times: short, as people read them, the same everywhere."""

import math
from datetime import UTC, datetime

__all__ = [
    "NOTHING",
    "age",
    "clock",
    "count",
    "number",
    "p_value",
    "percent",
    "seconds_of",
    "severity",
    "short_clock",
]

#: Stands where there is no value.
NOTHING = "–"
#: Above this a severity says no more: p-values end at 1e-12.
_LARGEST_SEVERITY = 1000.0
#: Fewer of a unit than this, and the next smaller one is clearer: "90 minutes", not "2 hours".
_ENOUGH_OF_A_UNIT = 2


def number(value: float | None) -> str:
    """Write a statistic or a threshold with three digits."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value != 0 and not 0.001 <= abs(value) < 1e5:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return text.replace("-", "−")


def severity(value: float | None) -> str:
    """Write a severity; beyond a thousand it is only very large."""
    if value is None:
        return NOTHING
    return f"> {_LARGEST_SEVERITY:,.0f}" if value > _LARGEST_SEVERITY else f"{value:.2f}"


def p_value(value: float | None) -> str:
    """Write a p-value."""
    if value is None:
        return NOTHING
    return "< 0.0001" if value < 0.0001 else f"{value:.2g}"


def percent(share: float | None) -> str:
    """Write a share; small ones are not nothing."""
    if share is None:
        return NOTHING
    if 0 < share < 0.001:
        return "< 0.1 %"
    return f"{100 * share:.1f} %"


def count(value: int | None) -> str:
    """Write a count of rows."""
    return NOTHING if value is None else f"{value:,}"


def seconds_of(moment: str) -> float:
    """Return a moment (ISO 8601) as seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()


def clock(seconds: float) -> str:
    """Write a moment in UTC."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%b %Y, %H:%M:%S} UTC"


def short_clock(seconds: float) -> str:
    """Write a moment in UTC below a figure."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%b, %H:%M}"


def age(seconds: float) -> str:
    """Write how long something lasted, in the largest unit that says enough."""
    for unit, length in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= _ENOUGH_OF_A_UNIT * length:
            return f"{seconds / length:.0f} {unit}s"
    whole = max(0, round(seconds))
    return f"{whole} second" + ("" if whole == 1 else "s")
