"""The routes: who goes away, who joins, and who comes when the monitor ends."""

import asyncio
import base64
import hashlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry

from drift.baseline import Baseline
from drift.errors import DriftError, ReportError
from drift.evaluation import Evaluation, Outcome
from drift.inputs import Current, Inputs
from drift.monitor import Monitor
from drift.service.history import History
from drift.service.page import PAGE_POLICY
from drift.service.web import create_app
from drift.settings import Settings
from tests.drift.service.evaluations import BEGIN, verdict


class HeldInputs(Inputs):
    """Inputs without rows, which are read when `gate` is set."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.gate, self.reading = threading.Event(), threading.Event()

    def current(self, baseline: Baseline, now: float) -> Current:  # noqa: ARG002
        """Wait for the gate."""
        self.reading.set()
        assert self.gate.wait(20)
        return Current(None, None)


@pytest.fixture
def source(reference_csv: Path) -> HeldInputs:
    return HeldInputs(
        Settings(reference_dataset_uri=str(reference_csv), current_dataset_uri=str(reference_csv))
    )


@pytest.fixture
def monitor(source: HeldInputs) -> Iterator[Monitor]:
    """A monitor whose evaluations wait for the gate of `source`."""
    made = Monitor(source, min_rows=50, alarm_runs=2, listener=lambda _evaluation, _evidence: None)
    yield made
    source.gate.set()
    assert made.stop(20)


class Drawing:
    """Draws a report, or cannot; None before the first verdict."""

    def __init__(self, drawn: bytes | DriftError | None) -> None:
        self._drawn = drawn

    def report(self) -> Future[bytes] | None:
        """Give what was drawn."""
        future: Future[bytes] = Future()
        if isinstance(self._drawn, DriftError):
            future.set_exception(self._drawn)
        elif self._drawn is not None:
            future.set_result(self._drawn)
        return future if self._drawn is not None else None


def ask(
    monitor: Monitor,
    talk: Callable[[httpx.AsyncClient], Awaitable[None]],
    *,
    history: History | None = None,
    drawn: bytes | DriftError | None = None,
) -> None:
    """Let `talk` speak with the application of `monitor`, within one event loop."""

    async def run() -> None:
        app = create_app(monitor, Drawing(drawn), CollectorRegistry(), history or History(None))
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://drift") as client:
            await asyncio.wait_for(talk(client), 30)

    asyncio.run(run())


def test_a_caller_that_goes_away_cancels_only_itself(monitor: Monitor, source: HeldInputs) -> None:
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


def test_an_evaluation_that_never_begins_is_answered(monitor: Monitor, source: HeldInputs) -> None:
    """When the monitor ends before its evaluation began, and ever after, the caller reads why: 503."""

    held = threading.Event()

    async def talk(client: httpx.AsyncClient) -> None:
        # What is told of the end of an evaluation holds the thread that evaluates, so that the next one waits.
        first = monitor.refresh()
        first.add_done_callback(lambda _: held.wait(20))
        source.gate.set()
        await asyncio.to_thread(first.result, 20)
        waiting = asyncio.create_task(client.post("/refresh"))
        while not monitor.health().evaluating:
            await asyncio.sleep(0.01)
        monitor.stop(0)
        held.set()
        for answer in (await waiting, await client.post("/refresh")):
            assert (answer.status_code, answer.json()) == (
                503,
                {"error": "the drift monitor is shutting down; ask the next one"},
            )

    ask(monitor, talk)


def test_the_report_runs_its_own_scripts_alone(monitor: Monitor) -> None:
    """A policy with the digest of each script: no other script, no handler in an attribute, no other place."""
    script = b"document.title = 'ours'"
    page = b"<html><script>" + script + b"</script></html>"

    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.get("/report")
        assert answer.content == page
        policy = dict(
            part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
        )
        digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
        assert policy["script-src"] == f"'sha256-{digest}'"
        assert policy["default-src"] == "'none'"

    ask(monitor, talk, drawn=page)


def test_the_history_is_given_page_by_page(monitor: Monitor) -> None:
    """Newest first; `next_before` leads to the next page, and is null on the last one."""
    history = History(None)
    for place in range(5):
        history.add(verdict(BEGIN + place))

    async def talk(client: httpx.AsyncClient) -> None:
        found, query = [], {"limit": 2}
        while query:
            answer = await client.get("/api/history", params=query)
            assert answer.status_code == 200
            body = answer.json()
            assert set(body) == {"runs", "next_before"}
            found += body["runs"]
            query = {"limit": 2, "before": body["next_before"]} if body["next_before"] else {}
        assert [run["evaluated_at"] for run in found] == [
            verdict(BEGIN + place).evaluated_at for place in reversed(range(5))
        ]
        run = found[0]
        assert (run["outcome"], run["rows"], run["alarm"]["any"]) == ("ok", 200, False)
        assert run["alarm"]["scopes"]["joint"] == {
            "raised": False,
            "p_value": 0.4,
            "level": 0.0033,
            "runs": 0,
        }
        assert run["features"][0] == {
            "name": "feature_0",
            "method": "Wasserstein distance (normed)",
            "statistic": 0.05,
            "threshold": 0.1,
            "drifted": False,
            "severity": 0.5,
            "psi": 0.004,
            "p_value": 0.7,
        }

    ask(monitor, talk, history=history)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/api/history?limit=0", "limit is '0', which it cannot be; give a whole number from 1 to 1000"),
        (
            "/api/history?befor=7",
            "a parameter is 'befor', which it cannot be; the parameters are limit and before",
        ),
        ("/?span=year", "span is 'year', which it cannot be; give one of 6h, day, week, month"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_by_a_sentence(
    monitor: Monitor, path: str, sentence: str
) -> None:
    """400, with the parameter, what was given and what can be."""

    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.get(path)
        assert (answer.status_code, answer.json()) == (400, {"error": sentence})

    ask(monitor, talk)


def test_a_history_that_cannot_be_read_is_503(monitor: Monitor, tmp_path: Path) -> None:
    """The programs that ask learn why; the page for people comes up all the same."""
    (tmp_path / "file").write_text("")

    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.get("/api/history")
        assert answer.status_code == 503
        assert "cannot be used" in answer.json()["error"]
        page = await client.get("/")
        assert page.status_code == 200
        assert "cannot be used" in page.text

    ask(monitor, talk, history=History(tmp_path / "file" / "history.sqlite"))


def test_the_page_may_run_and_load_nothing(monitor: Monitor) -> None:
    """Its policy says so, and it is never kept: it is of this moment."""

    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.get("/")
        assert answer.headers["content-security-policy"] == PAGE_POLICY
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "Waiting for data" in answer.text

    ask(monitor, talk)


def test_the_button_of_the_page_leads_back_to_it(monitor: Monitor, source: HeldInputs) -> None:
    """A browser is sent to the page once the evaluation is over; a program gets the result."""
    source.gate.set()

    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.post("/refresh", headers={"accept": "text/html,*/*;q=0.8"})
        assert (answer.status_code, answer.headers["location"]) == (303, "./")
        assert monitor.state.last is not None
        assert (await client.post("/refresh")).json()["outcome"] == Outcome.INSUFFICIENT_DATA

    ask(monitor, talk)


def test_a_refresh_is_answered_like_a_run_of_the_history(reference_csv: Path) -> None:
    """One form for one thing: the run without its id; what the history keeps of no run stands beside it."""
    history = History(None)
    inputs = Inputs(
        Settings(reference_dataset_uri=str(reference_csv), current_dataset_uri=str(reference_csv))
    )
    monitor = Monitor(inputs, min_rows=50, alarm_runs=2, listener=lambda made, _evidence: history.add(made))

    async def talk(client: httpx.AsyncClient) -> None:
        answer = (await client.post("/refresh")).json()
        (run,) = (await client.get("/api/history")).json()["runs"]
        spread, models, skipped = (answer.pop(name) for name in ("distributions", "models", "skipped"))
        assert (models, skipped) == ([], {})
        assert [one["name"] for one in spread] == [*(f"feature_{place}" for place in range(4)), "prediction"]
        assert (answer["outcome"], answer["rows"]) == ("ok", 150)
        assert {"id": 1, **answer} == run

    ask(monitor, talk, history=history)
    assert monitor.stop(20)


def test_a_page_of_others_cannot_press_the_button(reference_csv: Path) -> None:
    """A browser tells whose page it is; behind a proxy the proxy's name counts too."""
    settings = Settings(reference_dataset_uri=str(reference_csv), current_dataset_uri=str(reference_csv))
    evaluations: list[Evaluation] = []
    monitor = Monitor(
        Inputs(settings), min_rows=50, alarm_runs=2, listener=lambda made, _evidence: evaluations.append(made)
    )

    async def talk(client: httpx.AsyncClient) -> None:
        foreign = await client.post("/refresh", headers={"origin": "http://evil.example"})
        assert (foreign.status_code, "pages of others" in foreign.json()["error"]) == (403, True)
        assert evaluations == []
        own = {"origin": str(client.base_url).rstrip("/")}
        proxied = {"origin": "https://drift.example", "x-forwarded-host": "drift.example"}
        answers = [await client.post("/refresh", headers=headers) for headers in (own, proxied)]
        assert [answer.status_code for answer in answers] == [200, 200]

    ask(monitor, talk)
    assert monitor.stop(20)


