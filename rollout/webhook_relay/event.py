"""What a delivery says: bytes in, the alias that was set out. Signed or not, its content is not trusted."""

import json
from typing import Any

from rollout.webhook_relay.deployment import Wanted, why_unusable
from rollout.webhook_relay.errors import MalformedError

__all__ = ["parse_event"]


def parse_event(body: bytes, alias: str, models: tuple[str, ...]) -> Wanted | None:
    """Return the alias that was set, or None when the event is about something that is not watched.

    `models` are the watched ones, all when it is empty. Raises `MalformedError`.
    """
    event = _object(body)
    if (event.get("entity"), event.get("action")) != ("model_version_alias", "created"):
        return None
    data = event.get("data")
    if not isinstance(data, dict):
        raise MalformedError("the event has no object `data`, which MLflow always sends")
    texts = [data.get(key) for key in ("name", "alias", "version")]
    name, set_alias, version = (text if isinstance(text, str) else "" for text in texts)
    if not all((name, set_alias, version)):
        raise MalformedError("the event needs the texts data.name, data.alias and data.version")
    if set_alias != alias or (models and name not in models):
        return None
    problem = why_unusable(name, version)
    if problem:
        raise MalformedError(
            f"{problem}: the relay hands on nothing that might need quoting; rename the model"
        )
    return Wanted(name, set_alias, version)


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):  # also text in no encoding; and brackets without end
        content = None
    if not isinstance(content, dict):
        raise MalformedError("the body is no JSON object, and every event of MLflow is one")
    return content
