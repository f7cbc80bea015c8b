"""Large JSON bodies, which are refused before they become many times their size."""

import threading
import tracemalloc

import orjson
import pytest

from inference.errors import OverloadError
from inference.gateway.json_fields import json_of
from inference.gateway.predictions import call_of

#: More than what is read without a look before.
SIZE = 2 << 20
MAX_ROWS = 1000


def _filled(before: bytes, piece: bytes, after: bytes) -> bytes:
    count = SIZE // (len(piece) + 1)
    return before + b",".join([piece] * count) + after


@pytest.mark.parametrize(
    ("piece", "what"), [(b"{}", "objects"), (b"[]", "lists"), (b"[0]", "lists"), (b'{"a":"{"}', "objects")]
)
def test_what_opens_more_than_all_rows_is_not_read(piece: bytes, what: str) -> None:
    """Nothing is made of a body with more objects or lists than rows are taken, and the limit is told."""
    body = _filled(b'{"rows":[', piece, b"]}")
    tracemalloc.start()
    try:
        with pytest.raises(OverloadError, match=rf"more than 2024 {what} in a body of {len(body)} bytes"):
            call_of(body, "r", shadow=False, max_rows=MAX_ROWS)
        highest = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert highest < len(body)


def test_rows_are_counted_before_they_are_looked_at() -> None:
    """A small body is told its number of rows, whatever else is wrong with them."""
    with pytest.raises(OverloadError, match="found 1001 rows, at most 1000 are taken at once"):
        call_of(b'{"rows":[' + b"1," * MAX_ROWS + b"2]}", "r", shadow=False, max_rows=MAX_ROWS)


@pytest.mark.parametrize("text", [b'"[0, 5)"', b'"{{{"', rb'"\"[{"', rb'"\\"', '"zażółć ["'.encode()])
def test_brackets_within_texts_open_nothing(text: bytes) -> None:
    """Texts of categories may have any number of brackets."""
    body = _filled(b'{"rows":[[', text, b"]]}")
    assert len(json_of(body, objects=MAX_ROWS, lists=MAX_ROWS)["rows"][0]) > MAX_ROWS


def test_a_text_without_end_is_looked_at_once() -> None:
    """Quotes that are all escaped cost one look; another look from each of them would take hours."""
    with pytest.raises(orjson.JSONDecodeError):
        json_of(b'{"rows":["' + rb"\"{" * (SIZE // 3), objects=MAX_ROWS, lists=MAX_ROWS)


def test_large_requests_are_answered(running: object) -> None:
    """As many rows as are taken, in more than 1 MiB, are no attack, also several at a time."""
    row = [5.123456789, 3.123456789, 1.123456789, 0.123456789]
    codes: list[int] = []

    def ask(rows: int) -> None:
        reply = running.http.post("/predict", json={"rows": [{"values": row}] * rows}, timeout=30)
        codes.append(reply.status_code)

    threads = [threading.Thread(target=ask, args=(20_000,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [200] * 4


def test_many_outputs_are_not_looked_at_one_by_one(running: object) -> None:
    """More outputs than any model has are refused by their number, before the model is asked for."""
    body = {"inputs": [], "outputs": [{}] * 1025}
    reply = running.http.post("/v2/models/iris/infer", json=body)
    assert reply.status_code == 400
    assert reply.json()["violations"] == [
        {"field": "outputs", "description": "found 1025, expected at most 1024"}
    ]


def test_many_objects_are_too_large_for_the_protocol_too(make_service: object) -> None:
    """The body of an inference has no more objects than rows are taken; it is told as the limit of rows is."""
    running = make_service(max_rows_per_request=MAX_ROWS)
    for start, piece, words in (
        (b'{"outputs":[', b"{}", "more than 2024 objects"),
        (b'{"inputs":[', b"{}", "more than 2024 objects"),
        (b'{"inputs":[{"data":[', b"[]", "more than 17024 lists"),
    ):
        reply = running.http.post("/v2/models/iris/infer", content=_filled(start, piece, b"]}"))
        assert reply.status_code == 413
        assert words in reply.json()["error"]
