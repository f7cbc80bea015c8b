"""`python -m rollout.demo`: tell the story, show the table, write the report."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from rich.console import Console

from rollout.console import fail
from rollout.errors import ExitCode, RolloutError

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return 0 only when everything ended as the story expects."""
    parser = _parser()
    options = parser.parse_args(arguments)
    problem = _problem_of_report(options.report) or _problem_of_keep(options.keep)
    if problem:  # a minute of work must not end in a place that was never there
        parser.error(problem)
    # A pipe has no width; the table needs some.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):  # a closed terminal as well
        signal.signal(number, _interrupt)
    directory = options.keep or Path(tempfile.mkdtemp(prefix="coalmine-demo-"))
    began = time.monotonic()
    try:
        code = _tell(directory.absolute(), options.report.absolute(), console)
    except KeyboardInterrupt:
        fail("interrupted; every process that the demo started has ended")
        _remove(options.keep, directory)
        return 130
    except OSError as error:
        fail(f"{error.filename or directory} cannot be used: {error.strerror}; the logs are in {directory}")
        return int(ExitCode.INFRASTRUCTURE)
    except RolloutError as error:
        fail(f"{error}\nthe logs are in {directory}")
        return int(error.exit_code)
    _remove(options.keep, directory)
    console.print(f"[dim]{time.monotonic() - began:.0f} s in all[/]")
    return code


def _tell(directory: Path, report_path: Path, console: Console) -> int:
    from rollout.demo.report import draw_table, summarise, unexpected, write_report  # noqa: PLC0415
    from rollout.demo.story import Story  # noqa: PLC0415  # --help and the first line must not wait for these

    story = Story(directory, console)
    with story.stage():
        result = story.tell()
    rows = summarise(result)
    console.print()
    console.print(draw_table(rows, result.ended - result.began))
    write_report(report_path, result, rows)
    console.print(f"report: {report_path}")
    problems = unexpected(result)
    for problem in problems:
        fail(problem)
    return int(ExitCode.ABORTED) if problems else 0


def _problem_of_report(path: Path) -> str | None:
    if path.is_dir():
        return f"--report {path}: it is a directory; name a file"
    parent = path.absolute().parent
    if not parent.is_dir():
        return f"--report {path}: {parent} is no directory; name a file in one that exists"
    if not os.access(path if path.exists() else parent, os.W_OK):
        return f"--report {path}: this user may not write it; name another file"
    return None


def _problem_of_keep(directory: Path | None) -> str | None:
    if directory is None:
        return None
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"--keep {directory}: it cannot be made a directory ({error.strerror}); name another"
    return None if os.access(directory, os.W_OK) else f"--keep {directory}: this user may not write there"


def _remove(keep: Path | None, directory: Path) -> None:
    if keep is None:
        shutil.rmtree(directory, ignore_errors=True)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m rollout.demo", description=__doc__)
    parser.add_argument(
        "--report", type=Path, default=Path("demo-report.html"), help="HTML report (default: %(default)s)"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIRECTORY", help="keep registry, logs and stack state there"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
