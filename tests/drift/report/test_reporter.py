"""The child process that draws: its result, its limits, and that it never outlives what it is for."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from drift.errors import DriftError, ReportError, ShuttingDownError
from drift.report import Reporter
from drift.report.reporter import SAMPLE_ROWS
from drift.rows import Reference, Rows
from drift.statistics import Methods

IrisRows = Callable[..., Rows]

_PARENT = """
import sys
import numpy as np
from drift.report import Reporter
from drift.rows import Reference, Rows, Schema
rows = Rows(np.random.default_rng(0).normal(size=(2000, 100)), np.full(2000, "a", object))
schema = Schema(tuple(f"feature_{place}" for place in range(100)), "label")
print("drawing", flush=True)
Reporter().draw(Reference(schema, rows, 2000), rows)
"""


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    """Return the children of a process that draw; it may have others."""
    found = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in read(task / "children").split()
    ]
    return [child for child in found if b"drift.report.child" in read(Path(f"/proc/{child}/cmdline"))]


def read(path: Path) -> bytes:
    """Return what a file of /proc says, nothing where its process or thread is gone."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@contextmanager
def drawing(reporter: Reporter, reference: Reference, current: Rows) -> Iterator[list[DriftError]]:
    """Draw in a thread until the body lets it end; give what was raised in it."""
    found = list[DriftError]()

    def draw() -> None:
        try:
            reporter.draw(reference, current)
        except DriftError as error:
            found.append(error)

    thread = threading.Thread(target=draw)
    thread.start()
    wait_for(lambda: children(os.getpid()), "the child did not start")
    yield found
    thread.join(30)


@pytest.mark.slow
def test_a_report_of_many_rows(reference: Reference, iris_rows: IrisRows, tmp_path: Path) -> None:
    """More rows than are drawn give a page of a sample, the same each time, and leave no file behind."""
    reporter = Reporter(tmp_path)
    current = iris_rows(3 * SAMPLE_ROWS, seed=1, shift=0.1)
    methods = Methods.parse("feature_1=psi:0.3")
    first, second = (reporter.draw(reference, current, methods) for _ in range(2))
    assert first.html.lstrip().startswith(b"<!DOCTYPE html>")
    assert first.cross_check == second.cross_check
    assert first.cross_check.columns == 6
    assert first.cross_check.largest_difference < 1e-9
    assert first.left_out == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_crash_of_evidently_is_a_sentence(reference: Reference, iris_rows: IrisRows) -> None:
    """Numbers whose range is no number end Evidently; the service learns why."""
    current = iris_rows(60, seed=1)
    current.features[0, 0], current.features[1, 0] = 1.7e308, -1.7e308
    with pytest.raises(ReportError, match=r"could not be drawn: Evidently failed \(.*Error.*\); the metrics"):
        Reporter().draw(reference, current)


def test_evidently_that_is_not_there(
    reference: Reference, iris_rows: IrisRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is not installed, or cannot be imported, the sentence says how to install it."""
    (tmp_path / "evidently.py").write_text("raise ImportError('infer_dtype_from_object')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(
        ReportError, match=r"cannot be imported \(ImportError: infer_.*pip install '.\[drift\]'"
    ):
        Reporter().draw(reference, iris_rows(60, seed=1))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux alone")
def test_memory_is_bounded(reference: Reference, iris_rows: IrisRows) -> None:
    """A child that needs more than it may have ends with a sentence, which nearly always says that it was memory.

    Which allocation is refused differs from run to run, and not all libraries tell.
    """
    with pytest.raises(
        ReportError, match=r"Evidently (needs more than 90 MiB|failed|cannot be imported)|was ended"
    ):
        Reporter(memory_bytes=90 << 20).draw(reference, iris_rows(60, seed=1))


def test_time_is_bounded(reference: Reference, iris_rows: IrisRows, tmp_path: Path) -> None:
    """A child that takes too long is ended, and what it left is removed."""
    with pytest.raises(ReportError, match=r"Evidently took more than 0.2 s and was ended"):
        Reporter(tmp_path, seconds=0.2).draw(reference, iris_rows(60, seed=1))
    assert children(os.getpid()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_stop_ends_the_child(reference: Reference, iris_rows: IrisRows) -> None:
    """Whoever waits for the report learns of it at once, and no other begins."""
    reporter = Reporter()
    with drawing(reporter, reference, iris_rows(60, seed=1)) as found:
        reporter.stop()
    assert isinstance(found[0], ShuttingDownError)
    assert children(os.getpid()) == []
    with pytest.raises(ShuttingDownError):
        reporter.draw(reference, iris_rows(60, seed=1))


@pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")
def test_a_child_that_is_killed_is_a_sentence(reference: Reference, iris_rows: IrisRows) -> None:
    """As the system does with the largest process when memory runs out."""
    with drawing(Reporter(), reference, iris_rows(60, seed=1)) as found:
        os.kill(children(os.getpid())[0], signal.SIGKILL)
    assert "the process was ended by SIGKILL" in str(found[0])


def test_a_place_that_cannot_be_written(reference: Reference, iris_rows: IrisRows, tmp_path: Path) -> None:
    """No directory to hand rows over in is a sentence."""
    with pytest.raises(ReportError, match="its rows cannot be handed over"):
        Reporter(tmp_path / "nowhere").draw(reference, iris_rows(60, seed=1))


@pytest.mark.skipif(sys.platform != "linux", reason="children are found in /proc")
def test_the_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    """A parent that is killed takes the child along."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, env=environment)
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"drawing\n"
        wait_for(lambda: children(parent.pid), "the child did not start")
        child = children(parent.pid)[0]
        # It listens for its parent's end from its first lines on, which come after the imports of NumPy.
        wait_for(lambda: len(list(Path(f"/proc/{child}/task").iterdir())) > 1, "the child does not listen")
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()
    wait_for(lambda: _is_gone(child), "the child lives on")


def _is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_no_credentials_reach_the_child(
    reference: Reference, iris_rows: IrisRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child has rows and a page to draw, and no way to the stores that they came from."""
    monkeypatch.setenv("LOKI_PASSWORD", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    reporter = Reporter()
    with drawing(reporter, reference, iris_rows(60, seed=1)):
        (child,) = children(os.getpid())
        environment = Path(f"/proc/{child}/environ").read_bytes()
        reporter.stop()
    assert b"DO_NOT_TRACK=1" in environment
    assert b"secret" not in environment
