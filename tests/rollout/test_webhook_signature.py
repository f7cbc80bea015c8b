"""Who sent a delivery, when, and what it says."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.webhooks.delivery import _generate_hmac_signature

from rollout.webhook_relay.deployment import Wanted, why_unusable
from rollout.webhook_relay.errors import MalformedError, StaleError, UnsignedError
from rollout.webhook_relay.event import parse_event
from rollout.webhook_relay.signature import Delivery, sign, verify
from tests.rollout.relay_settings import SECRET, alias_event, delivery

NOW = 1_800_000_000.0


def check(signed: Delivery, *secrets: str, now: float = NOW) -> None:
    verify(signed, secrets or (SECRET,), now=now, max_skew_seconds=300)


@given(body=st.text(), secret=st.text(min_size=1), identifier=st.uuids())
def test_signature_is_the_one_that_mlflow_makes(body: str, secret: str, identifier: object) -> None:
    """For any text MLflow's own function and ours give the same."""
    encodable = body.encode("utf-8", "replace").decode(), secret.encode("utf-8", "replace").decode()
    theirs = _generate_hmac_signature(encodable[1], str(identifier), "1800000000", encodable[0])
    assert sign(encodable[1], str(identifier), "1800000000", encodable[0].encode()) == theirs


def test_what_is_signed_now_passes() -> None:
    """Also with any of several secrets, and with several signatures in the header."""
    signed = delivery(b"{}", at=NOW)
    check(signed)
    check(signed, "another-secret-of-16", SECRET)
    several = Delivery(signed.delivery_id, signed.timestamp, f"v1,AAAA {signed.signature}", signed.body)
    check(several)


@pytest.mark.parametrize("part", ["delivery_id", "timestamp", "signature", "body"])
def test_no_part_can_be_changed(part: str) -> None:
    """Whatever is changed after signing, the delivery is refused as unsigned."""
    signed = delivery(b'{"a": 1}', at=NOW)
    other = {
        "delivery_id": "another",
        "timestamp": str(int(NOW) + 1),
        "signature": "v1,AAAA",
        "body": b'{"a": 2}',
    }
    values = {name: getattr(signed, name) for name in ("delivery_id", "timestamp", "signature", "body")}
    with pytest.raises(UnsignedError):
        check(Delivery(**(values | {part: other[part]})))


@pytest.mark.parametrize(
    ("delivery_id", "timestamp", "signature"),
    [
        ("", "1800000000", "v1,AAAA"),
        ("a b", "1800000000", "v1,AAAA"),
        ("a", "", "v1,AAAA"),
        ("a", "-1", "v1,AAAA"),
        ("a", "1e9", "v1,AAAA"),
        ("a", "٣", "v1,AAAA"),
        ("a", "1800000000", ""),
        ("a", "1800000000", "   "),
        ("a", "1800000000", "v1,\xff\xfe"),
        ("a", "1800000000", "v1," * 10_000),
    ],
)
def test_malformed_headers_are_unsigned(delivery_id: str, timestamp: str, signature: str) -> None:
    """Missing and malformed headers are refused as a wrong signature is."""
    with pytest.raises(UnsignedError):
        check(Delivery(delivery_id, timestamp, signature, b"{}"))


@pytest.mark.parametrize(("skew", "words"), [(301, "301 s in the past"), (-301, "301 s in the future")])
def test_old_and_future_signatures_are_refused_with_the_skew(skew: int, words: str) -> None:
    """The sentence says how far the clocks are apart; 300 s pass."""
    signed = delivery(b"{}", at=NOW)
    check(signed, now=NOW + skew - (1 if skew > 0 else -1))
    with pytest.raises(StaleError, match=words):
        check(signed, now=NOW + skew)


def test_strangers_learn_nothing_of_the_clock() -> None:
    """An old delivery with a wrong signature is unsigned, not old."""
    with pytest.raises(UnsignedError):
        check(delivery(b"{}", secret="another-secret-of-16", at=NOW - 10_000))


def test_an_alias_that_is_watched_is_wanted() -> None:
    """Name, alias and version come out as MLflow sends them."""
    assert parse_event(alias_event(), "challenger", ()) == Wanted("iris", "challenger", "2")
    assert parse_event(alias_event(), "challenger", ("iris", "churn")) is not None


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (alias_event(alias="champion"), ()),
        (alias_event(name="churn"), ("iris",)),
        (alias_event(name="my model", alias="champion"), ()),
        (alias_event(action="deleted", data={"name": "iris", "alias": "challenger"}), ()),
        (alias_event(entity="prompt_alias"), ()),
        (alias_event(entity=["model_version_alias"]), ()),
        (b"{}", ()),
    ],
)
def test_other_events_are_none_of_our_business(body: bytes, models: tuple[str, ...]) -> None:
    """Other aliases, models, actions and entities are ignored, not refused."""
    assert parse_event(body, "challenger", models) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'{"entity": NaN',
        alias_event(data=None),
        alias_event(version=2),
        alias_event(name=None),
        alias_event(version="0"),
        alias_event(version="2; rm -rf /"),
        alias_event(version="２"),
        alias_event(name="iris/../x"),
        alias_event(name="-iris"),
        alias_event(name="iris\n"),
        alias_event(name="$(id)"),
        alias_event(name="i" * 200),
    ],
)
def test_what_might_need_quoting_is_malformed(body: bytes) -> None:
    """Signed or not, nothing is handed on that a shell, a URI or a template could read."""
    with pytest.raises(MalformedError):
        parse_event(body, "challenger", ())


@given(
    body=st.binary()
    | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_bytes_give_an_answer(body: bytes) -> None:
    """No body is a defect: it is wanted, ignored or malformed."""
    with contextlib.suppress(MalformedError):
        parse_event(body, "challenger", ())


@given(name=st.text(), version=st.text())
def test_usable_names_make_a_uri_of_three_parts(name: str, version: str) -> None:
    """What passes the patterns is read back from the URI unchanged."""
    if not why_unusable(name, version):
        assert Wanted(name, "a", version).model_uri.split("/") == ["models:", name, version]
        assert name.isascii()
        assert int(version) >= 1
