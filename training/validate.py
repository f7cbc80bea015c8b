"""`python -m training.validate`: does a table satisfy its data contract?"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from training.command_line import (
    add_config_flags,
    file_problems,
    read_config,
    run_as_process,
    run_command,
)
from training.config import Config
from training.errors import ConfigError, ExitCode
from training.storage import write_atomically

__all__ = ["main"]

_PROCESSED: Final = Path("data/processed")

_EXAMPLES: Final = """\
examples:
  python -m training.validate --sample                      the built-in Iris table
  python -m training.validate --data flowers.csv --target species
  python -m training.validate --config coalmine.toml --json | jq .violations

A valid table is written to data/processed/NAME.csv: the features in the order of a row, then the target.
Its SHA-256 is the `data_sha256` in the lineage of every model that is trained on it.

exit codes: 0 valid, 2 wrong usage or configuration, 4 infrastructure, 5 the table breaks its contract
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (None: the process's own) and return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command("training.validate", lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.validate",
        description="Check a table against its data contract: columns, types, missing and infinite values, "
        "ranges, labels, row counts. Every violation is shown with its row.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_config_flags(parser)
    parser.add_argument("--sample", action="store_true", help="check the built-in Iris table")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where a valid table is written")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object instead")
    return parser


def _run(arguments: argparse.Namespace) -> ExitCode:
    config = _config(arguments)
    # After the flags are known to be right: pandas, pandera and scikit-learn take two seconds to import.
    from training import pipeline, report  # noqa: PLC0415

    with contextlib.redirect_stdout(sys.stderr):
        found = pipeline.check_data(config)
    output: Path | None = None
    if found.table is not None:
        output = arguments.output or _PROCESSED / f"{found.table.name}.csv"
        write_atomically(output, found.table.csv)
    if arguments.json:
        report.write_result(report.contract_json(found, output=str(output) if output else None))
    else:
        report.show_contract(found, to_stdout=True)
        if found.table is not None:
            report.write_result(f"valid: {output} (sha256 {found.table.sha256})")
    if found.table is None:
        found.require_valid()  # raises: the sentence and the exit code are the error's
    return ExitCode.OK


def _config(arguments: argparse.Namespace) -> Config:
    problems = file_problems("--output", arguments.output)
    if problems:
        raise ConfigError(problems)
    if not arguments.sample:
        return read_config(arguments)
    others = [f"--{name}" for name in ("config", "data", "target") if getattr(arguments, name) is not None]
    if others:
        problem = f"--sample: it is the built-in Iris table as it stands; leave out {', '.join(others)}"
        raise ConfigError([problem])
    return Config()  # whatever a coalmine.toml here says of another table


if __name__ == "__main__":
    run_as_process(main)
