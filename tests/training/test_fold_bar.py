"""Progress of long fits: seen at a terminal, and nowhere else."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from training.fitting.fold_bar import long_work

_CODE = """
from training.fitting.fold_bar import long_work
with long_work("cross-validate", total=2, quiet={quiet}) as advance:
    advance()
    advance()
"""


def at_terminal(*, quiet: bool) -> str:
    """Run two parts of work with a terminal as standard error, and return what it showed."""
    ours, theirs = pty.openpty()
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm", "COLUMNS": "80"}
    code = _CODE.format(quiet=quiet)
    subprocess.run([sys.executable, "-c", code], stderr=theirs, env=environment, check=True, timeout=60)
    os.write(theirs, b"end")  # so that there is something to read in any case
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    return shown


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_bar_is_for_terminals() -> None:
    """The title and the count of parts; nothing when quiet."""
    shown = at_terminal(quiet=False)
    assert "cross-validate" in shown
    assert "2/2" in shown
    assert at_terminal(quiet=True) == "end"


def test_no_terminal_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    """Logs of a pipeline get the line of the step alone."""
    with long_work("fit", quiet=False) as advance:
        advance()
    assert capsys.readouterr().err == ""
