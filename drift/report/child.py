"""`python -m drift.report.child DIRECTORY MEMORY_BYTES`: draw one report, from files to files, and end.

The only process that imports Evidently. Standard input is a pipe that the parent holds and never writes to: when
it ends, the parent did, and nobody waits for the report.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Final

from drift.report.cross_check import cross_check
from drift.report.drawing import draw
from drift.report.handover import ReportResult, read_request, write_result
from drift.report.plan import Plan
from drift.statistics import compare, prepare

__all__ = ["main"]

#: The service and the models beside it come first.
_NICENESS: Final = 10


def main(arguments: list[str]) -> None:
    """Draw what the directory asks for, within so many bytes of memory."""
    directory, memory_bytes = Path(arguments[0]), int(arguments[1])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _limit(memory_bytes)
    request = read_request(directory)
    prepared = prepare(request.reference, request.methods)
    comparison = compare(prepared, request.current)
    plan = Plan(request, prepared, comparison)
    drawn = draw(plan)
    check = cross_check(plan, prepared, comparison, drawn)
    write_result(directory, ReportResult(drawn.html, check, plan.left_out))


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


def _limit(memory_bytes: int) -> None:
    if sys.platform != "linux":
        return
    import resource  # noqa: PLC0415 (there is none on Windows)

    # Private writable memory: a bound on address space would depend on the number of threads and arenas.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(_NICENESS)


if __name__ == "__main__":
    main(sys.argv[1:])
    # What Evidently's libraries leave running must not keep the process: the report is written.
    os._exit(0)
