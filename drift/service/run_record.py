"""How a run is written into the tables of the history, and read back.

What stays the same from run to run (names, methods, thresholds) is one record that many runs share; what changes
is numbers. A run of 100 features takes some 4 kB so.
"""

import orjson

from drift.accuracy.accuracy import Accuracy
from drift.service.run import AlarmRun, ColumnRun, Run, ScopeRun
from drift.statistics.column import Distribution

__all__ = ["columns_record", "distributions_from", "distributions_record", "run_from", "run_record"]

_SCALARS = (
    "evaluated_at",
    "outcome",
    "reason",
    "rows",
    "reference_rows",
    "rows_missing",
    "duration_seconds",
    "alarm",
    "dataset_drift",
    "drift_share",
    "estimated_accuracy",
    "realised_accuracy",
    "notes",
)


def columns_record(run: Run) -> str:
    """Return what the columns of `run` share with other runs."""
    fixed = [
        [role, column.name, column.method, column.threshold] for role, column in _columns_with_roles(run)
    ]
    return _json(fixed)


def run_record(run: Run) -> str:
    """Return the rest of `run`."""
    numbers = [
        [column.statistic, column.severity, column.psi, column.p_value, int(column.drifted)]
        for _, column in _columns_with_roles(run)
    ]
    facts = {name: getattr(run, name) for name in _SCALARS}
    return _json(facts | {"numbers": numbers})


def run_from(run_id: int, columns: str, record: str) -> Run:
    """Return the run that the two records were made of."""
    facts = orjson.loads(record)
    by_role: dict[str, list[ColumnRun]] = {"feature": [], "prediction": [], "target": []}
    for (role, name, method, threshold), (statistic, severity, psi, p_value, drifted) in zip(
        orjson.loads(columns), facts.pop("numbers"), strict=True
    ):
        by_role[role].append(
            ColumnRun(name, method, statistic, threshold, bool(drifted), severity, psi, p_value)
        )
    for name in ("estimated_accuracy", "realised_accuracy"):
        facts[name] = None if facts[name] is None else Accuracy(**facts[name])
    alarm, notes = facts.pop("alarm"), tuple(facts.pop("notes"))
    if alarm is not None:
        scopes = {scope: ScopeRun(**each) for scope, each in alarm.pop("scopes").items()}
        alarm = AlarmRun(**alarm, scopes=scopes)
    return Run(
        id=run_id,
        alarm=alarm,
        features=tuple(by_role["feature"]),
        prediction=next(iter(by_role["prediction"]), None),
        target=next(iter(by_role["target"]), None),
        notes=notes,
        **facts,
    )


def distributions_record(distributions: tuple[Distribution, ...]) -> str:
    """Return the distributions of one run."""
    return _json(distributions)


def distributions_from(record: str) -> tuple[Distribution, ...]:
    """Return the distributions that the record was made of."""
    return tuple(
        Distribution(
            name=one["name"],
            bins=tuple(one["bins"]),
            reference=tuple(one["reference"]),
            current=tuple(one["current"]),
            missing_reference=one["missing_reference"],
            missing_current=one["missing_current"],
        )
        for one in orjson.loads(record)
    )


def _columns_with_roles(run: Run) -> list[tuple[str, ColumnRun]]:
    columns = [("feature", column) for column in run.features]
    columns += [("prediction", run.prediction)] if run.prediction else []
    return columns + ([("target", run.target)] if run.target else [])


def _json(content: object) -> str:
    return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY).decode()
