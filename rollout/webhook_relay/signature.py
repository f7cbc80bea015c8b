"""Proof of who sent a delivery, and when: MLflow's HMAC over the raw body.

MLflow 3.17 (mlflow/webhooks/delivery.py) sends `X-MLflow-Signature: v1,BASE64(HMAC-SHA256(secret,
delivery id "." timestamp "." body))`, after https://www.standardwebhooks.com, which allows several signatures with
spaces between them.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rollout.webhook_relay.errors import StaleError, UnsignedError

__all__ = ["DELIVERY_HEADER", "SIGNATURE_HEADER", "TIMESTAMP_HEADER", "Delivery", "sign", "verify"]

SIGNATURE_HEADER: Final = "x-mlflow-signature"
TIMESTAMP_HEADER: Final = "x-mlflow-timestamp"
DELIVERY_HEADER: Final = "x-mlflow-delivery-id"

#: MLflow sends UUIDs; whatever it may send one day stays this short.
_DELIVERY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
#: Whole seconds since 1970, up to the year 33658.
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
#: More signatures than a rotation of secrets can need are an attempt to keep us busy.
_MOST_SIGNATURES: Final = 8


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came over the wire: three headers (empty when missing) and the body, byte for byte."""

    delivery_id: str
    timestamp: str
    signature: str
    body: bytes


def sign(secret: str, delivery_id: str, timestamp: str, body: bytes) -> str:
    """Return the signature that MLflow makes with `secret`."""
    content = b".".join([delivery_id.encode(), timestamp.encode(), body])
    digest = hmac.new(secret.encode(), content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def verify(delivery: Delivery, secrets: Sequence[str], *, now: float, max_skew_seconds: float) -> None:
    """Accept what one of `secrets` signed at most `max_skew_seconds` before or after `now`.

    Raises `UnsignedError`, and `StaleError` only for what is signed: a stranger learns nothing of our clock.
    """
    if not (_DELIVERY_ID.fullmatch(delivery.delivery_id) and _TIMESTAMP.fullmatch(delivery.timestamp)):
        raise UnsignedError(
            f"the headers {DELIVERY_HEADER} and {TIMESTAMP_HEADER} are missing or malformed: only webhooks of "
            "MLflow are taken here"
        )
    given = delivery.signature.encode().split()[:_MOST_SIGNATURES]
    if not given:
        raise UnsignedError(
            f"the header {SIGNATURE_HEADER} is missing: the webhook has no secret; "
            "`python -m rollout.webhook_relay register` sets it"
        )
    # Every pair is compared, in constant time: how long it takes tells nothing about which one came close.
    expected = [sign(s, delivery.delivery_id, delivery.timestamp, delivery.body).encode() for s in secrets]
    matches = [hmac.compare_digest(theirs, ours) for ours in expected for theirs in given]
    if not any(matches):
        raise UnsignedError(
            f"the header {SIGNATURE_HEADER} does not fit this body: the secret of the webhook is not the relay's; "
            "`python -m rollout.webhook_relay register` sets it anew"
        )
    skew = now - int(delivery.timestamp)
    if abs(skew) > max_skew_seconds:
        raise StaleError(skew, max_skew_seconds)
