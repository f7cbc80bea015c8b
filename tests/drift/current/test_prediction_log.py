"""The prediction log: read as it grows, each event once."""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from drift.current.cut_line import MAX_LINE_BYTES
from drift.current.event_filter import SkipReason
from drift.current.prediction_log import PredictionLog
from drift.errors import PredictionLogError
from drift.rows import Reference

EventLine = Callable[..., bytes]
HOUR = 3600.0


def read(log: PredictionLog, now: float | None = None) -> int:
    """Read the log and return how many rows the window has."""
    rows = log.read(time.time() if now is None else now)
    return 0 if rows is None else len(rows)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stable-0.log"


@pytest.fixture
def log(path: Path, reference: Reference) -> PredictionLog:
    return PredictionLog(path, reference.schema, range_seconds=HOUR, max_rows=1000)


def append(path: Path, *lines: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(lines))


def test_new_lines_join_what_was_read_before(log: PredictionLog, path: Path, event_line: EventLine) -> None:
    """Each read takes what was appended since; the window keeps the rest."""
    append(path, event_line(), event_line())
    assert read(log) == 2
    append(path, event_line())
    assert read(log) == 3
    assert read(log) == 3


def test_a_half_written_line_waits(log: PredictionLog, path: Path, event_line: EventLine) -> None:
    """A last line without its newline is neither counted nor skipped until it is complete."""
    line = event_line()
    append(path, event_line(), line[:50])
    assert read(log) == 1
    append(path, line[50:])
    assert read(log) == 2
    assert not log.take_skipped()


def test_a_truncated_or_replaced_file_is_read_from_its_start(
    log: PredictionLog, path: Path, event_line: EventLine
) -> None:
    """Rotation by truncation and by renaming both keep what was read and lose nothing new."""
    append(path, event_line(), event_line())
    assert read(log) == 2
    path.write_bytes(event_line())
    assert read(log) == 3
    fresh = path.with_suffix(".new")
    append(fresh, event_line(), event_line(), event_line(), event_line())
    os.replace(fresh, path)
    assert read(log) == 7


def test_a_new_file_with_the_old_inode_is_read_from_its_start(
    log: PredictionLog, path: Path, event_line: EventLine
) -> None:
    """File systems give a freed inode to the next file: other first bytes are another file, however long it is."""
    append(path, event_line(), event_line())
    assert read(log) == 2
    inode = path.stat().st_ino
    path.write_bytes(b"".join(event_line() for _ in range(5)))  # in place: certainly the same inode
    assert path.stat().st_ino == inode
    assert read(log) == 7
    append(path, event_line())
    assert read(log) == 8
    assert not log.take_skipped()


def test_a_file_that_begins_small_stays_the_same_file(
    log: PredictionLog, path: Path, event_line: EventLine
) -> None:
    """First bytes that are still being written belong to the same file: nothing is read twice."""
    line = event_line()
    for start, end in ((0, 0), (0, 7), (7, 300), (300, len(line))):
        append(path, line[start:end])
        rows = read(log)
    append(path, event_line())
    assert (rows, read(log)) == (1, 2)
    assert not log.take_skipped()


def test_an_event_counts_once(log: PredictionLog, path: Path, event_line: EventLine) -> None:
    """Duplicates of (event_id, part) are dropped; parts of one request are different events."""
    whole, first, second = (
        event_line(event_id="a"),
        event_line(event_id="b", part=0),
        event_line(event_id="b", part=1),
    )
    append(path, whole, whole, first, second)
    assert read(log) == 3
    append(path, first)
    assert read(log) == 3
    assert log.take_skipped() == Counter({SkipReason.DUPLICATE: 2})


