"""Agreement: rows that stable answered are sent to the canary as well, off the path of the users."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc

from drift.current.log_tail import LogTail
from inference.client import PredictionClient, PredictionError, RetryPolicy
from rollout.driver import Comparison
from rollout.errors import InfrastructureError

__all__ = ["Replay"]

#: Rows replayed at one look: enough to decide within a few looks, and a small extra load for the canary.
_ROWS_PER_LOOK: Final = 64

#: Statuses of a canary that cannot answer at all; what else it says about rows that stable answered differs.
_SILENT: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,  # overload: says nothing about these rows
    }
)

#: Cells of a row (numbers, texts of categories, null), and what stable said.
AnsweredRow = tuple[list[float | str | None], str | float]


class Replay:
    """Reads stable's prediction log as it grows and asks the canary the same rows.

    One row of each request, and a random sample of the requests since the last look: the rows of one request
    are often alike, and the judge takes rows as independent.
    """

    def __init__(self, stable_log: Path, canary_address: str) -> None:
        self._tail = LogTail(stable_log)
        # The next look tries again, and a canary under load is not to be burdened more.
        self._canary = PredictionClient(canary_address, retry=RetryPolicy(max_attempts=1))
        self._random = random.Random(0)
        for _ in self._tail.lines():  # what was logged before this rollout is not its evidence
            pass

    def close(self) -> None:
        """Close the connection to the canary."""
        self._canary.close()

    def compare(self, value_tolerance_ratio: float) -> Comparison:
        """Replay up to 64 of the rows logged since the last call."""
        try:
            requests = [rows for line in self._tail.lines() if (rows := _answered_rows(line))]
        except OSError as error:
            raise InfrastructureError(f"stable's prediction log cannot be read: {error}") from None
        chosen = self._random.sample(requests, min(_ROWS_PER_LOOK, len(requests)))
        sample = [self._random.choice(rows) for rows in chosen]
        if not sample:
            return Comparison(0, 0)
        try:
            reply = self._canary.predict([features for features, _ in sample], shadow=True)
        except PredictionError as error:
            return _without_answer(error.code, len(sample))
        outputs: Sequence[str | float] = reply.labels or reply.values
        pairs = zip(sample, outputs, strict=True)
        differing = sum(not _same(output, found, value_tolerance_ratio) for (_, output), found in pairs)
        return Comparison(len(sample), differing)


def _without_answer(code: grpc.StatusCode, rows: int) -> Comparison:
    if code in _SILENT:
        return Comparison(0, 0)
    # A canary that finds rows wrong which stable took differs on each; any other failure is one failure.
    return Comparison(rows, rows) if code is grpc.StatusCode.INVALID_ARGUMENT else Comparison(1, 1)


def _answered_rows(line: bytes) -> list[AnsweredRow]:
    """Return the rows of a prediction event with stable's outputs; nothing for every other line."""
    try:
        record = json.loads(line)
        if record.get("logger") != "drift-monitoring":
            return []
        event: dict[str, Any] = json.loads(record["message"])
        if event.get("event") != "prediction" or event.get("shadow"):
            return []
        return list(zip(event["features"], event["predictions"], strict=False))
    except (ValueError, KeyError, TypeError, AttributeError):
        return []


def _same(output: str | float, found: str | float, value_tolerance_ratio: float) -> bool:
    if isinstance(output, str) or isinstance(found, str):
        return output == found
    return abs(found - output) <= value_tolerance_ratio * max(abs(output), 1e-9)
