"""Progress of what takes long: a bar or a clock on standard error, and only where somebody watches."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

__all__ = ["long_work"]


@contextlib.contextmanager
def long_work(title: str, *, total: int | None = None, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show `title` with a bar of `total` parts (None: only the time) while the block runs.

    Yields what to call after each part. Nothing is shown when `quiet`, or when standard error is no terminal;
    what was shown vanishes at the end, when the line of the step takes its place.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda: None
        return
    parts = [BarColumn(), MofNCompleteColumn()] if total else [SpinnerColumn()]
    with Progress(
        TextColumn("{task.description}", markup=False),
        *parts,
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(title, total=total)
        yield lambda: bar.advance(task)
