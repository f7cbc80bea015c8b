"""How often the drift alarm is raised without drift, and how often with it; Evidently's default flags beside it.

    python -m benchmarks.calibration [--json DIR] [--minutes N] [--repeats N] [--part NAME] [--features NAME]

References and windows are drawn from populations that are known, so that what is raised without a change is false.
Windows share a reference only where the reference is so much larger that it hardly matters, and the interval counts
what they share. Everything is seeded; less time gives fewer repeats of every cell. The tables are in docs/drift.md.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.calibration.false_alarms import SURE, Raised, count_raised
from benchmarks.calibration.populations import CHANGES, POPULATIONS, Population, of_normals
from benchmarks.calibration.power import Power, measure_power
from benchmarks.report import say, table, write
from drift.alarm.calibration import LEVELS
from drift.alarm.verdict import SCOPES

__all__ = ["main"]

#: What is promised: false alarms of an evaluation at most.
_PROMISE: Final = 0.01
_REFERENCE_ROWS: Final = (500, 5_000, 50_000)
_WINDOW_ROWS: Final = (50, 200, 1_000, 10_000)
_POWER_WINDOWS: Final = (50, 200, 1_000)


def main() -> int:
    """Measure and show; exit 1 when a cell surely (99.9 %) has more false alarms than promised."""
    options = _parse()
    chosen = [one for one in POPULATIONS if options.features in (None, one.name)]
    results: dict[str, object] = {"levels": dict(LEVELS)}
    failed = False
    if options.part != "power":
        cells = list(_false_alarms(chosen, options.repeats, options.minutes * 60))
        failed = any(cell.interval(SURE)[0] > _PROMISE for cell in cells)
        results["false_alarms"] = [cell.as_json() for cell in cells]
    if options.part != "false-alarms":
        results["power"] = [asdict(power) for power in _powers(chosen, options.repeats, options.minutes * 60)]
    write(options.json, "calibration", results)
    return int(failed)


def _false_alarms(populations: Sequence[Population], repeats: int, seconds: float) -> Iterator[Raised]:
    head = [
        "features",
        "reference",
        "window",
        "windows",
        "ours, % (95 %)",
        *SCOPES,
        "Evidently's dataset",
        "any feature",
    ]
    say(table(head, []))
    cells = list(itertools.product(populations, _REFERENCE_ROWS, _WINDOW_ROWS))
    ends = time.monotonic() + seconds
    for place, (population, reference_rows, window_rows) in enumerate(cells):
        left = (ends - time.monotonic()) / (len(cells) - place)
        cell = count_raised(population, reference_rows, window_rows, repeats, left)
        low, high = cell.interval()
        shares = map(_percent, cell.shares())
        ours = f"{_percent(cell.any)} ({_percent(low)} to {_percent(high)})"
        say(_line([cell.population, reference_rows, window_rows, len(cell.flags), ours, *shares]))
        yield cell


def _powers(populations: Sequence[Population], repeats: int, seconds: float) -> Iterator[Power]:
    head = [
        "features",
        "change",
        "window",
        "windows",
        "ours, %",
        "twice in a row, %",
        "scopes",
        "Evidently's dataset",
        "any feature",
    ]
    say("\n" + table(head, []))
    cells = list(itertools.product(of_normals(populations), CHANGES, _POWER_WINDOWS))
    ends = time.monotonic() + seconds
    for place, (population, name, window_rows) in enumerate(cells):
        left = (ends - time.monotonic()) / (len(cells) - place)
        power = measure_power(population, name, window_rows, repeats, left)
        shares = " ".join(_percent(share) for share in power.scopes.values())
        others = [_percent(share) for share in (power.evidently_dataset, power.evidently_feature)]
        ours = [_percent(power.once), _percent(power.twice), shares]
        say(_line([power.population, name, window_rows, power.windows, *ours, *others]))
        yield power


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}" if share < 0.1 else f"{100 * share:.0f}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calibration", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--json", type=Path, metavar="DIR", help="write the results there as well")
    parser.add_argument("--minutes", type=float, default=20.0, metavar="N", help="time of each part at most")
    parser.add_argument(
        "--repeats", type=int, default=1000, metavar="N", help="windows, or pairs, of each cell"
    )
    names = [population.name for population in POPULATIONS]
    parser.add_argument("--features", choices=names, help="measure with one kind of features alone")
    parser.add_argument("--part", choices=("false-alarms", "power"), help="measure one part alone")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
