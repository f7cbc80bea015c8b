"""Questions to Loki: asked again where that helps, refused in sentences with a next step, never with a secret."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Final

import pytest

from drift.current.loki.access import Access
from drift.current.loki.client import LokiClient
from drift.current.loki.clock import LokiClock
from drift.current.loki.refusals import EntryLimitExceeded
from drift.current.loki.retry import Patience, retry_after
from drift.errors import LokiError
from tests.drift.current.loki_stand_in import Answer, LokiStandIn, basic

QUERY: Final = '{app="ml-inference"} |= "prediction"'
QUICK: Final = Patience(attempts=3, first_seconds=0.001, longest_seconds=0.1)
SECRET: Final = "s3cret-t0ken"

MakeClient = Callable[..., LokiClient]


@pytest.fixture
def make_client(loki: LokiStandIn) -> Iterator[MakeClient]:
    """A function that makes a client of the stand-in; keyword arguments are fields of its access."""
    made = list[LokiClient]()

    def make(base_url: str = "", read_seconds: float = 10.0, **access: str) -> LokiClient:
        made.append(
            LokiClient(Access(base_url or loki.url, **access), read_seconds=read_seconds, patience=QUICK)
        )
        return made[-1]

    yield make
    for client in made:
        client.close()


def ask(client: LokiClient, query: str = QUERY, limit: int = 100) -> list[str]:
    return [line for _, line, _ in client.entries(query, 0, 100, limit, "forward")]


def test_entries_of_all_streams_come_in_order_of_time(loki: LokiStandIn, make_client: MakeClient) -> None:
    """Start is included, end is not, and the arrays of two streams become one list; backward turns it round."""
    loki.store.push([(0, "prediction 0"), (20, "prediction 20"), (100, "prediction 100")])
    loki.store.push([(10, "prediction 10"), (15, "other")], {"app": "ml-inference", "pod": "b"})
    client = make_client()
    assert ask(client) == ["prediction 0", "prediction 10", "prediction 20"]
    backward = client.entries(QUERY, 0, 100, 2, "backward")
    assert [line for _, line, _ in backward] == ["prediction 20", "prediction 10"]


def test_a_long_query_goes_by_post(loki: LokiStandIn, make_client: MakeClient) -> None:
    """A query that no URL can hold is sent as a form, and answered alike."""
    loki.store.push([(1, "prediction")])
    longer = QUERY + ' != "nothing of this"' * 300
    assert ask(make_client()) == ask(make_client(), longer) == ["prediction"]
    assert [method for _, _, method in loki.requests] == ["GET", "POST"]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_is_asked_again(status: int, loki: LokiStandIn, make_client: MakeClient) -> None:
    """Too many requests and a server in trouble are no reason to give up at once."""
    loki.store.push([(1, "prediction")])
    loki.instead = [Answer(status, "too many outstanding requests"), Answer(status)]
    assert ask(make_client()) == ["prediction"]
    assert len(loki.requests) == 3


def test_a_truncated_answer_is_asked_again(loki: LokiStandIn, make_client: MakeClient) -> None:
    """Half of a JSON text is no answer; the whole one that follows is."""
    loki.store.push([(1, "prediction")])
    loki.truncated = 2
    assert ask(make_client()) == ["prediction"]


def test_retry_after_is_honoured(loki: LokiStandIn, make_client: MakeClient) -> None:
    """A wait that the server asks for is kept; one beyond our patience ends the attempt with its own words."""
    loki.instead = [
        Answer(429, "slow down", {"Retry-After": "0"}),
        Answer(429, "wait", {"Retry-After": "3600"}),
    ]
    with pytest.raises(LokiError, match=r"asked too much \(429: wait\).*limits of the tenant"):
        ask(make_client())
    assert len(loki.requests) == 2
    assert retry_after("7") == 7
    assert retry_after(formatdate(time.time() + 60, usegmt=True)) == pytest.approx(60, abs=5)
    assert retry_after("9" * 400) == float("inf")
    assert retry_after("soon") is retry_after(None) is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            Answer(400, "parse error at line 1, col 8"),
            r"refuses the query \(400: parse error.*check LOKI_QUERY",
        ),
        (
            Answer(400, "the query time range exceeds the limit (query length: 800h, limit: 721h)"),
            "lower LOKI_RANGE",
        ),
        (Answer(401, "no org id"), r"asks who we are \(401: no org id\); set LOKI_TENANT_ID"),
        (Answer(403, "forbidden"), "does not let us read.*the right to read logs"),
        (Answer(404, "404 page not found"), "has no query_range there.*before /loki/api/v1"),
        (Answer(302, "", {"Location": "/login?next=x"}), r"elsewhere \(302 to /login\).*login page"),
        (Answer(418, ""), "418"),
    ],
)
def test_what_is_refused_is_a_sentence(
    answer: Answer, said: str, loki: LokiStandIn, make_client: MakeClient
) -> None:
    """What was asked, what Loki says, what to do; and the question is not repeated."""
    loki.instead = [answer]
    with pytest.raises(LokiError, match=said) as caught:
        ask(make_client())
    assert caught.value.status == answer.status
    assert caught.value.address == loki.url
    assert len(loki.requests) == 1


def test_a_lasting_failure_ends_in_its_sentence(loki: LokiStandIn, make_client: MakeClient) -> None:
    """After the last attempt the error says what the server said."""
    loki.instead = [Answer(500, "context deadline exceeded")] * 3
    with pytest.raises(LokiError, match=r"cannot answer now \(500: context deadline exceeded\)"):
        ask(make_client())


def test_a_page_that_is_no_loki_is_told(loki: LokiStandIn, make_client: MakeClient) -> None:
    """Grafana's login page answers 200 too."""
    loki.instead = [Answer(200, "<html>", {"Content-Type": "text/html; charset=utf-8"})] * 3
    with pytest.raises(LokiError, match=r"no answer of Loki \(text/html\).*LOKI_BASE_URL"):
        ask(make_client())


