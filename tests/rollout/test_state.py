"""The state file, the evidence and the operator's lock."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rollout.errors import InfrastructureError, UsageError
from rollout.state import Home, Phase, RolloutState, write_durably

ROOT = Path(__file__).resolve().parents[2]

STATE = RolloutState(
    rollout_id="r1",
    model_name="iris",
    version="8",
    stable_version="7",
    champion_before="7",
    plan_digest="0" * 64,
    actor="me@here",
    started_at=datetime(2026, 11, 23, tzinfo=UTC),
    phase=Phase.STEPPING,
    step=1,
    steps=3,
    weight=5,
)

HOLD = """
import sys
from pathlib import Path
from rollout.state import Home
with Home(Path(sys.argv[1])).only_operator("a test"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that does not exist yet."""
    return Home(tmp_path / "deep" / "home")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with no room left."""
    place = tmp_path / "full"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "coalmine-test", str(place)]
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        (place / "home").mkdir()
        (place / "filler").write_bytes(b"x" * os.statvfs(place).f_bavail * os.statvfs(place).f_frsize)
        yield place / "home"
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_state_comes_back_as_it_was_saved(home: Home) -> None:
    """Saving makes the directory; loading gives an equal state; before the first there is none."""
    assert home.load_state() is None
    home.save_state(STATE)
    assert home.load_state() == STATE
    assert STATE.model_uri == "models:/iris/8"


@pytest.mark.parametrize("phase", Phase)
def test_a_rollout_has_ended_or_has_something_left_to_do(phase: Phase) -> None:
    """Four phases are ends; the other four are to be recovered after a kill."""
    ends = {Phase.PROMOTED, Phase.ABORTED, Phase.INCONCLUSIVE, Phase.FAILED}
    assert STATE.model_copy(update={"phase": phase}).ended == (phase in ends)


def test_a_reader_sees_the_old_or_the_new_state_never_half_of_one(home: Home) -> None:
    """Writing replaces the file by another one; an open reader keeps what it had."""
    home.save_state(STATE)
    with home.state_file.open("rb") as reader:
        home.save_state(STATE.model_copy(update={"weight": 25, "reason": "x" * 10_000}))
        assert RolloutState.model_validate_json(reader.read()).weight == 5
    state = home.load_state()
    assert state is not None
    assert state.weight == 25
    assert [path.name for path in home.directory.iterdir()] == ["rollout.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b'{"rollout_id": "r1"}'])
def test_an_unreadable_state_says_what_to_do(home: Home, content: bytes) -> None:
    """A damaged file is an infrastructure error that names the file and the way out."""
    home.directory.mkdir(parents=True)
    home.state_file.write_bytes(content)
    with pytest.raises(InfrastructureError, match="invoke stack-down") as caught:
        home.load_state()
    assert str(home.state_file) in str(caught.value)


def test_the_mode_of_a_file_holds_from_its_first_byte(tmp_path: Path) -> None:
    """A file with a secret is its owner's only, also when it is replaced."""
    for text in ("one", "two"):
        write_durably(tmp_path / "stack.json", text, mode=0o600)
        assert (tmp_path / "stack.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "stack.json").read_text() == "two"


def test_a_full_disk_is_said_and_keeps_the_old_state(full_disk: Path) -> None:
    """State and evidence name the file, the reason and what to do."""
    home = Home(full_disk)
    with pytest.raises(InfrastructureError, match="No space left on device; free space"):
        home.save_state(STATE.model_copy(update={"reason": "x" * 8192}))
    with pytest.raises(InfrastructureError, match="No space left on device"):
        home.record("r1", {"text": "x" * 8192})


def test_a_directory_that_cannot_be_is_said(tmp_path: Path) -> None:
    """A home below a file is refused in words."""
    (tmp_path / "file").write_text("")
    home = Home(tmp_path / "file" / "home")
    with pytest.raises(InfrastructureError, match="cannot be written"):
        home.save_state(STATE)
    with (
        pytest.raises(InfrastructureError, match="cannot be written"),
        home.only_operator("a rollout"),
    ):
        pytest.fail("nobody can hold it")


def test_evidence_is_one_json_object_a_line(home: Home) -> None:
    """Events are appended with their time; what JSON has no word for becomes null or text."""
    home.record("r1", {"kind": "started", "text": "a\nb"})
    home.record("r1", {"kind": "look", "p95": float("inf"), "where": Path("/x")})
    lines = (home.evidence("r1") / "events.jsonl").read_text().splitlines()
    first, second = (json.loads(line, parse_constant=pytest.fail) for line in lines)
    assert datetime.fromisoformat(first.pop("at")).tzinfo is not None
    assert first == {"kind": "started", "text": "a\nb"}
    assert (second["p95"], second["where"]) == (None, "/x")


def test_a_second_operator_is_refused(home: Home) -> None:
    """While another process changes the stack nobody else may; when it ends, even by a kill, one may."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(UsageError, match=r"a rollout needs the stack .* another command holds it"),
            home.only_operator("a rollout"),
        ):
            pytest.fail("two operators at once")
        other.kill()
        other.wait(20)
    with home.only_operator("a rollout"):
        pass


def test_the_lock_is_given_back_after_an_error(home: Home) -> None:
    """A command that fails does not lock the next one out."""
    with pytest.raises(KeyError), home.only_operator("a rollout"):
        raise KeyError
    with home.only_operator("a rollout"):
        pass
