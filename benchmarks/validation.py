"""How long a large table takes to validate, and how much memory: 1,000,000 rows x 20 columns by default.

    python -m benchmarks.validation [--json DIR] [--rows N]

Twelve columns of decimals, three of whole numbers, one with missing values, three categories, a label; as CSV and as
Parquet, valid and with a mistake in every hundredth row. Each is checked by `python -m training.validate`, the whole
process from its start to the written table, beside the limits that are promised: 10 s and 1 GiB.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from benchmarks.report import say, table, write
from benchmarks.targets import ROOT

__all__ = ["Run", "main", "make_tables"]

_SEED: Final = 7
_MOST_SECONDS: Final = 10.0
_MOST_MIB: Final = 1024.0
#: Every so many rows has a value beyond its range in the tables that are refused.
_ROWS_A_MISTAKE: Final = 100
_CONFIG: Final = """\
[dataset]
source = "{source}"
target = "y"
[contract]
unique = []
max_duplicate_ratio = 0.01
[contract.columns]
m = {{ nullable = true }}
x0 = {{ min = -100.0, max = 100.0 }}
"""


@dataclass(frozen=True)
class Run:
    """One run of the command."""

    table: str
    file_mib: float
    seconds: float
    cpu_seconds: float
    peak_mib: float
    violations: int


def main() -> int:
    """Measure and show; exit 1 when a limit is broken."""
    options = _parse()
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        runs = [_run(home, path) for path in make_tables(home, options.rows)]
    head = ["table", "file MiB", "seconds", "CPU seconds", "peak MiB", "violations"]
    say(
        table(
            head,
            [
                [
                    one.table,
                    f"{one.file_mib:.0f}",
                    f"{one.seconds:.1f}",
                    f"{one.cpu_seconds:.1f}",
                    f"{one.peak_mib:.0f}",
                    one.violations,
                ]
                for one in runs
            ],
        )
    )
    say(f"\n{options.rows} rows x 20 columns; limits: {_MOST_SECONDS:g} s, {_MOST_MIB:g} MiB")
    write(options.json, "validation", {"rows": options.rows, "runs": [asdict(one) for one in runs]})
    return int(any(one.seconds > _MOST_SECONDS or one.peak_mib > _MOST_MIB for one in runs))


def make_tables(home: Path, rows: int) -> list[Path]:
    """Write the tables and return their paths."""
    random = np.random.default_rng(_SEED)
    columns: dict[str, pa.Array] = {f"x{i}": pa.array(random.normal(10, 3, rows).round(4)) for i in range(12)}
    columns |= {f"n{i}": pa.array(random.integers(0, 100, rows)) for i in range(3)}
    columns["m"] = pa.array(random.normal(size=rows).round(4), mask=random.random(rows) < 0.05)
    for count in (10, 20, 30):
        texts = np.array([f"value {place:02d}" for place in range(count)])
        columns[f"c{count}"] = pa.array(texts[random.integers(0, count, rows)])
    columns["y"] = pa.array(np.array(["no", "yes"])[random.integers(0, 2, rows)])
    valid = pa.table(columns)
    wrong = columns["x0"].to_numpy().copy()
    wrong[::_ROWS_A_MISTAKE] = 1e6
    refused = valid.set_column(0, "x0", pa.array(wrong))
    paths = []
    for name, content in (("valid", valid), ("refused", refused)):
        csv.write_csv(content, home / f"{name}.csv")
        parquet.write_table(content, home / f"{name}.parquet")
        paths += [home / f"{name}.csv", home / f"{name}.parquet"]
    return paths


def _run(home: Path, path: Path) -> Run:
    config = home / "config.toml"
    config.write_text(_CONFIG.format(source=path.as_posix()))
    command = [
        sys.executable,
        "-m",
        "training.validate",
        "--config",
        str(config),
        "--json",
        "--output",
        str(home / "out"),
    ]
    start = time.perf_counter()
    with (home / "report.json").open("wb") as report:
        process = subprocess.Popen(
            command,
            stdout=report,
            stderr=subprocess.DEVNULL,
            cwd=home,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    found = json.loads((home / "report.json").read_bytes())
    return Run(
        table=path.name,
        file_mib=path.stat().st_size / 2**20,
        seconds=seconds,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss / 2**10,
        violations=found["total_violations"],
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.validation", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--json", type=Path, metavar="DIR", help="write the results there as well")
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="rows of the table")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
