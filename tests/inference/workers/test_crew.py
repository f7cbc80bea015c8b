"""Who hears of changes, and who does not answer."""

import json
import socket
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import pytest

from inference.workers.channel import Channel, WorkerError, WorkerLostError
from inference.workers.crew import Crew


@dataclass
class _Member:
    """Stands for a seat: what it was asked, and the replies that the test gives."""

    number: int = 0
    asked: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    reply: "Future[dict[str, object]]" = field(default_factory=Future)

    def send(self, method: str, **_fields: object) -> "Future[dict[str, object]]":
        self.asked.append(method)
        return self.reply

    def replace(self, reason: str) -> None:
        self.replaced.append(reason)


def test_whoever_comes_with_an_old_plan_is_sent_back() -> None:
    """A worker that was brought to a plan which changed meanwhile does not join; one with the plan does."""
    crew, late = Crew(), _Member()
    old = crew.plan
    crew.change(lambda plan: replace(plan, mode="serving"), "say", mode="serving")
    assert not crew.join(late, old)
    assert crew.join(late, crew.plan)
    crew.change(lambda plan: replace(plan, mode="draining"), "say", mode="draining")
    assert late.asked == ["say"]


def test_whoever_left_hears_nothing() -> None:
    """A change does not wait for a worker that is gone."""
    crew, gone = Crew(), _Member()
    crew.join(gone, crew.plan)
    crew.leave(gone)
    assert crew.ask("report") == []


def test_a_refusal_is_told_and_only_silence_is_punished() -> None:
    """A worker that says why not stays; one that does not answer is replaced."""
    crew, honest, silent = Crew(), _Member(1), _Member(2)
    honest.reply.set_exception(WorkerError("no such file"))
    for member in (honest, silent):
        crew.join(member, crew.plan)
    problems, lost = crew.wait(crew.ask("prepare"), 0.05)
    assert not lost, "one of them said why"
    assert problems[0] == "worker 1: no such file"
    assert problems[1].startswith("worker 2: it did not answer within")
    assert (len(honest.replaced), len(silent.replaced)) == (0, 1)


def test_replies_find_who_asked_in_any_order() -> None:
    """Each reply goes to its request; the listener hears all, in the order in which they came."""
    ours, its = socket.socketpair()
    heard: list[int] = []
    channel = Channel(ours, lambda reply: heard.append(reply["id"]))
    first, second = channel.send("prepare"), channel.send("report")
    lines = its.makefile("rb")
    numbers = [json.loads(lines.readline())["id"] for _ in range(2)]
    its.sendall(b'{"id": %d, "value": 2}\n{"id": %d, "error": "no"}\n' % (numbers[1], numbers[0]))
    assert channel.wait(second, 5)["value"] == 2
    with pytest.raises(WorkerError, match="no"):
        channel.wait(first, 5)
    assert heard == [numbers[1], numbers[0]]
    lines.close()
    its.close()
    channel.close()


def test_a_worker_that_dies_fails_what_it_was_asked() -> None:
    """Whoever waits learns of it at once, and whoever asks later too."""
    ours, its = socket.socketpair()
    channel = Channel(ours, lambda _: None)
    waiting = channel.send("prepare")
    its.close()
    with pytest.raises(WorkerLostError, match="died"):
        channel.wait(waiting, 5)
    with pytest.raises(WorkerLostError):
        channel.ask("report", 5)
    channel.close()


def test_a_worker_that_takes_no_requests_is_lost() -> None:
    """When its buffer is full of requests, nobody waits for room."""
    ours, its = socket.socketpair()
    channel = Channel(ours, lambda _: None)
    while not channel.lost.is_set():
        channel.send("report", text="x" * 10_000)
    channel.close()
    its.close()