def test_a_metric_query_is_told(make_client: MakeClient) -> None:
    """A query of counts gives no lines to read."""
    counts = f"sum(count_over_time({QUERY} [60s]))"
    with pytest.raises(LokiError, match="make LOKI_QUERY a log query"):
        ask(make_client(), counts)


def test_a_server_that_is_not_there(make_client: MakeClient) -> None:
    """Nobody listens: the sentence names the address and what to check."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(LokiError, match=f"{address} cannot be reached.*check LOKI_BASE_URL"):
            ask(make_client(address))


def test_a_server_that_is_too_slow(loki: LokiStandIn, make_client: MakeClient) -> None:
    """An answer that does not come in time is a failure like others."""
    loki.slow_seconds = 0.4
    with pytest.raises(LokiError, match="does not answer in time"):
        ask(make_client(read_seconds=0.05))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"token": SECRET + "\n"}, f"Bearer {SECRET}"),
        ({"username": "me", "password": SECRET}, basic("me", SECRET)),
        ({"username": "me", "password": SECRET, "token": SECRET}, f"Bearer {SECRET}"),
    ],
)
def test_credentials_and_tenant_are_sent(
    given: dict[str, str], wanted: str, loki: LokiStandIn, make_client: MakeClient
) -> None:
    """A bearer token wins over name and password; without tenant or credentials Loki asks for them."""
    loki.authorization, loki.tenant = wanted, "team-a"
    loki.store.push([(1, "prediction")])
    assert ask(make_client(tenant_id="team-a", **given)) == ["prediction"]
    with pytest.raises(LokiError, match="no org id"):
        ask(make_client(**given))
    with pytest.raises(LokiError, match="Authorization Required"):
        ask(make_client(tenant_id="team-a"))


def test_no_secret_is_ever_shown(loki: LokiStandIn, make_client: MakeClient) -> None:
    """Neither the access as text, nor a sentence that quotes a server which repeats what it was sent."""
    inside = loki.url.replace("http://", f"http://me:{SECRET}@")
    loki.authorization = basic("me", SECRET)
    loki.store.push([(1, "prediction")])
    assert ask(make_client(inside)) == ["prediction"]
    loki.instead = [Answer(400, f"bad header {SECRET}")] * 2
    for client in (make_client(inside), make_client(token=SECRET)):
        with pytest.raises(LokiError) as caught:
            ask(client)
        assert SECRET not in str(caught.value)
        assert "***" in str(caught.value)
    assert SECRET not in repr(Access(loki.url, token=SECRET, password=SECRET))


@pytest.mark.parametrize("address", ["loki:3100", "ftp://loki", "", "http://"])
def test_an_address_that_none_can_have(address: str) -> None:
    """Seen before anything is asked, since it cannot become right."""
    with pytest.raises(LokiError, match="set LOKI_BASE_URL to one such as"):
        Access(address)


def test_the_path_of_the_api_may_be_copied_along(loki: LokiStandIn, make_client: MakeClient) -> None:
    """An address with the path of the API, or a slash behind, is the same address."""
    loki.store.push([(1, "prediction")])
    for base_url in (f"{loki.url}/", f"{loki.url}/loki/api/v1/", f"{loki.url}/loki/api/v1/query_range?x=1"):
        assert ask(make_client(base_url)) == ["prediction"]


def test_the_limit_is_learnt_from_the_refusal(loki: LokiStandIn, make_client: MakeClient) -> None:
    """The words of the refusal have the maximum, and the limits of the tenant have it too."""
    loki.max_entries = 77
    with pytest.raises(EntryLimitExceeded) as caught:
        ask(make_client(), limit=5000)
    assert caught.value.maximum == make_client().maximum_entries() == 77
    loki.shows_limits = False
    assert make_client().maximum_entries() is None


def test_the_servers_clock_is_learnt(loki: LokiStandIn, make_client: MakeClient) -> None:
    """A clock an hour ahead is known from the header Date when two answers say so; one of the same time is the same."""
    client = make_client()
    assert client.clock.ahead_seconds is None
    ask(client)
    assert (client.clock.ahead_seconds, client.clock.in_doubt) == (0, False)
    loki.clock_ahead_seconds = 3600
    ask(client)
    assert (client.clock.ahead_seconds, client.clock.in_doubt) == (0, True)
    ask(client)
    assert client.clock.ahead_seconds == pytest.approx(3600, abs=3)
    assert not client.clock.in_doubt
    loki.clock_ahead_seconds = 3630
    ask(client)
    assert client.clock.ahead_seconds == pytest.approx(3630, abs=3)


def test_an_answer_without_a_time_tells_nothing() -> None:
    """No header, and one that is no date, leave the clock as it is known."""
    clock = LokiClock()
    for _ in range(2):
        clock.learn(formatdate(10_000 + 600), 10_000, 10_000)
    for date in (None, "", "yesterday", "Mon, 01 Jan 0001 00:00:00 +2359"):
        clock.learn(date, 10_000, 10_000)
        assert clock.ahead_seconds == pytest.approx(600, abs=1)


@pytest.mark.parametrize("moment", ["9" * 400, "9" * 19, "-1", "x"])
def test_a_time_that_is_none_makes_an_answer_unreadable(
    moment: str, loki: LokiStandIn, make_client: MakeClient
) -> None:
    """No number of 64 bits: the answer is asked for again, and then it is no answer of Loki."""
    values = [{"stream": {}, "values": [[moment, "prediction"]]}]
    body = json.dumps({"data": {"resultType": "streams", "result": values}})
    loki.instead = [Answer(200, body, {"Content-Type": "application/json"})] * 3
    with pytest.raises(LokiError, match=r"no answer of Loki \(application/json\)"):
        ask(make_client())


@pytest.mark.parametrize(
    "value", ['[60, "1e400"]', '[60, "+Inf"]', '[60, "NaN"]', '[60, "-1"]', '[1e300, "1"]']
)
def test_a_count_that_is_none_makes_an_answer_unreadable(
    value: str, loki: LokiStandIn, make_client: MakeClient
) -> None:
    """Infinite, no number, below nothing, of no time: a sentence, and no defect."""
    body = f'{{"data": {{"resultType": "matrix", "result": [{{"metric": {{}}, "values": [{value}]}}]}}}}'
    loki.instead = [Answer(200, body, {"Content-Type": "application/json"})] * 3
    with pytest.raises(LokiError, match="no answer of Loki"):
        make_client().counts(QUERY, 0, 60, 60)
