"""Anytime-valid tests for rates: e-processes that may be looked at after every call.

Sources: Turner, Ly and Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for
optional stopping" (2024): the two-sample statistic and its validity for the one-sided null. Ville's
inequality: an e-process exceeds 1/alpha at any time with probability at most alpha under the null. Mixing
over several alternatives keeps that, since an average of e-processes is one.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LIFTS", "OneSampleEProcess", "TwoSampleEProcess"]

#: Alternatives that the evidence is averaged over: the canary's odds of a bad call over those of stable.
#: 1.5 to 16 covers "a little worse at high traffic" to "broken from the start".
LIFTS: Final = (1.5, 2.0, 4.0, 8.0, 16.0)

#: Bad and good calls assumed before the first block, so that a stable track without a single bad call has a
#: rate above zero (Jeffreys' half a bad call, in a hundred calls: one error then is no verdict).
_PRIOR_BAD, _PRIOR_CALLS = 0.5, 100.0

#: Stands for a probability of zero, which has no logarithm and divides nothing.
_FLOOR: Final = 1e-300


class TwoSampleEProcess:
    """Evidence that canary calls are bad more often than stable calls.

    It keeps one process for each of `width` kinds of badness (such as "slower than bound i") and each lift,
    and reports their average. The plug-in rate of stable comes from earlier blocks only: that keeps it valid.
    """

    def __init__(self, width: int = 1) -> None:
        self._log_evidence = np.zeros((len(LIFTS), width))
        self._stable_bad = np.zeros(width, dtype=np.int64)
        self._stable_calls = 0
        self._block_bad = np.zeros((2, width), dtype=np.int64)
        self._block_calls = np.zeros(2, dtype=np.int64)

    def update(
        self,
        stable_bad: NDArray[np.int64],
        stable_calls: int,
        canary_bad: NDArray[np.int64],
        canary_calls: int,
    ) -> None:
        """Add calls; bad counts have shape (width,), sizes must not depend on the outcomes.

        Calls wait until there are some of both tracks, which then make a block: however slow the traffic,
        none is left out.
        """
        self._block_bad += np.array([stable_bad, canary_bad])
        self._block_calls += (stable_calls, canary_calls)
        if self._block_calls.all():
            self._add_block()

    def _add_block(self) -> None:
        stable_bad, canary_bad = self._block_bad
        stable_calls, canary_calls = (int(calls) for calls in self._block_calls)
        rate = (self._stable_bad + _PRIOR_BAD) / (self._stable_calls + _PRIOR_CALLS)
        odds = rate / (1 - np.minimum(rate, 1 - 1e-9)) * np.array(LIFTS)[:, None]
        worse = odds / (1 + odds)
        null = (stable_calls * rate + canary_calls * worse) / (stable_calls + canary_calls)
        self._log_evidence += _log_ratio(stable_bad, stable_calls, rate, null)
        self._log_evidence += _log_ratio(canary_bad, canary_calls, worse, null)
        self._stable_bad += stable_bad
        self._stable_calls += stable_calls
        self._block_bad = np.zeros_like(self._block_bad)
        self._block_calls = np.zeros_like(self._block_calls)

    @property
    def evidence(self) -> float:
        """The e-value now: at least 1/alpha means worse, at level alpha."""
        return _mean_exp(self._log_evidence)


class OneSampleEProcess:
    """Evidence that a rate is above a fixed limit (0–1)."""

    def __init__(self, limit: float) -> None:
        odds = limit / max(1 - limit, _FLOOR) * np.array(LIFTS)  # no rate is above 1: then never evidence
        self._limit = limit
        self._alternatives = odds / (1 + odds)
        self._log_evidence = np.zeros(len(LIFTS))

    def update(self, bad: int, trials: int) -> None:
        """Add `trials` further trials, of which `bad` were bad."""
        self._log_evidence += _log_ratio(np.array(bad), trials, self._alternatives, np.array(self._limit))

    @property
    def evidence(self) -> float:
        """The e-value now: at least 1/alpha means above the limit, at level alpha."""
        return _mean_exp(self._log_evidence)


def _log_ratio(bad: NDArray[Any], calls: int, rate: NDArray[Any], null: NDArray[Any]) -> NDArray[np.float64]:
    """Log-likelihood ratio of Bernoulli(rate) to Bernoulli(null) for `bad` of `calls`."""
    good = calls - bad
    ratio: NDArray[np.float64] = bad * np.log(
        np.maximum(rate, _FLOOR) / np.maximum(null, _FLOOR)
    ) + good * np.log(np.maximum(1 - rate, _FLOOR) / np.maximum(1 - null, _FLOOR))
    return ratio


def _mean_exp(logs: NDArray[np.float64]) -> float:
    """Average of exp(logs), without overflow: capped at e^600, which is beyond every limit."""
    return float(np.exp(np.minimum(logs, 600.0)).mean())