def test_a_path_that_does_not_exist_lists_those_that_do(monitor: Monitor) -> None:
    """404 and 405 alike."""

    async def talk(client: httpx.AsyncClient) -> None:
        for answer, status in ((await client.get("/api"), 404), (await client.get("/refresh"), 405)):
            assert answer.status_code == status
            assert (
                "GET /, /api/history, /healthz, /metrics, /report and POST /refresh are"
                in answer.json()["error"]
            )

    ask(monitor, talk)


def test_the_report_is_drawn_on_request(monitor: Monitor) -> None:
    """What the monitor draws is answered, under the policy of its own scripts."""

    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.get("/report")
        assert (answer.status_code, answer.text) == (200, "<html>drawn</html>")
        assert "default-src 'none'" in answer.headers["content-security-policy"]

    ask(monitor, talk, drawn=b"<html>drawn</html>")


def test_a_report_that_cannot_be_drawn_is_503(monitor: Monitor) -> None:
    """The sentence of the error says why."""
    error = ReportError("no module named evidently")

    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.get("/report")
        assert (answer.status_code, answer.json()) == (503, {"error": str(error)})

    ask(monitor, talk, drawn=error)


def test_before_the_first_verdict_no_report_is_drawn(monitor: Monitor) -> None:
    """404 with the reason that there is none."""

    async def talk(client: httpx.AsyncClient) -> None:
        answer = await client.get("/report")
        assert answer.status_code == 404
        assert answer.json()["error"] == (
            "There is no report yet: the first evaluation has not finished. POST /refresh evaluates now."
        )

    ask(monitor, talk)
