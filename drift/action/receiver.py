"""Receivers of an alarm: a webhook, and the Argo Server. Both are one POST."""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import httpx
import orjson

from drift.action.message import Message

__all__ = ["Answer", "ArgoSubmit", "Receiver", "Webhook", "sign"]

_TIMEOUT: Final = httpx.Timeout(20.0, connect=5.0)
#: No receiver may silence the action for longer than this.
_LONGEST_WAIT_SECONDS: Final = 3600.0
_WORDS: Final = 200
#: Kubernetes allows names of 253 characters, of which Argo needs some for the pods of a workflow.
_MODEL_CHARACTERS: Final = 40


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call, in words for people; `after_seconds` is when the receiver wants to be asked again."""

    ok: bool
    detail: str
    after_seconds: float | None = None


class Receiver(Protocol):
    """One way to tell somebody of an alarm."""

    def send(self, message: Message) -> Answer:
        """Send the message and wait for the answer; failures are answers, too."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Posts the message as JSON, after https://www.standardwebhooks.com: its id in `webhook-id`, signed on request."""

    url: str
    secret: str | None = field(default=None, repr=False)

    def send(self, message: Message) -> Answer:
        """Send the message; any answer of 2xx says that it was taken."""
        body, timestamp = orjson.dumps(message.body()), str(int(message.sent_at))
        headers = {"webhook-id": message.id, "webhook-timestamp": timestamp}
        if self.secret:
            headers["webhook-signature"] = sign(self.secret, message.id, timestamp, body)
        return _post("the webhook", self.url, body, headers)


@dataclass(frozen=True, slots=True)
class ArgoSubmit:
    """Submits a WorkflowTemplate at an Argo Server, under a name that stays the same: it exists once at most.

    The workflow gets the parameters `alarm-id`, `model`, `version`, `scopes` and `features` (with commas between
    them) and `alarm` (all of the message, as JSON); a template declares those that it uses. `token_file` is read anew
    at each call, since Kubernetes renews it.
    """

    url: str
    namespace: str
    template: str
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None

    def send(self, message: Message) -> Answer:
        """Submit the workflow; 409 says that an earlier attempt did."""
        try:
            token = self.token_file.read_text(encoding="utf-8").strip() if self.token_file else self.token
        except OSError as error:
            return Answer(False, f"the token file {self.token_file} cannot be read: {error.strerror}")
        name = _workflow_name(message)
        body = {
            "namespace": self.namespace,
            "resourceKind": "WorkflowTemplate",
            "resourceName": self.template,
            "submitOptions": {"name": name, "parameters": _parameters(message)},
        }
        headers = {"authorization": f"Bearer {token}"} if token else {}
        url = f"{self.url.rstrip('/')}/api/v1/workflows/{self.namespace}/submit"
        receiver = f"the Argo Server, asked for workflow {name},"
        return _post(receiver, url, orjson.dumps(body), headers, repeated=httpx.codes.CONFLICT)


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the signature: `v1,` and in base64 the HMAC-SHA256 of id, timestamp and body with dots between them.

    MLflow signs its webhooks so (mlflow/webhooks/delivery.py), in headers of other names. The key is the secret's own
    bytes; the libraries of Standard Webhooks want it in base64.
    """
    signed = b".".join([message_id.encode(), timestamp.encode(), body])
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _parameters(message: Message) -> list[str]:
    content = message.content
    values = {
        "alarm-id": message.alarm_id,
        "model": message.model or "",
        "version": message.version or "",
        "scopes": ",".join(content["scopes"]),
        "features": ",".join(feature["name"] for feature in content["features"]),
        "alarm": orjson.dumps(message.body()).decode(),
    }
    return [f"{name}={value}" for name, value in values.items()]


def _workflow_name(message: Message) -> str:
    """Make an RFC 1123 name: lower case, digits and hyphens."""
    model = re.sub(r"[^a-z0-9]+", "-", (message.model or "").lower())[:_MODEL_CHARACTERS].strip("-")
    return "-".join(filter(None, ("drift", model, message.id)))


def _post(
    receiver: str, url: str, body: bytes, headers: dict[str, str], *, repeated: int | None = None
) -> Answer:
    """Post, and tell by the status what came of it; `repeated` is the one that says "I have that"."""
    headers = {"content-type": "application/json", "user-agent": "coalmine-drift", **headers}
    try:
        with httpx.stream("POST", url, content=body, headers=headers, timeout=_TIMEOUT) as answer:
            return _answer(receiver, answer, repeated)
    except httpx.HTTPError as error:
        return Answer(False, f"{receiver} does not answer: {str(error) or type(error).__name__}")


def _answer(receiver: str, answer: httpx.Response, repeated: int | None) -> Answer:
    """Go by the status; of a body only the beginning is read, since it may have no end."""
    status = answer.status_code
    if answer.is_success:
        return Answer(True, f"{receiver} took it ({status})")
    if status == repeated:
        return Answer(True, f"{receiver} has it from an earlier attempt ({status})")
    beginning = next(answer.iter_raw(_WORDS), b"").decode("utf-8", "replace")
    said = "".join(c for c in beginning if c.isprintable()) or answer.reason_phrase
    return Answer(False, f"{receiver} answered {status}: {said}", _wait_seconds(answer))


def _wait_seconds(answer: httpx.Response) -> float | None:
    after = answer.headers.get("retry-after", "").strip()
    return min(float(after), _LONGEST_WAIT_SECONDS) if after.isdecimal() else None
