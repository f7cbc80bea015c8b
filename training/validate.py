"""`python -m training.validate`: does a table satisfy its data contract?"""

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from training.command_line import (
    add_config_flags,
    file_problems,
    new_parser,
    read_config,
    run_as_process,
    run_command,
)
from training.configuration.config import config_schema
from training.configuration.sections import Config
from training.errors import ConfigError, ExitCode
from training.storage import write_atomically

if TYPE_CHECKING:
    from training.contracts.contract import ContractReport

__all__ = ["main"]

#: Rows that `--sample` takes of somebody's table, unless it says how many.
_SAMPLE_ROWS: Final = 1000
#: Violations that are listed.
_LIMIT: Final = 20

_EXAMPLES: Final = """\
examples:
  python -m training.validate --sample                      the built-in Iris table
  python -m training.validate --data flowers.csv --target species
  python -m training.validate --data s3://bucket/flowers.parquet --target species --html report.html
  python -m training.validate --data huge.csv --target y --sample 5000     its first rows; writes no table
  python -m training.validate --config coalmine.toml --json | jq .violations

A valid table is written to data/processed/NAME.csv (NAME.parquet for Parquet): the features in the order of a row,
then the target; NAME.accepted.json beside it describes it, and the next table is compared with that. The SHA-256 of
its content is the `data_sha256` in the lineage of every model that is trained on it.

exit codes: 0 valid, 2 wrong usage or configuration, or no such table, 4 infrastructure,
5 the table breaks its contract
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (None: the process's own) and return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command("training.validate", lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "training.validate",
        "Check a table against its data contract: columns, types, missing and infinite values, "
        "ranges, allowed values, labels, uniqueness, row counts, class balance, duplicates, leakage into held-out "
        "rows, drift since the table accepted before. Failing rows are shown with row, column, value and rule.",
        _EXAMPLES,
    )
    add_config_flags(parser)
    add = parser.add_argument
    add(
        "--sample",
        nargs="?",
        type=_count,
        const=_SAMPLE_ROWS,
        metavar="ROWS",
        help=f"the built-in Iris table; with --data or --config the first ROWS (default: {_SAMPLE_ROWS}) of that table",
    )
    add(
        "--output",
        type=Path,
        metavar="DIR",
        help="where a valid table is written (default: data/processed): a directory, or a file *.csv or *.parquet",
    )
    add("--json", action="store_true", help="print the report as one JSON object instead")
    add(
        "--html",
        type=Path,
        metavar="FILE",
        help="write the report as a page as well, also for a refused table",
    )
    add("--limit", type=_count, default=_LIMIT, metavar="N", help=f"violations to list (default: {_LIMIT})")
    add(
        "--print-schema",
        action="store_true",
        help="print the JSON schema of coalmine.toml, and do nothing else",
    )
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no number of rows: write a whole number above 0")
    return int(text)


def _run(arguments: argparse.Namespace) -> ExitCode:
    if arguments.print_schema:
        from training.report import write_result  # noqa: PLC0415  # rich takes a while to import

        write_result(config_schema())
        return ExitCode.OK
    is_part = arguments.sample is not None and (arguments.data or arguments.config)
    config = _config(arguments)
    # After the flags are known to be right: pandas, pandera and scikit-learn take two seconds to import.
    from training import report  # noqa: PLC0415

    destination = _destination(config, arguments.output)
    with contextlib.redirect_stdout(sys.stderr):
        found = _check(config, arguments, destination, is_part=bool(is_part))
    output = None
    if found.table is not None and (not found.part or arguments.output is not None):
        output = destination
        _store(found, output)
    shown = str(output) if output else None
    if arguments.html is not None:
        from training.report_html import contract_html  # noqa: PLC0415  # jinja2 is for this alone

        write_atomically(arguments.html, contract_html(found, output=shown))
    if arguments.json:
        report.write_result(report.contract_json(found, output=shown))
    else:
        report.show_contract(found, to_stdout=True)
        if found.table is not None:
            where = shown or "not written, being the first rows of a table only"
            report.write_result(f"valid: {where} (sha256 {found.table.sha256})")
    found.require_valid()  # raises: the sentence and the exit code are the error's
    return ExitCode.OK


def _check(
    config: Config, arguments: argparse.Namespace, destination: Path, *, is_part: bool
) -> "ContractReport":
    from training.contracts.validation import validate_dataset  # noqa: PLC0415
    from training.fitting.estimator import plan_estimator  # noqa: PLC0415

    plan = plan_estimator(config.estimator.class_path, config.estimator.parameters, config.split.seed)
    return validate_dataset(
        config,
        classification=plan.is_classification,
        rows=arguments.sample if is_part else None,
        limit=arguments.limit,
        destination=destination,
    )


def _store(found: "ContractReport", path: Path) -> None:
    from training.contracts.accepted import accept  # noqa: PLC0415

    assert found.table is not None
    if found.part:
        found.table.write(path)  # the next table is compared with whole ones only
    else:
        accept(found.table, path)


def _destination(config: Config, output: Path | None) -> Path:
    from training.contracts.accepted import PROCESSED  # noqa: PLC0415
    from training.contracts.validation import processed_path  # noqa: PLC0415

    if output is not None and output.suffix in (".csv", ".parquet") and not output.is_dir():
        return output
    return processed_path(config, output or PROCESSED)


def _config(arguments: argparse.Namespace) -> Config:
    problems = file_problems("--html", arguments.html)
    if (
        arguments.output is not None
        and arguments.output.is_file()
        and arguments.output.suffix not in (".csv", ".parquet")
    ):
        problem = "it is a file; name a directory, or a file that ends in .csv or .parquet"
        problems.append(f"--output: {arguments.output}: {problem}")
    if problems:
        raise ConfigError(problems)
    if arguments.sample is None or arguments.data is not None or arguments.config is not None:
        return read_config(arguments)
    if arguments.target is not None:
        raise ConfigError(
            ["--sample: it is the built-in Iris table as it stands; name --data, or leave out --target"]
        )
    return Config()  # whatever a coalmine.toml here says of another table


if __name__ == "__main__":
    run_as_process(main)
