"""What a driver counts, and the difference between two looks at it."""

from dataclasses import dataclass
from typing import Self

__all__ = ["Counters", "Histogram", "TrackCounters"]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Calls by time taken.

    `counts[i]` calls took at most `bounds_seconds[i]` (and more than the bound before); one more count at the
    end holds the calls above every bound.
    """

    bounds_seconds: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.bounds_seconds) + 1:
            raise ValueError(
                f"{len(self.bounds_seconds)} bounds need one count more, found {len(self.counts)}"
            )

    @property
    def total(self) -> int:
        """All calls."""
        return sum(self.counts)

    def slower_than(self, index: int) -> int:
        """Count the calls that took longer than `bounds_seconds[index]`."""
        return sum(self.counts[index + 1 :])

    def quantile(self, share: float) -> float | None:
        """Return an upper bound in seconds of the given quantile, or None without calls."""
        if not self.total:
            return None
        seen = 0
        for bound, count in zip(self.bounds_seconds, self.counts, strict=False):
            seen += count
            if seen >= share * self.total:
                return bound
        return float("inf")


@dataclass(frozen=True, slots=True)
class TrackCounters:
    """Calls to one track since its counters began."""

    requests: int
    errors: int
    latency: Histogram

    def since(self, earlier: Self) -> Self:
        """Return what was added after `earlier`.

        Counters that went down were reset (the process behind them was replaced): then everything counted
        since the reset is new, and nothing is negative.
        """
        if self.requests < earlier.requests or self.errors < earlier.errors:
            return self
        pairs = zip(self.latency.counts, earlier.latency.counts, strict=True)
        # Histograms may lag the counters by one flush and are read in a second request: never below zero.
        counts = tuple(max(0, now - then) for now, then in pairs)
        return type(self)(
            self.requests - earlier.requests,
            self.errors - earlier.errors,
            Histogram(self.latency.bounds_seconds, counts),
        )


@dataclass(frozen=True, slots=True)
class Counters:
    """Calls to both tracks, read at one moment."""

    stable: TrackCounters
    canary: TrackCounters

    def since(self, earlier: Self) -> Self:
        """Return what was added after `earlier`, track by track."""
        return type(self)(self.stable.since(earlier.stable), self.canary.since(earlier.canary))

    @property
    def canary_share(self) -> float | None:
        """Share of the calls that went to the canary (0–1), or None without calls."""
        total = self.stable.requests + self.canary.requests
        return self.canary.requests / total if total else None