def test_only_the_window_counts(log: PredictionLog, path: Path, event_line: EventLine) -> None:
    """Events older than the range are skipped, and those in it leave when their time comes."""
    now = time.time()

    def at(seconds: float) -> str:
        return datetime.fromtimestamp(now + seconds, UTC).isoformat()

    append(path, event_line(timestamp=at(-HOUR - 60)), event_line(timestamp=at(-HOUR + 60)), event_line())
    assert read(log, now) == 2
    assert log.take_skipped() == Counter({SkipReason.OUTSIDE_WINDOW: 1})
    assert read(log, now + 120) == 1


def test_a_clock_ahead_of_ours_keeps_no_row_for_ever(
    log: PredictionLog, path: Path, event_line: EventLine
) -> None:
    """An event from the future counts as of now, and leaves the window like any other."""
    append(path, event_line(timestamp="2999-01-01T00:00:00Z"))
    now = time.time()
    assert read(log, now) == 1
    assert read(log, now + HOUR + 1) == 0


def test_a_directory_is_all_of_its_logs(tmp_path: Path, reference: Reference, event_line: EventLine) -> None:
    """Every `*.log` file counts, those that appear later too; other files do not."""
    log = PredictionLog(tmp_path, reference.schema, range_seconds=HOUR, max_rows=1000)
    append(tmp_path / "stable-0.log", event_line())
    append(tmp_path / "notes.txt", event_line())
    assert read(log) == 1
    append(tmp_path / "canary-0.log", event_line(track="canary"))
    assert read(log) == 2


def test_the_window_is_a_sample_when_rows_are_many(
    path: Path, reference: Reference, event_line: EventLine
) -> None:
    """Beyond `max_rows` the window has exactly so many rows."""
    log = PredictionLog(path, reference.schema, range_seconds=HOUR, max_rows=20)
    append(path, *(event_line([[1.0, 2.0, 3.0, 4.0]] * 5, ["setosa"] * 5) for _ in range(30)))
    assert read(log) == 20


def test_lines_that_are_not_json_are_counted_and_logged_once_a_read(
    log: PredictionLog, path: Path, event_line: EventLine
) -> None:
    """A thousand broken lines make one log line with their number; blank lines are nothing."""
    append(path, b"Traceback (most recent call last):\n" * 1000, b"\n\n", event_line())
    with capture_logs() as logged:
        assert read(log) == 1
    assert log.take_skipped() == Counter({SkipReason.NOT_JSON: 1000})
    assert [(line["event"], line["lines"]) for line in logged] == [("Skipping non-JSON log line", 1000)]


def test_a_line_beyond_the_limit_is_skipped(log: PredictionLog, path: Path, event_line: EventLine) -> None:
    """A line longer than any event is cut and counted; the lines after it are read."""
    append(path, b"x" * (3 * MAX_LINE_BYTES) + b"\n", event_line())
    assert read(log) == 1
    assert log.take_skipped() == Counter({SkipReason.NOT_JSON: 1})


def test_a_missing_log_is_an_error_until_it_appears(
    log: PredictionLog, path: Path, event_line: EventLine
) -> None:
    """The sentence names the file, the reason and the variable; the next read may succeed."""
    with pytest.raises(PredictionLogError, match=r"stable-0\.log.*no such file.*CURRENT_DATASET_URI"):
        read(log)
    append(path, event_line())
    assert read(log) == 1


def test_a_rotated_log_is_read_to_its_end(log: PredictionLog, path: Path, event_line: EventLine) -> None:
    """Lines written between the last read and a rename are found under the new name; then the new file is read."""
    append(path, event_line(), event_line())
    assert read(log) == 2
    append(path, event_line(), event_line(), event_line()[:-1])
    path.rename(path.with_name("stable-0.log.1"))
    append(path, event_line())
    assert read(log) == 6
    append(path, event_line())
    assert read(log) == 7
    assert not log.take_skipped()


