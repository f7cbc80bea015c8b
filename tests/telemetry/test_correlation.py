"""The correlation id: the caller's when it can be logged safely, else a new one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry import CORRELATION_HEADERS, choose_correlation_id

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NEW = re.compile(r"[0-9a-f]{32}")


def test_headers_are_asked_in_their_order() -> None:
    """x-request-id wins over x-correlation-id, which wins over traceparent."""
    headers = {"traceparent": PARENT, "x-correlation-id": "b", "x-request-id": "a"}
    assert choose_correlation_id(headers) == "a"
    del headers["x-request-id"]
    assert choose_correlation_id(headers) == "b"
    del headers["x-correlation-id"]
    assert choose_correlation_id(headers) == TRACE


def test_an_unusable_header_gives_way_to_the_next() -> None:
    """A hostile x-request-id does not hide a good traceparent."""
    assert choose_correlation_id({"x-request-id": 'a"b', "traceparent": PARENT}) == TRACE


@pytest.mark.parametrize(
    "parent",
    [
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7",
        f"{PARENT}\n",
    ],
)
def test_an_invalid_traceparent_is_not_used(parent: str) -> None:
    """W3C Trace Context calls all-zero ids and version ff invalid: they would be shared by strangers."""
    chosen = choose_correlation_id({"traceparent": parent})
    assert chosen != "0" * 32
    assert chosen != TRACE
    assert NEW.fullmatch(chosen)


@pytest.mark.parametrize("value", ["", "a" * 129, "a b", "a\n", "a\x00", 'a"', "é", "{}", "a\u2028"])
def test_hostile_values_are_replaced(value: str) -> None:
    """Empty, too long, spaces, quotes, control characters: a new identifier instead."""
    assert NEW.fullmatch(choose_correlation_id({"x-request-id": value}))


def test_new_identifiers_differ() -> None:
    """Two requests without a header get two identifiers."""
    assert choose_correlation_id({}) != choose_correlation_id({})


@given(st.dictionaries(st.sampled_from(CORRELATION_HEADERS), st.text()))
def test_what_is_chosen_can_always_be_logged(headers: dict[str, str]) -> None:
    """Whatever the headers, the result is short, printable ASCII without quotes or spaces."""
    assert re.fullmatch(r"[A-Za-z0-9._:/=+@-]{1,128}", choose_correlation_id(headers))
