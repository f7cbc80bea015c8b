"""What `status` shows of the inbox: for people as a table, for machines as JSON."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.markup import escape
from rich.table import Table

from rollout.webhook_relay.deployment import Deployment, State

__all__ = ["report", "table"]

_COLOURS: Final = {
    State.DONE: "green",
    State.DECLINED: "yellow",
    State.FAILED: "bold red",
    State.SUPERSEDED: "dim",
}


def report(deployments: Sequence[Deployment], pending: int) -> dict[str, Any]:
    """Return the deployments, the newest first, as JSON can hold them; times are ISO 8601 in UTC."""
    return {"pending": pending, "deployments": [_fields(deployment) for deployment in deployments]}


def table(deployments: Sequence[Deployment], pending: int) -> Table:
    """Return the same for a terminal."""
    title = f"webhook relay: {pending} pending" if deployments else "webhook relay: nothing was wanted yet"
    shown = Table(title=title, title_justify="left", box=None)
    for column in ("", "model", "alias", "by", "state", "attempts", "since (UTC)", "detail"):
        shown.add_column(column, overflow="fold")
    for deployment in deployments:
        colour = _COLOURS.get(deployment.state, "cyan")
        shown.add_row(
            str(deployment.id),
            deployment.wanted.model_uri,
            deployment.wanted.alias,
            str(deployment.source),
            f"[{colour}]{deployment.state}[/]",
            str(deployment.attempts),
            _time(deployment.updated_at)[:19].replace("T", " "),
            escape(deployment.detail),
        )
    return shown


def _fields(deployment: Deployment) -> dict[str, Any]:
    pending = deployment.state is State.PENDING
    return {
        "id": deployment.id,
        "model_uri": deployment.wanted.model_uri,
        "alias": deployment.wanted.alias,
        "source": deployment.source,
        "state": deployment.state,
        "attempts": deployment.attempts,
        "detail": deployment.detail,
        "created_at": _time(deployment.created_at),
        "updated_at": _time(deployment.updated_at),
        "next_attempt_at": _time(deployment.not_before) if pending and deployment.not_before else None,
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
