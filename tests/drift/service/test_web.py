"""The routes: who goes away, who joins, and who comes when the monitor ends."""

import asyncio
import base64
import dataclasses
import hashlib
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry

from drift import monitor as monitor_module
from drift.current.prediction_event import SkipReason
from drift.evaluation import Outcome
from drift.monitor import Monitor
from drift.rows import Reference, Rows
from drift.service.metrics import DriftMetrics
from drift.service.web import create_app


class HeldSource:
    """A source without rows that answers when `gate` is set."""

    def __init__(self) -> None:
        self.gate, self.reading = threading.Event(), threading.Event()

    def read(self, now: float) -> Rows | None:  # noqa: ARG002
        """Wait for the gate."""
        self.reading.set()
        assert self.gate.wait(20)
        return None

    def take_skipped(self) -> Counter[SkipReason]:
        """Skip nothing."""
        return Counter()


@pytest.fixture
def source() -> HeldSource:
    return HeldSource()


@pytest.fixture
def monitor(reference: Reference, source: HeldSource) -> Iterator[Monitor]:
    """A monitor whose evaluations wait for the gate of `source`."""
    made = Monitor(reference, source, DriftMetrics(len(reference.rows)), min_rows=50)
    yield made
    source.gate.set()
    assert made.stop(20)


def ask(monitor: Monitor, talk: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    """Let `talk` speak with the application of `monitor`, within one event loop."""

    async def run() -> None:
        transport = httpx.ASGITransport(create_app(monitor, CollectorRegistry()))
        async with httpx.AsyncClient(transport=transport, base_url="http://drift") as client:
            await asyncio.wait_for(talk(client), 30)

    asyncio.run(run())


def test_a_caller_that_goes_away_cancels_only_itself(monitor: Monitor, source: HeldSource) -> None:
    """Its request ends as cancelled, not with an answer; who joined the evaluation gets the result."""

    async def talk(client: httpx.AsyncClient) -> None:
        leaving, staying = (asyncio.create_task(client.post("/refresh")) for _ in range(2))
        await asyncio.to_thread(source.reading.wait, 20)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        source.gate.set()
        assert (await staying).json()["outcome"] == Outcome.INSUFFICIENT_DATA

    ask(monitor, talk)


def test_an_evaluation_that_never_begins_is_answered(
    monitor: Monitor, source: HeldSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the monitor ends before its evaluation began, and ever after, the caller reads why: 503.

    The monitor then has nothing to wait for: it stops as soon as the import under way is over.
    """
    monkeypatch.setattr(monitor_module, "load_evidently", lambda: source.gate.wait(20))

    async def talk(client: httpx.AsyncClient) -> None:
        monitor.warm_up()  # holds the only worker, so that the evaluation waits behind it
        waiting = asyncio.create_task(client.post("/refresh"))
        while not monitor.health().evaluating:
            await asyncio.sleep(0.01)
        assert not monitor.stop(0)
        for answer in (await waiting, await client.post("/refresh")):
            assert (answer.status_code, answer.json()) == (
                503,
                {"error": "the drift monitor is shutting down; ask the next one"},
            )

    ask(monitor, talk)


def test_the_report_runs_its_own_scripts_alone(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy with the digest of each script: no other script, no handler in an attribute, no other place."""
    script = b"document.title = 'ours'"
    page = b"<html><script>" + script + b"</script></html>"
    state = dataclasses.replace(monitor.state, report_html=page)
    monkeypatch.setattr(Monitor, "state", property(lambda _: state))

    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.get("/report")
        assert answer.content == page
        policy = dict(
            part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
        )
        digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
        assert policy["script-src"] == f"'sha256-{digest}'"
        assert policy["default-src"] == "'none'"

    ask(monitor, talk)
