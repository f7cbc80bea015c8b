"""Settings of a relay for tests, and deliveries signed as MLflow signs them."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

from rollout.webhook_relay.settings import Settings
from rollout.webhook_relay.signature import (
    DELIVERY_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    Delivery,
    sign,
)

SECRET = "a-secret-of-the-tests-0123456789"


def relay_settings(directory: Path, **changes: object) -> Settings:
    """Return settings that read no environment variable that is set by chance."""
    values: dict[str, Any] = {
        "relay_state_dir": directory,
        "mlflow_tracking_uri": "http://127.0.0.1:1",
        "relay_secret": SECRET,
        "relay_host": "127.0.0.1",
        "relay_port": 0,
    }
    return Settings(**(values | changes))


def alias_event(
    name: object = "iris", alias: object = "challenger", version: object = "2", **changes: object
) -> bytes:
    """Return the body that MLflow 3.17 sends when an alias is set."""
    event = {
        "entity": "model_version_alias",
        "action": "created",
        "timestamp": "2026-11-23T12:00:00+00:00",
        "data": {"name": name, "alias": alias, "version": version},
    }
    return json.dumps(event | changes).encode()


def delivery(body: bytes, secret: str = SECRET, at: float | None = None, delivery_id: str = "") -> Delivery:
    """Sign `body` as MLflow does."""
    chosen, moment = delivery_id or str(uuid.uuid4()), str(int(time.time() if at is None else at))
    return Delivery(chosen, moment, sign(secret, chosen, moment, body), body)


def headers(signed: Delivery) -> dict[str, str]:
    """Return the headers of a delivery."""
    return {
        "content-type": "application/json",
        DELIVERY_HEADER: signed.delivery_id,
        TIMESTAMP_HEADER: signed.timestamp,
        SIGNATURE_HEADER: signed.signature,
    }
