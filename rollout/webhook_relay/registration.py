"""Makes the webhook at the MLflow server, or brings the one that is there up to date."""

import os
import re
import warnings
from typing import TYPE_CHECKING, Final, Literal

from rollout.errors import InfrastructureError, UsageError
from rollout.webhook_relay.settings import LinkSettings
from training.storage import public_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["EVENTS", "register"]

#: A move fires `created` too, so this is all that the relay acts on.
EVENTS: Final[tuple[Literal["model_version_alias.created"]]] = ("model_version_alias.created",)
_DESCRIPTION: Final = "Coalmine's webhook relay: rolls out the version that an alias names"
#: Mistakes in the server's settings that its own answers name but do not solve.
_REMEDIES: Final = (
    (
        "non-public",
        "start the MLflow server with MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true if the relay is in your network",
    ),
    ("scheme", "use https, or start the MLflow server with MLFLOW_WEBHOOK_ALLOWED_SCHEMES=https,http"),
)


def register(settings: LinkSettings, url: str, name: str) -> str:
    """Let the webhook `name` send to `url`, signed with the relay's secret; return what was done.

    Calling it again changes nothing but the secret, which no server tells, so it is set each time.
    Raises `UsageError` when the server refuses, `InfrastructureError` when it cannot be reached.
    """
    if not re.fullmatch(r"https?://[^\s/@]+/\S*", url):
        raise UsageError(
            f"{url!r} is no address of a relay: write https://HOST:PORT/webhook, without credentials"
        )
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what libraries deprecate among themselves
        import mlflow  # noqa: PLC0415  # takes seconds, and no other command of the relay needs it
        from mlflow.exceptions import MlflowException  # noqa: PLC0415  # the same

        client = mlflow.MlflowClient(settings.mlflow_tracking_uri, settings.mlflow_tracking_uri)
    secret = settings.secrets[0]
    try:
        known = _find(client, name)
        if known is None:
            client.create_webhook(name, url, [*EVENTS], _DESCRIPTION, secret)
            return f"webhook {name} was made: it sends {', '.join(EVENTS)} to {url}"
        client.update_webhook(known, name, _DESCRIPTION, url, [*EVENTS], secret, "ACTIVE")
        return f"webhook {name} was there and is up to date: it sends {', '.join(EVENTS)} to {url}"
    except MlflowException as error:
        address = settings.mlflow_tracking_uri
        message = str(error).replace(address, public_uri(address))
        raise _explain(message, error.error_code, public_uri(address)) from None


def _find(client: "MlflowClient", name: str) -> str | None:
    token: str | None = None
    while True:
        page = client.list_webhooks(page_token=token)
        for webhook in page:
            if webhook.name == name:
                return str(webhook.webhook_id)
        token = page.token
        if not token:
            return None


def _explain(message: str, code: str, address: str) -> UsageError | InfrastructureError:
    line = message.strip().partition("\n")[0][:300]
    if code != "INVALID_PARAMETER_VALUE":
        return InfrastructureError(
            f"the MLflow server at {address} did not take the webhook: {line}; check MLFLOW_TRACKING_URI, the "
            "credentials and that it runs on a database"
        )
    remedies = [remedy for word, remedy in _REMEDIES if word in message]
    return UsageError(
        f"the MLflow server at {address} refuses the webhook: {line} {'; '.join(remedies)}".strip()
    )
