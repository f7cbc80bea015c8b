"""The drift monitor: watches whether live rows still look like the rows that the model was made from.

The data flows in one direction. `settings` reads the environment; `dataset` reads the **reference**, and with
it the schema of a row (`rows`). A `source` gives the **current** rows: a CSV file, or a `prediction_log` that
is read as it grows, each line by `prediction_event`, into a **window** that ages and samples its rows
(`window`). An `evaluation` compares the two: the calibrated `alarm` decides, and `evidently_report` (the one
module that knows Evidently) describes each column by **statistic**, **threshold** and **verdict**, and draws
the page. The `monitor` runs evaluations one at a time in its own thread and keeps the last verdict;
`metrics`, `web` and `status_page` show it. `python -m drift` wires them together and serves.
"""

from drift.alarm.permutation import ALARM_ALPHA, Alarm, evaluate_alarm
from drift.errors import DriftError
from drift.evaluation import Evaluation, Outcome, evaluate
from drift.rows import Reference, Rows, Schema
from drift.settings import Settings
from drift.statistics.column import ColumnDrift, PredictionDrift

__all__ = [
    "ALARM_ALPHA",
    "Alarm",
    "ColumnDrift",
    "DriftError",
    "Evaluation",
    "Outcome",
    "PredictionDrift",
    "Reference",
    "Rows",
    "Schema",
    "Settings",
    "evaluate",
    "evaluate_alarm",
]
