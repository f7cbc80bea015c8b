"""Our statistics and Evidently's over the same rows, each in a process of its own, so that its peak is its own.

    python -m benchmarks.drift.comparing SIDE REFERENCE_ROWS CURRENT_ROWS FEATURES

Columns of normal numbers and a prediction of three labels. Evidently runs its own drift preset over the features and
its value drift of the predictions, raw. Our reference is prepared before, as the service does at start.
"""

import json
import os
import resource
import subprocess
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from benchmarks.targets import ROOT
from drift.rows import Reference, Rows, Schema
from drift.statistics import Comparison, compare, prepare

__all__ = ["SIZES", "Comparing", "Size", "Spent", "make_rows", "measure"]

_SEED: Final = 7
_LABELS: Final = np.array(["a", "b", "c"], dtype=object)
#: Of several runs the one with the least processor time counts: what others do on the machine only adds.
_OUR_RUNS: Final = 5
_LEAST_RATIO: Final = 200.0
_LARGEST_DIFFERENCE: Final = 1e-9


@dataclass(frozen=True)
class Size:
    """Rows of both sides, the number of features, and the processor time that we promise for it."""

    reference_rows: int
    current_rows: int
    features: int
    most_seconds: float | None = None
    #: Whether Evidently needs minutes for it.
    patient: bool = False

    @property
    def name(self) -> str:
        """How people call it."""
        return f"{self.current_rows:,} x {self.features} against {self.reference_rows:,}"


SIZES: Final = (
    Size(1000, 1000, 4),
    Size(1000, 1000, 20),
    Size(10_000, 10_000, 20),
    Size(100_000, 5000, 4),
    Size(100_000, 5000, 20),
    Size(100_000, 5000, 100, most_seconds=0.1),
    Size(100_000, 100_000, 20),
    Size(1_000_000, 1_000_000, 20, most_seconds=5.0, patient=True),
)


@dataclass(frozen=True)
class Spent:
    """What one side took: processor seconds, MiB beside the rows, and its value of each column."""

    cpu_seconds: float
    peak_mib: float
    prepare_cpu_seconds: float
    values: dict[str, float]


@dataclass(frozen=True)
class Comparing:
    """Both sides of one size; `theirs` is None where Evidently was not asked to."""

    size: Size
    ours: Spent
    theirs: Spent | None

    @property
    def ratio(self) -> float | None:
        """How many times our processor time Evidently's is."""
        return None if self.theirs is None else self.theirs.cpu_seconds / self.ours.cpu_seconds

    @property
    def difference(self) -> float | None:
        """The largest difference of a value, relative to Evidently's or to 0.05, the smallest of the thresholds."""
        if self.theirs is None:
            return None
        values = self.theirs.values
        return max(
            abs(self.ours.values[name] - value) / max(abs(value), 0.05) for name, value in values.items()
        )

    @property
    def broken(self) -> list[str]:
        """The limits that do not hold."""
        limit = self.size.most_seconds
        broken = []
        if limit is not None and self.ours.cpu_seconds > limit:
            broken.append(f"> {limit:g} s")
        if limit is not None and self.ratio is not None and self.ratio < _LEAST_RATIO:
            broken.append(f"< {_LEAST_RATIO:g}x")
        if self.difference is not None and self.difference > _LARGEST_DIFFERENCE:
            broken.append(f"differs by > {_LARGEST_DIFFERENCE:g}")
        return broken


def measure(size: Size) -> Comparing:
    """Measure both sides, Evidently only where it needs no minutes."""
    theirs = None if size.patient else _in_process("evidently", size)
    return Comparing(size, _in_process("ours", size), theirs)


def make_rows(count: int, features: int, seed: int) -> Rows:
    """Return rows whose features moved a little from seed to seed."""
    random = np.random.default_rng(_SEED + seed)
    return Rows(random.normal(0.02 * seed, 1, (count, features)), _LABELS[random.integers(0, 3, count)])


def _in_process(side: str, size: Size) -> Spent:
    numbers = map(str, (size.reference_rows, size.current_rows, size.features))
    command = [sys.executable, "-m", "benchmarks.drift.comparing", side, *numbers]
    # One thread: processor seconds of threads that wait for each other are no measure.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT, env=environment)
    return Spent(**json.loads(result.stdout))


def _spend(side: str, reference_rows: int, current_rows: int, features: int) -> Spent:
    reference, current = make_rows(reference_rows, features, 0), make_rows(current_rows, features, 1)
    return (_spend_ours if side == "ours" else _spend_evidently)(reference, current)


def _spend_ours(reference: Rows, current: Rows) -> Spent:
    schema = Schema(tuple(f"feature_{place}" for place in range(reference.features.shape[1])), "label")
    before = _peak_mib()
    start = time.process_time()
    prepared = prepare(Reference(schema, reference, len(reference)))
    prepare_seconds = time.process_time() - start
    seconds = []
    for _ in range(_OUR_RUNS):
        start = time.process_time()
        comparison = compare(prepared, current)
        seconds.append(time.process_time() - start)
    return Spent(min(seconds), _peak_mib() - before, prepare_seconds, _values(comparison))


def _values(comparison: Comparison) -> dict[str, float]:
    columns = (*comparison.features, comparison.prediction)
    values = {column.name: column.statistic for column in columns if column.statistic is not None}
    assert comparison.prediction.psi is not None
    return {**values, "psi": comparison.prediction.psi}


def _spend_evidently(reference: Rows, current: Rows) -> Spent:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _run_evidently(reference, current)


def _run_evidently(reference: Rows, current: Rows) -> Spent:
    import pandas as pd  # noqa: PLC0415 - seconds and 275 MiB that our side does not have
    from evidently import DataDefinition, Dataset, Report  # noqa: PLC0415
    from evidently.metrics import ValueDrift  # noqa: PLC0415
    from evidently.presets import DataDriftPreset  # noqa: PLC0415

    names = [f"feature_{place}" for place in range(reference.features.shape[1])]
    definition = DataDefinition(numerical_columns=names, categorical_columns=["prediction"])

    def dataset(rows: Rows) -> Any:  # noqa: ANN401 - Evidently ships no types
        frame = pd.DataFrame(rows.features, columns=names)
        frame["prediction"] = rows.predictions
        return Dataset.from_pandas(frame, data_definition=definition)

    sides = dataset(current), dataset(reference)
    asked = [DataDriftPreset(columns=names), ValueDrift(column="prediction")]
    before, start = _peak_mib(), time.process_time()
    snapshot = Report([*asked, ValueDrift(column="prediction", method="psi")]).run(*sides)
    seconds = time.process_time() - start
    values: dict[str, float] = {}
    for metric in snapshot.dict()["metrics"]:
        column = metric["config"].get("column")
        if column is not None:
            values["psi" if column in values else column] = float(metric["value"])
    return Spent(seconds, _peak_mib() - before, 0.0, values)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(_spend(sys.argv[1], *map(int, sys.argv[2:])))))
