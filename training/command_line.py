"""What the commands share: their parsers, flags about configuration, values in TOML syntax, and how a command ends."""

import argparse
import gc
import sys
import tomllib
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from training.configuration.config import DEFAULT_CONFIG_FILE, load_config
from training.configuration.sections import Config
from training.errors import ExitCode, StorageError, TrainingError
from training.storage import describe

__all__ = [
    "add_config_flags",
    "file_problems",
    "new_parser",
    "parse_parameter",
    "read_config",
    "run_as_process",
    "run_command",
]

#: 128 + SIGINT, the shell's convention.
_INTERRUPTED = 130
#: A wrong flag is quoted so far.
_SHOWN_LENGTH = 80


def new_parser(command: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Return a parser for `python -m command`; `examples` stand below its flags as they are."""
    return argparse.ArgumentParser(
        prog=f"python -m {command}",
        description=description,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose the configuration and the table."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"configuration (default: {DEFAULT_CONFIG_FILE} in the working directory when it exists, "
        "else built-in defaults: the Iris dataset)",
    )
    parser.add_argument(
        "--data",
        metavar="URI",
        help="CSV or Parquet file: a path, s3://, gs:// or az://; or a built-in dataset: iris, diabetes",
    )
    parser.add_argument("--target", metavar="COLUMN", help="the column to predict")


def read_config(arguments: argparse.Namespace, **sections: Mapping[str, Any]) -> Config:
    """Read the configuration with the flags on top; `sections` holds those beyond `[dataset]`.

    Raises `ConfigError` with every wrong key.
    """
    dataset = {"source": arguments.data, "target": arguments.target}
    return load_config(arguments.config, {"dataset": dataset, **sections})


def file_problems(flag: str, path: Path | None) -> list[str]:
    """Return what keeps `path` from being written, one sentence at most: asked before any work."""
    if path is not None and path.is_dir():
        return [f"{flag}: {path} is a directory; name a file"]
    return []


def parse_parameter(text: str) -> tuple[str, Any]:
    """Parse `NAME=VALUE`, VALUE in TOML syntax, as an argparse type."""
    name, equals, value = text.partition("=")
    hint = """write NAME=VALUE, as in n_estimators=50, bootstrap=false or 'criterion="entropy"'"""
    if not (equals and name.strip().isidentifier()):
        raise argparse.ArgumentTypeError(f"{text[:_SHOWN_LENGTH]!r} is no parameter: {hint}")
    try:
        values = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError):  # no TOML, or a number or a nesting beyond what Python takes
        values = {}
    if values.keys() != {"value"}:
        shown = repr(value[:_SHOWN_LENGTH])
        raise argparse.ArgumentTypeError(f"{shown} is not a TOML value (text needs quotes): {hint}")
    return name.strip(), values["value"]


def run_as_process(main: Callable[[], int]) -> NoReturn:
    """Run `main` as the whole of this process, and exit with its code."""
    # Most of the time of a short run goes into imports, and a fifth of that into collections that find
    # nothing; the last collection at exit walks everything that was imported (1.1 of 5.4 s).
    gc.set_threshold(100_000, 50, 100)
    code = main()
    gc.freeze()
    sys.exit(code)


def run_command(command: str, work: Callable[[], ExitCode]) -> int:
    """Run `work` and return the exit code: the edge of the process, where every error becomes a sentence."""
    from training.report import show_error  # noqa: PLC0415  # --help needs none of what this imports

    try:
        return work()
    except TrainingError as error:
        show_error(command, error)
        return error.exit_code
    except OSError as error:
        show_error(command, StorageError(str(error.filename or "standard output"), describe(error)))
    except KeyboardInterrupt as interrupt:
        show_error(command, "; ".join(["interrupted", *map(str, interrupt.args)]))
        return _INTERRUPTED
    except Exception:  # noqa: BLE001  # a defect: its traceback, and not exit code 1, which says "gate"
        traceback.print_exc()
        show_error(command, "this is a defect of the command; please report it with the lines above")
    return ExitCode.INFRASTRUCTURE