def test_a_rotated_log_of_a_directory_is_read_to_its_end(
    tmp_path: Path, path: Path, reference: Reference, event_line: EventLine
) -> None:
    """Whether a read falls between the renaming and the new file or not, and whatever the old one is called."""
    log = PredictionLog(tmp_path, reference.schema, range_seconds=HOUR, max_rows=1000)
    append(path, event_line())
    assert read(log) == 1
    append(path, event_line())
    path.rename(old := path.with_name("stable-0.log.1"))
    assert read(log) == 2
    append(old, event_line())
    append(path, event_line())
    assert read(log) == 4
    path.rename(path.with_name("yesterday.log"))
    append(path.with_name("yesterday.log"), event_line())
    assert read(log) == 5
    old.unlink()
    append(path, event_line())
    assert read(log) == 6
    assert not log.take_skipped()


def test_a_log_that_was_copied_and_truncated_is_read_from_its_copy(
    log: PredictionLog, path: Path, event_line: EventLine
) -> None:
    """What logrotate calls copytruncate: the rest is in the copy."""
    append(path, event_line(), event_line())
    assert read(log) == 2
    append(path, event_line())
    path.with_name("stable-0.log.1").write_bytes(path.read_bytes())
    path.write_bytes(event_line())
    with capture_logs() as logged:
        assert read(log) == 4
    assert not logged
    assert not log.take_skipped()


def test_what_was_lost_with_a_truncated_log_is_told_once(
    log: PredictionLog, path: Path, event_line: EventLine
) -> None:
    """No copy is there: one line says how many bytes, at least, nobody will read. Others' files are no copies."""
    half = event_line()[:40]
    append(path, event_line(), event_line(), half)
    append(path.with_name("stable-0.log.gz"), b"packed" * 1000)
    os.mkfifo(path.with_name("stable-0.log.pipe"))
    assert read(log) == 2
    path.write_bytes(event_line())
    with capture_logs() as logged:
        assert read(log) == 3
        assert read(log) == 3
    assert [line["lost_bytes_at_least"] for line in logged] == [len(half)]


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_is_no_regular_file_is_told(
    kind: str, tmp_path: Path, reference: Reference, event_line: EventLine
) -> None:
    """A pipe without a writer would be waited for, and a device never ends: neither is opened to be read."""
    path = tmp_path / "a.log" if kind != "device" else Path("/dev/zero")
    log = PredictionLog(path, reference.schema, range_seconds=HOUR, max_rows=1000)
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            server.bind(str(path))
        with pytest.raises(
            PredictionLogError, match=f"{path} cannot be read: it is no regular file; check CURRENT"
        ):
            read(log)
    if kind != "device":
        path.unlink()
        append(path, event_line())
        assert read(log) == 1


def test_a_byte_order_mark_is_no_part_of_a_line(
    log: PredictionLog, path: Path, event_line: EventLine
) -> None:
    """The first line of a file counts, even when it comes in two parts."""
    line = b"\xef\xbb\xbf" + event_line()
    append(path, line[:2])
    assert read(log) == 0
    append(path, line[2:])
    assert read(log) == 1
    assert not log.take_skipped()


@settings(max_examples=40, deadline=None)
@given(
    lines=st.lists(
        st.just(b"event") | st.just(b"{}") | st.binary(max_size=30).map(lambda text: b"!" + text), max_size=12
    ),
    cuts=st.lists(st.integers(0, 4000), max_size=5),
)
def test_however_a_file_grows_each_line_counts_once(
    lines: list[bytes], cuts: list[int], reference: Reference, event_line: EventLine
) -> None:
    """Any bytes, read at any moments of their writing: as many rows as events, all others counted."""
    content = b"".join(
        event_line() if line == b"event" else line.replace(b"\n", b"") + b"\n" for line in lines
    )
    with TemporaryDirectory() as directory:
        path = Path(directory) / "a.log"
        log = PredictionLog(path, reference.schema, range_seconds=HOUR, max_rows=1000)
        written, rows = 0, 0
        for cut in [*sorted(cuts), len(content)]:
            append(path, content[written:cut])
            written = max(written, min(cut, len(content)))
            rows = read(log)
    assert rows == lines.count(b"event")
    assert log.take_skipped().total() == sum(line.startswith(b"!") for line in lines)
