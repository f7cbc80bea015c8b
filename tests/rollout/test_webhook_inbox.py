"""What the relay remembers: duplicates, order, attempts, and what a kill leaves."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout.errors import InfrastructureError, UsageError
from rollout.webhook_relay.deployment import Deployment, Source, State, Wanted
from rollout.webhook_relay.inbox import Inbox

TWO, THREE = Wanted("iris", "challenger", "2"), Wanted("iris", "challenger", "3")


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inbox(tmp_path: Path, clock: Clock) -> Iterator[Inbox]:
    inbox = Inbox(tmp_path / "state", clock)
    yield inbox
    inbox.close()


def due(inbox: Inbox) -> Deployment:
    found = inbox.next_due()
    assert found is not None
    return found


def act(inbox: Inbox, state: State = State.DONE) -> None:
    attempt = inbox.begin(due(inbox).id)
    inbox.settle(attempt.id, state, "said the test")


def states(inbox: Inbox) -> list[tuple[str, State]]:
    return [(d.wanted.version, d.state) for d in reversed(inbox.newest(100))]


def test_the_same_delivery_counts_once(inbox: Inbox) -> None:
    """A delivery that is sent again, by MLflow or by somebody who listened, changes nothing."""
    assert inbox.receive("a", TWO, 600).new
    assert not inbox.receive("a", TWO, 600).new
    assert not inbox.receive("a", THREE, 600).new
    assert states(inbox) == [("2", State.PENDING)]


def test_the_same_alias_counts_once_through_all_states(inbox: Inbox) -> None:
    """Setting an alias again to where it is fires an event again, and asks for nothing new."""
    assert inbox.receive("a", TWO, 600).new
    again = inbox.receive("b", TWO, 600)
    assert (again.new, again.known is not None) == (False, True)
    attempt = inbox.begin(due(inbox).id)
    assert not inbox.receive("c", TWO, 600).new
    inbox.settle(attempt.id, State.DECLINED, "aborted")
    assert not inbox.receive("d", TWO, 600).new
    assert not inbox.want(TWO, Source.POLL).new


def test_a_newer_version_takes_the_place_of_one_that_waits(inbox: Inbox) -> None:
    """Of a model only the newest wanted version is left; what runs is not touched."""
    inbox.receive("a", TWO, 600)
    inbox.receive("b", THREE, 600)
    assert states(inbox) == [("2", State.SUPERSEDED), ("3", State.PENDING)]
    inbox.begin(due(inbox).id)
    inbox.receive("c", Wanted("iris", "challenger", "4"), 600)
    assert states(inbox)[1:] == [("3", State.RUNNING), ("4", State.PENDING)]


def test_models_do_not_disturb_each_other(inbox: Inbox) -> None:
    """Each model has its own newest version; the first that was wanted is first in turn."""
    inbox.receive("a", TWO, 600)
    inbox.receive("b", Wanted("churn", "challenger", "2"), 600)
    assert inbox.pending_count() == 2
    assert due(inbox).wanted == TWO


def test_an_alias_that_went_away_and_came_back_counts_again(inbox: Inbox) -> None:
    """2, then 3, then 2 once more are three wishes."""
    for wanted in (TWO, THREE, TWO):
        assert inbox.want(wanted, Source.POLL).new
        act(inbox)
    assert states(inbox) == [("2", State.DONE), ("3", State.DONE), ("2", State.DONE)]
    assert inbox.acted_on("iris", "challenger") == "2"


def test_postponed_deployments_wait_and_keep_their_attempts(inbox: Inbox, clock: Clock) -> None:
    """A deployment is not due before its time; attempts and key stay with it."""
    inbox.want(TWO, Source.POLL)
    first = inbox.begin(due(inbox).id)
    inbox.postpone(first, 30, "busy")
    assert inbox.next_due() is None
    assert inbox.seconds_to_next() == 30
    clock.now += 30
    second = inbox.begin(due(inbox).id)
    assert (second.attempts, second.key) == (2, first.key)


def test_what_is_to_be_tried_again_gives_way_to_newer(inbox: Inbox) -> None:
    """When a newer version came during the attempt, the older one is not tried again."""
    inbox.want(TWO, Source.POLL)
    attempt = inbox.begin(due(inbox).id)
    inbox.want(THREE, Source.POLL)
    inbox.postpone(attempt, 0, "busy")
    assert states(inbox) == [("2", State.SUPERSEDED), ("3", State.PENDING)]


def test_retry_repeats_what_was_acted_on_last(inbox: Inbox) -> None:
    """A retry is a new deployment; of what waits it only ends the wait, and of nothing it is wrong usage."""
    with pytest.raises(UsageError, match="never acted"):
        inbox.retry("iris")
    inbox.want(TWO, Source.POLL)
    act(inbox, State.FAILED)
    assert inbox.retry("iris").source is Source.RETRY
    inbox.postpone(due(inbox), 600, "busy")
    assert inbox.next_due() is None
    inbox.retry("iris")
    assert due(inbox).wanted == TWO
    assert len(inbox.newest(10)) == 2


def test_old_deliveries_are_forgotten(inbox: Inbox, clock: Clock, tmp_path: Path) -> None:
    """The table of deliveries does not grow for ever; deployments are kept."""
    inbox.receive("a", TWO, 600)
    clock.now += 601
    inbox.receive("b", TWO, 600)
    with sqlite3.connect(tmp_path / "state" / "inbox.db") as database:
        assert database.execute("SELECT delivery_id FROM deliveries").fetchall() == [("b",)]
    database.close()


def test_a_claim_is_for_one_process_and_one_attempt(inbox: Inbox) -> None:
    """A command that is late, or comes twice, does not run."""
    inbox.want(TWO, Source.POLL)
    first = inbox.begin(due(inbox).id)
    inbox.postpone(first, 0, "given up")
    assert not inbox.claim(first.id, 1)
    second = inbox.begin(first.id)
    assert not inbox.claim(second.id, 1)
    assert inbox.claim(second.id, 2)
    assert not inbox.claim(second.id, 2)
    inbox.finish(second.id, 1, 4)
    assert inbox.get(second.id).exit_code is None
    inbox.finish(second.id, 2, 0)
    assert inbox.get(second.id).exit_code == 0


def test_what_was_taken_survives_kill_9(tmp_path: Path) -> None:
    """A process is killed the moment it has taken a delivery: another finds it, and takes it for known."""
    program = (
        "import os, signal, sys, pathlib\n"
        "from rollout.webhook_relay import Inbox, Wanted\n"
        "inbox = Inbox(pathlib.Path(sys.argv[1]))\n"
        "assert inbox.receive('a', Wanted('iris', 'challenger', '2'), 600).new\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], env=os.environ | {"PYTHONPATH": root}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    inbox = Inbox.existing(tmp_path)
    assert not inbox.receive("a", TWO, 600).new
    assert due(inbox).wanted == TWO
    inbox.close()


def test_many_threads_and_one_event_make_one_deployment(inbox: Inbox) -> None:
    """Deliveries that come at the same time are taken one after the other."""
    news: list[bool] = []
    threads = [
        threading.Thread(target=lambda n=n: news.append(inbox.receive(f"d{n}", TWO, 600).new))
        for n in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(news) == [False] * 15 + [True]


def test_state_that_cannot_be_used_is_a_sentence(tmp_path: Path) -> None:
    """A file in place of the directory, a damaged database, newer tables: what it is and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match="RELAY_STATE_DIR"):
        Inbox(tmp_path / "file")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "inbox.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(InfrastructureError, match="not a database"):
        Inbox(damaged)
    Inbox(tmp_path / "newer").close()
    with sqlite3.connect(tmp_path / "newer" / "inbox.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(UsageError, match="newer relay"):
        Inbox(tmp_path / "newer")
    with pytest.raises(UsageError, match="no relay has worked"):
        Inbox.existing(tmp_path / "none")
