"""Evidently itself, in a child process: the page that it draws, and what it says beside our statistics.

A `Reporter` samples both sides, hands them over in files (`handover`) to a process of its own (`child`), bounded in
time and memory, and reads back the page. The child makes a `plan` of the columns, lets Evidently draw them
(`drawing`, the one module that knows Evidently) and compares its values with ours on the same rows (`cross_check`).
"""

from drift.report.handover import CrossCheck, ReportResult
from drift.report.reporter import Reporter

__all__ = ["CrossCheck", "ReportResult", "Reporter"]
