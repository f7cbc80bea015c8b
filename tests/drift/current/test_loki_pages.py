"""Pages of Loki: whatever the timestamps, the limit and the direction, each line is read exactly once."""

import random
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from drift.current.loki.access import Access
from drift.current.loki.answers import Direction
from drift.current.loki.client import LokiClient
from drift.current.loki.pages import Pager
from drift.errors import LokiError
from tests.drift.current.loki_stand_in import LokiStandIn

QUERY: Final = '{app="ml-inference"} |= "prediction"'
START, END = 10**18, 10**18 + 10**12


@pytest.fixture(scope="module")
def server() -> Iterator[LokiStandIn]:
    """One server for many examples, which replace its lines."""
    with LokiStandIn() as running:
        yield running


@pytest.fixture(scope="module")
def client(server: LokiStandIn) -> Iterator[LokiClient]:
    asker = LokiClient(Access(server.url))
    yield asker
    asker.close()


def line(number: int, part: int | None = None) -> str:
    """Return an event line as the service writes it, shortened; ids are random hexadecimal numbers."""
    event_id = f"{random.Random(number).getrandbits(128):032x}"
    parts = "" if part is None else f',\\"part\\":{part},\\"parts\\":9999'
    return f'{{"message":"{{\\"event\\":\\"prediction\\",\\"event_id\\":\\"{event_id}\\"{parts}}}"}}'


def read(pager: Pager, direction: Direction = "forward") -> list[tuple[int, str]]:
    pages = list(pager.pages(START, END, direction))
    return [(moment, text) for page in pages for moment, text, _ in page]


def read_naively(client: LokiClient, limit: int) -> list[tuple[int, str]]:
    """Read as one would at first: the next page begins after the last timestamp."""
    found, start = list[tuple[int, str]](), START
    while page := client.entries(QUERY, start, END, limit, "forward"):
        found += [(moment, text) for moment, text, _ in page]
        start = page[-1][0] + 1
    return found


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(st.sampled_from([0, 0, 0, 1, 1000]), max_size=40),
    limit=st.integers(2, 25),
    direction=st.sampled_from(["forward", "backward"]),
    streams=st.integers(1, 3),
)
def test_each_line_is_read_exactly_once(
    steps: list[int], limit: int, direction: Direction, streams: int, server: LokiStandIn, client: LokiClient
) -> None:
    """Bursts within a nanosecond, pages of any size, one or more streams, both directions: nothing lost or twice."""
    server.store.lines.clear()
    server.max_entries = limit
    moment, written = START, []
    for number, step in enumerate(steps):
        moment += step
        written.append((moment, line(number)))
        server.store.push([written[-1]], {"app": "ml-inference", "pod": str(number % streams)})
    found = read(Pager(client, QUERY, limit), direction)
    assert sorted(found) == sorted(written)
    in_order = [moment for moment, _ in found]
    assert in_order == sorted(in_order, reverse=direction == "backward")


