"""The page in a real browser: what people see, on a desk and on a phone."""

import shutil
import time
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from drift.evaluation import Evaluation, Outcome
from drift.monitor import Evidence, Health, Monitor, State, Status
from drift.service.history import History
from drift.service.web import create_app
from telemetry import HttpServer
from tests.drift.service.chromium import Browser, browsing
from tests.drift.service.evaluations import health_of, verdict, without_verdict

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
EVIL = (
    '<script>document.title="owned"</script>"><img src=https://example.org/x onerror=document.title="owned">'
)
LONG = "a label without end " * 20 + "and_one_without_any_place_to_break_it" * 10

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is on the PATH"),
]


class FixedMonitor(Monitor):
    """A monitor whose evaluations are over: it says what they left, and evaluates no more."""

    def __init__(self, *evaluations: Evaluation) -> None:
        self._last = evaluations[-1]
        self._reached = next((one for one in reversed(evaluations) if one.outcome is Outcome.OK), None)

    @property
    def state(self) -> State:
        """Say what was reached."""
        evidence = Evidence(self._reached, None, None) if self._reached else None  # type: ignore[arg-type]
        return State(Status.OK, "", self._last.evaluated_at, self._last, evidence)

    def health(self) -> Health:
        """Say what the last evaluation left."""
        return health_of(self._last, self._reached)


class NoReports:
    """Draws no report."""

    def report(self) -> None:
        """Have nothing to draw."""


def pages() -> dict[str, tuple[Evaluation, ...]]:
    """The states that the page can be in, their evaluations minutes ago."""
    now = time.time() - 3600
    hundred = [f"feature_{number}" for number in range(100)]
    return {
        "quiet": tuple(verdict(now + 60 * place) for place in range(40)),
        "alarmed": tuple(
            verdict(now + 60 * place, raised=place > 30, severity=0.5 + place / 10) for place in range(40)
        ),
        "waiting": (
            without_verdict(now, Outcome.INSUFFICIENT_DATA, "the window has 3 rows and 50 are needed"),
        ),
        "failing": (verdict(now), without_verdict(now + 60, reason=f"the log {LONG} is gone")),
        "hundred": tuple(verdict(now + 60 * place, names=hundred) for place in range(20)),
        "hostile": (
            verdict(now, names=(EVIL, LONG), bins=(EVIL, LONG, "", "\u202egnp"), runs=1),
            without_verdict(now + 1, reason=EVIL),
        ),
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None
    with browsing(CHROMIUM) as opened:
        yield opened


@pytest.fixture(params=list(pages()))
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of the page in one of its states."""
    evaluations = pages()[request.param]
    history = History(None)
    for one in evaluations:
        history.add(one)
    with serving(create_app(FixedMonitor(*evaluations), NoReports(), CollectorRegistry(), history)) as url:
        yield url


class serving:  # noqa: N801 - read as a verb
    """Serve an application on a free port of this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self._server = HttpServer(app, host="127.0.0.1", port=0, variable="PORT")

    def __enter__(self) -> str:
        self._server.start()
        return f"http://127.0.0.1:{self._server.port}/"

    def __exit__(self, *_: object) -> None:
        self._server.stop()


def complaints(browser: Browser) -> list[object]:
    """What the browser reported: errors of scripts, refused content, failed requests."""
    wanted = (
        "Log.entryAdded",
        "Runtime.exceptionThrown",
        "Runtime.consoleAPICalled",
        "Network.loadingFailed",
    )
    return [event for event in browser.events if event["method"] in wanted]


def requested(browser: Browser) -> set[str]:
    """Where the page asked for anything, apart from pictures within it."""
    urls = {
        event["params"]["request"]["url"]
        for event in browser.events
        if event["method"] == "Network.requestWillBeSent"
    }
    return {url for url in urls if not url.startswith("data:")}


@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_fits_runs_nothing_and_loads_nothing(browser: Browser, address: str, width: int) -> None:
    """In each of its states, on a desk and on a phone: no sideways scrolling, no error, no request beside it."""
    browser.open(address, width)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    overflowing = browser.ask(
        "[...document.querySelectorAll('body *:not(.hidden):not(.hidden *)')]"
        ".filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 99))"
    )
    assert overflowing == []
    assert complaints(browser) == []
    assert requested(browser) == {address}
    assert browser.ask("document.title").endswith("· drift monitor")
    assert browser.ask("document.scripts.length") == 0
    # Of a page that is not empty: some colours at least, in a picture that compresses badly.
    assert len(browser.picture()) > 10_000


def test_both_schemes_can_be_read(browser: Browser) -> None:
    """Dark text on light ground, light text on dark ground."""
    evaluations = pages()["alarmed"]
    lightness = (
        "['color', 'backgroundColor'].map(name => getComputedStyle(document.body)[name].match(/\\d+/g)"
        ".slice(0, 3).reduce((sum, part) => sum + Number(part), 0) / 765)"
    )
    with serving(
        create_app(FixedMonitor(*evaluations), NoReports(), CollectorRegistry(), History(None))
    ) as url:
        browser.open(url)
        ink, ground = browser.ask(lightness)
        assert ground - ink > 0.6
        browser.open(url, scheme="dark")
        ink, ground = browser.ask(lightness)
        assert ink - ground > 0.6


def test_folded_features_open_without_scripts(browser: Browser) -> None:
    """What is folded is in the page, and shown by the browser itself."""
    evaluations = pages()["hundred"]
    with serving(
        create_app(FixedMonitor(*evaluations), NoReports(), CollectorRegistry(), History(None))
    ) as url:
        browser.open(url, 360)
        rows = "[...document.querySelectorAll('table.columns tbody tr')].filter(row => row.checkVisibility()).length"
        assert browser.ask(rows) == 13
        browser.ask("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert browser.ask(rows) == 101
        assert browser.ask("document.documentElement.scrollWidth") <= 360
