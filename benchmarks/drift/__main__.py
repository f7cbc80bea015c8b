"""What the drift monitor costs: our statistics beside Evidently's, and the service while nothing happens.

    python -m benchmarks.drift [--json DIR] [--quick]

`comparing` says what is compared, `serving` how the service is measured. The limits are those that are promised.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks.drift.comparing import SIZES, Comparing, measure
from benchmarks.drift.serving import Serving, serve
from benchmarks.report import say, table, write

#: Reference rows and features of the services.
_SERVED: Final = ((1000, 4), (20_000, 20))
#: References from this size on are left out when it must be quick.
_PATIENT_ROWS: Final = 100_000


def main() -> int:
    """Measure and show; exit 1 when a limit is broken."""
    options = _parse()
    comparings = [
        measure(size) for size in SIZES if not (options.quick and size.reference_rows >= _PATIENT_ROWS)
    ]
    _show_comparings(comparings)
    with tempfile.TemporaryDirectory() as directory:
        servings = [serve(Path(directory), rows, features) for rows, features in _SERVED]
    _show_servings(servings)
    results = {"comparing": [asdict(one) for one in comparings], "serving": [asdict(one) for one in servings]}
    write(options.json, "drift", results)
    return int(any(one.broken for one in comparings) or any(one.broken for one in servings))


def _show_comparings(comparings: Sequence[Comparing]) -> None:
    head = ["rows x features", "Evidently CPU s", "ours CPU s", "ratio", "prepare CPU s", "Evidently +MiB",
            "ours +MiB", "largest difference", "limits"]  # fmt: skip
    rows = []
    for one in comparings:
        theirs = one.theirs
        rows.append(
            [
                one.size.name,
                f"{theirs.cpu_seconds:.2f}" if theirs else "-",
                f"{one.ours.cpu_seconds:.4f}",
                f"{one.ratio:.0f}x" if one.ratio else "-",
                f"{one.ours.prepare_cpu_seconds:.3f}",
                f"{theirs.peak_mib:.0f}" if theirs else "-",
                f"{one.ours.peak_mib:.0f}",
                "-" if one.difference is None else f"{one.difference:.0e}",
                ", ".join(one.broken) or ("hold" if one.size.most_seconds else "none"),
            ]
        )
    say(table(head, rows))


def _show_servings(servings: Sequence[Serving]) -> None:
    head = ["reference", "start to /healthz s", "resident MiB then", "after an evaluation", "limits"]
    rows = [
        [
            f"{one.reference_rows:,} x {one.features}",
            f"{one.start_seconds:.2f}",
            f"{one.resident_at_start_mib:.0f}",
            f"{one.resident_mib:.0f}",
            ", ".join(one.broken) or "hold",
        ]
        for one in servings
    ]
    say("")
    say(table(head, rows))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="DIR", help="write the results there as well")
    parser.add_argument("--quick", action="store_true", help="leave out references of 100,000 rows and more")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