def test_naive_paging_loses_what_ours_reads(server: LokiStandIn, client: LokiClient) -> None:
    """Forty events a nanosecond over page borders: the naive way loses some, ours none."""
    server.store.lines.clear()
    server.max_entries = 1000
    written = [(START + number // 40, line(number)) for number in range(6000)]
    server.store.push(written)
    naive, ours = read_naively(client, 990), read(Pager(client, QUERY, 990))
    assert sorted(ours) == sorted(written)
    assert len(naive) < len(written)


@pytest.mark.parametrize("limit", [1000, 500, 100])
def test_a_burst_of_one_nanosecond_is_read_whole(limit: int, server: LokiStandIn, client: LokiClient) -> None:
    """Three thousand events of one timestamp, between others: told apart by their ids."""
    server.store.lines.clear()
    server.max_entries = limit
    written = [
        (START + (0 if number < 10 else 5 if number < 3010 else 9), line(number)) for number in range(3020)
    ]
    server.store.push(written)
    assert sorted(read(Pager(client, QUERY, limit))) == sorted(written)


def test_the_parts_of_one_request_are_told_apart(server: LokiStandIn, client: LokiClient) -> None:
    """Parts share their id and may share their nanosecond: then the number of the part tells."""
    server.store.lines.clear()
    server.max_entries = 20
    written = [(START, line(7, part)) for part in range(300)]
    server.store.push(written)
    assert sorted(read(Pager(client, QUERY, 20))) == sorted(written)


def test_lines_that_nothing_tells_apart_are_given_up_with_a_warning(
    server: LokiStandIn, client: LokiClient
) -> None:
    """Lines without an id, more of one nanosecond than a page has: a page of them is read, and the log says so."""
    server.store.lines.clear()
    server.max_entries = 10
    server.store.push((START, f"prediction {number}") for number in range(30))
    server.store.push([(START + 1, "prediction after")])
    with capture_logs() as logged:
        found = read(Pager(client, QUERY, 10))
    assert len(found) == 11
    assert "no event_id" in logged[-1]["event"]


@pytest.mark.parametrize("shows_limits", [True, False])
def test_the_servers_maximum_is_learnt(shows_limits: bool, server: LokiStandIn, client: LokiClient) -> None:
    """A page that is too large is asked again as large as the server says."""
    server.store.lines.clear()
    server.max_entries, server.shows_limits = 70, shows_limits
    server.store.push((START + number, line(number)) for number in range(200))
    server.requests.clear()
    assert len(read(Pager(client, QUERY))) == 200
    assert [one["limit"] for one in server.asked("lines")] == ["5000", "70", "70", "70"]
    server.shows_limits = True


def test_a_burst_is_read_at_once_where_the_server_gives_more(server: LokiStandIn, client: LokiClient) -> None:
    """Before lines are told apart, the server is asked how large a page may be."""
    server.store.lines.clear()
    server.max_entries = 10_000
    server.store.push((START, line(number)) for number in range(900))
    server.requests.clear()
    assert len(read(Pager(client, QUERY, 100))) == 900
    assert [one["limit"] for one in server.asked("lines")] == ["100", "10000", "10000"]


def test_an_answer_that_is_too_large_is_asked_in_smaller_pages(server: LokiStandIn) -> None:
    """The size of an answer is bounded in bytes; long lines come in pages of fewer."""
    server.store.lines.clear()
    server.max_entries = 5000
    written = [(START + number, line(number) + "x" * 1000) for number in range(100)]
    server.store.push(written)
    client = LokiClient(Access(server.url), max_answer_bytes=20_000)
    try:
        assert read(Pager(client, QUERY, 100)) == written
    finally:
        client.close()


def test_structured_metadata_make_no_streams(server: LokiStandIn, client: LokiClient) -> None:
    """Entries with metadata of their own come in the stream of their labels."""
    server.store.lines.clear()
    server.max_entries = 5000
    for number in range(20):
        server.store.push([(START + number, line(number))], metadata={"trace_id": str(number)})
    [page] = Pager(client, QUERY).pages(START, END)
    assert len(page) == 20
    assert len({stream for _, _, stream in page}) == 1


def test_one_answer_that_is_too_large_does_not_make_small_pages_for_ever(server: LokiStandIn) -> None:
    """Oversized answers end one read with a sentence that names the address; the next begins with full pages."""
    server.store.lines.clear()
    server.max_entries = 5000
    server.store.push((START + number, line(number)) for number in range(300))
    client = LokiClient(Access(server.url))
    try:
        pager = Pager(client, QUERY)
        server.oversized = 20
        with pytest.raises(LokiError, match=f"{server.url} gives not even two lines"):
            read(pager)
        server.oversized = 3
        assert len(read(pager)) == 300
        server.requests.clear()
        assert len(read(pager)) == 300
        assert [one["limit"] for one in server.asked("lines")] == ["5000"]
    finally:
        server.oversized = 0
        client.close()


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("ignored", ["start", "end"])
def test_a_range_that_is_ignored_ends_in_a_sentence(
    ignored: str, direction: Direction, server: LokiStandIn, client: LokiClient
) -> None:
    """A full page that brings nothing new would come again for ever: two questions, and then it is told."""
    server.store.lines.clear()
    server.max_entries = 20
    server.store.push((START + number, line(number)) for number in range(100))
    server.requests.clear()
    server.ignores = {ignored}
    try:
        if (ignored, direction) in {("start", "forward"), ("end", "backward")}:
            with pytest.raises(
                LokiError, match=f"{server.url} answers lines outside of what was asked.*set LOKI_BASE"
            ):
                read(Pager(client, QUERY, 20), direction)
            assert len(server.requests) == 2
        else:
            assert len(read(Pager(client, QUERY, 20), direction)) == 100
    finally:
        server.ignores = set()


def test_lines_that_were_not_asked_for_are_left_out(server: LokiStandIn, client: LokiClient) -> None:
    """Where all fits into an answer, or comes behind what was asked, the range can be cut out of it."""
    server.store.lines.clear()
    server.max_entries = 5000
    server.store.push((START + number, line(number)) for number in range(100))
    server.ignores = {"start", "end"}
    try:
        [page] = Pager(client, QUERY).pages(START + 40, START + 50)
        assert [moment - START for moment, _, _ in page] == list(range(40, 50))
        [page] = Pager(client, QUERY, 20).pages(START, START + 5)
        assert [moment - START for moment, _, _ in page] == list(range(5))
    finally:
        server.ignores = set()


@pytest.mark.parametrize("ignored", ["start", "filters"])
def test_a_burst_whose_question_is_ignored_ends_in_a_sentence(
    ignored: str, server: LokiStandIn, client: LokiClient
) -> None:
    """Lines of one nanosecond are told apart by filters: a server that drops these would be asked for ever."""
    server.store.lines.clear()
    server.max_entries = 20
    server.store.push((START, line(number)) for number in range(100))
    if ignored == "start":
        server.store.push([(START - 1, line(200))])
    server.ignores = {ignored}
    try:
        with pytest.raises(LokiError, match="outside of what was asked"):
            read(Pager(client, QUERY, 20))
    finally:
        server.ignores = set()
