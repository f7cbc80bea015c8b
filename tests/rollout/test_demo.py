"""The demo: the whole story, and what is left of it when it is interrupted."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def start(directory: Path, report: Path) -> "subprocess.Popen[str]":
    """Start the demo the way nox does, its output in a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "rollout.demo", "--keep", str(directory), "--report", str(report)],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left_running(directory: Path) -> list[str]:
    """Return the processes whose command or environment names the demo's directory."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            if process.pid != os.getpid() and any(str(directory) in word for word in words):
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_the_story_ends_as_told(tmp_path: Path) -> None:
    """A good model is promoted, a bad one rolled back, drift is quiet then alarmed, no call fails."""
    directory, report = tmp_path / "demo", tmp_path / "report.html"
    demo = start(directory, report)
    output, _ = demo.communicate()
    assert demo.returncode == 0, output
    table = output[output.index("what happened") :]
    for words in ("promoted", "aborted", "quiet", "alarm", "10 % set"):
        assert words in table
    (total,) = re.findall(r"all traffic\s+│\s+(\d+)\s+│\s+(\d+)", table)
    assert int(total[0]) > 1000
    assert int(total[1]) == 0
    page = report.read_text(encoding="utf-8")
    assert "<svg" in page
    assert not re.search(r"(src|href)=\"https?:", page), "the page must not need a network"
    assert not left_running(directory)


@pytest.mark.parametrize(
    "moment", ["checked against its contract", "becomes champion", "weight set", "rollout of a bad"]
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_leaves_no_process(tmp_path: Path, moment: str, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM at any moment, a running rollout included, end the story and every process of it."""
    directory = tmp_path / "demo"
    demo = start(directory, tmp_path / "report.html")
    assert demo.stdout is not None
    for line in demo.stdout:
        if moment in line:
            break
    if number == signal.SIGINT:  # as a terminal does it: to the whole foreground group
        os.killpg(demo.pid, number)
    else:
        demo.send_signal(number)
    output, _ = demo.communicate(timeout=60)
    assert "what happened" not in output
    assert demo.returncode == 130, output
    deadline = time.monotonic() + 20
    while left_running(directory) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left_running(directory)
