"""The drift monitor: watches whether live rows still look like the rows that the model was made from.

The data flows in one direction. `settings` reads the environment. `inputs` reads the **reference** by `data` (files
and object stores, CSV and Parquet) and makes it a **baseline**, ready for many comparisons; and it reads the
**current** rows by `current`: a dataset, a prediction log as it grows, or Loki, into a **window** that ages and samples
its rows; and labels that came late. An `evaluation` compares the two: `statistics` describes each column by
**statistic**, **threshold** and **verdict**, as Evidently does; the calibrated `alarm` decides; `accuracy` says how
often the model is right. The `monitor` runs evaluations one at a time in its own thread and keeps the last verdict;
`service` shows it (routes, metrics, page, history), `report` lets Evidently draw it in a child process, and `action`
tells others of an alarm that lasts. `python -m drift` serves all that.
"""

from drift.errors import DriftError, ExitCode
from drift.rows import Reference, Rows, Schema

__all__ = ["DriftError", "ExitCode", "Reference", "Rows", "Schema"]
