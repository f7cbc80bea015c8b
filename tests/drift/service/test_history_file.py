"""The file of the history: damage, other writers, a disk that is full."""

import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drift.errors import HistoryError
from drift.service.history import History
from telemetry import configure_logging
from tests.drift.service.evaluations import BEGIN, verdict

ROOT = Path(__file__).parents[3]
#: Adds runs to a history, as a process of its own.
WRITER = """
import sys
from pathlib import Path
from drift.service.history import History
from tests.drift.service.evaluations import BEGIN, verdict
history = History(Path(sys.argv[1]))
print("begun", flush=True)
sys.stdin.readline()
for place in range(60):
    history.add(verdict(BEGIN + place))
history.close()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    """A history with three runs."""
    made = History(path)
    for place in range(3):
        made.add(verdict(BEGIN + place))
    yield made
    made.close()


def log_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    captured = capsys.readouterr()
    return [json.loads(line) for line in (captured.out + captured.err).splitlines()]


def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(
    history: History, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log says so, the old file is there to look at, and the next runs are kept."""
    configure_logging()
    history.close()
    path.write_bytes(b"this was a database" * 1000)
    fresh = History(path)
    fresh.add(verdict(BEGIN + 10))
    assert len(fresh.runs(10)) == 1
    fresh.close()
    assert path.with_name("history.sqlite.damaged").read_bytes().startswith(b"this was a database")
    (line,) = log_lines(capsys)
    assert line["message"] == "the drift history is damaged: it was moved aside, and a new one is begun"
    assert line["moved_to"] == f"{path}.damaged"


def test_damage_within_pages_is_found_when_the_file_is_opened(history: History, path: Path) -> None:
    """The head of the file is whole, its content is not: a new one is begun."""
    history.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    fresh = History(path)
    fresh.add(verdict(BEGIN + 10))
    assert len(fresh.runs(10)) == 1
    fresh.close()


def test_a_file_that_vanishes_is_begun_anew(history: History, path: Path) -> None:
    """The service goes on with a new file instead of writing to one that nobody can see."""
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    history.add(verdict(BEGIN + 10))
    assert len(history.runs(10)) == 1
    assert path.exists()


def test_two_processes_share_a_file(path: Path) -> None:
    """Their runs are all there, once each, and the file is whole."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"begun\n"
    assert [writer.communicate(b"go\n", 60) and writer.returncode for writer in writers] == [0, 0]
    history = History(path)
    assert len(history.runs(1000)) == 120
    history.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_two_processes_survive_the_damage_of_their_file(history: History, path: Path) -> None:
    """One of them replaces the file; the other one goes on with the new file, and both see all runs."""
    other = History(path)
    assert len(other.runs(10)) == 3
    with sqlite3.connect(path) as connection:  # all of it in one file, then damaged under both
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with path.open("r+b") as file:
        file.write(b"\0" * 4096 * 3)
    for place in range(2):
        history.add(verdict(BEGIN + 10 + place))
        other.add(verdict(BEGIN + 20 + place))
    assert history.runs(10) == other.runs(10)
    assert len(history.runs(10)) == 4
    other.close()


def test_a_full_disk_is_a_sentence_in_the_log(
    history: History, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is raised, nothing is lost that was there, and the history goes on once there is room."""
    configure_logging()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # A file must not grow beyond what it has: as on a full disk, the system refuses the write.
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
    try:
        for place in range(20):
            history.add(verdict(BEGIN + 10 + place, names=[f"feature_{number}" for number in range(200)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    lines = log_lines(capsys)
    assert {line["message"] for line in lines} == {"the drift history was not written"}
    assert "free space there" in lines[0]["reason"]
    history.add(verdict(BEGIN + 100))
    assert len(history.runs(100)) >= 4


@pytest.mark.parametrize("statement", ["CREATE TABLE theirs (x)", "PRAGMA user_version = 2"])
def test_the_file_of_others_is_left_alone(history: History, path: Path, statement: str) -> None:
    """A database of another program, or of a newer version, is neither written nor moved."""
    history.close()
    if statement.startswith("CREATE"):
        path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    before = shutil.copy(path, path.with_name("before"))
    refused = History(path)
    with pytest.raises(HistoryError, match=r"another program|a newer Coalmine"):
        refused.runs(5)
    refused.close()
    assert path.read_bytes() == before.read_bytes()


def test_a_place_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reading raises it, adding logs it."""
    configure_logging()
    (tmp_path / "file").write_text("")
    history = History(tmp_path / "file" / "history.sqlite")
    history.add(verdict(BEGIN))
    with pytest.raises(HistoryError, match="set DRIFT_STATE_DIR to another directory"):
        history.runs(5)
    (line,) = log_lines(capsys)
    assert line["message"] == "the drift history was not written"
