"""What each of our child processes does first: live no longer than its parent, and keep its answer apart."""

import os
import threading
import time
from typing import Final, TextIO

__all__ = ["end_with", "take_stdout"]

_PARENT_CHECK_SECONDS: Final = 0.25


def end_with(parent: int) -> None:
    """End this process when `parent` does: nobody waits for the answer then."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)


def take_stdout() -> TextIO:
    """Keep standard output for the answer: what libraries print goes to standard error instead."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers
