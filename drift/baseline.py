"""A reference, made ready for many comparisons: what each evaluation needs of it and none changes."""

import time
import zlib
from dataclasses import dataclass

import structlog

from drift.accuracy.estimate import AccuracyEstimator
from drift.alarm.calibration import Calibration
from drift.rows import Reference
from drift.statistics.choice import Methods
from drift.statistics.prepared import Prepared, prepare

__all__ = ["Baseline", "make_baseline"]

log = structlog.stdlib.get_logger("drift")


@dataclass(frozen=True, slots=True)
class Baseline:
    """A reference with its sorted columns, its null distributions, and its confidences where it has them.

    `digest` tells it from others, after a restart too.
    """

    reference: Reference
    prepared: Prepared
    calibration: Calibration
    estimator: AccuracyEstimator | None
    digest: str


def make_baseline(reference: Reference, methods: Methods) -> Baseline:
    """Prepare `reference`. Raises `UnfitMethodError` when the methods do not fit its columns."""
    started = time.monotonic()
    prepared = prepare(reference, methods)
    baseline = Baseline(
        reference, prepared, Calibration(reference), AccuracyEstimator.fit(reference), _digest(reference)
    )
    log.info(
        "reference prepared",
        features=len(reference.schema.feature_names),
        prediction=reference.schema.kind,
        reference_rows=len(reference.rows),
        reference_total_rows=reference.total_rows,
        no_accuracy_because=AccuracyEstimator.obstacle(reference) or None,
        duration_seconds=round(time.monotonic() - started, 3),
    )
    return baseline


def _digest(reference: Reference) -> str:
    names = ",".join(reference.schema.feature_names)
    return f"{zlib.crc32(names.encode()):08x}-{reference.total_rows}-{reference.rows.identities()[0]:08x}"
