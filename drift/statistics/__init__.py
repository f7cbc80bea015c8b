"""Evidently's statistics from a reference that is prepared once: pure functions, no Evidently.

`prepare` sorts and counts each column of the **reference** (`prepared`, made of `sample`s); `compare` counts the
**current** rows in the same way and gives each column **statistic**, **threshold** and **verdict** (`kernel`). The
statistics are in `distance`, `kolmogorov`, `frequency` and `location`, and the laws that they are judged by in
`one_sample` and `tail`, so that the defaults need no SciPy; `method` has them by Evidently's names, and
`choice` reads which column wants another than the default. `describe` spreads columns over bins for the page
(`distribution`). The words for what comes out are in `column`.
"""

from drift.statistics.choice import Choice, Methods
from drift.statistics.column import NO_DATA, ColumnDrift, Comparison, Distribution
from drift.statistics.distribution import describe
from drift.statistics.kernel import compare
from drift.statistics.method import METHODS, Method
from drift.statistics.prepared import Prepared, prepare

__all__ = [
    "METHODS",
    "NO_DATA",
    "Choice",
    "ColumnDrift",
    "Comparison",
    "Distribution",
    "Method",
    "Methods",
    "Prepared",
    "compare",
    "describe",
    "prepare",
]
