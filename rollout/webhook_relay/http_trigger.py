"""Triggers that are one POST: GitHub's repository_dispatch, and Argo's submit of a WorkflowTemplate.

Both take the request and run the rollout later, where GitHub's `concurrency` or Argo's mutex sees to it that there is
one at a time.
"""

import email.utils
import re
import ssl
import time
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import SecretStr

from rollout.webhook_relay.deployment import Deployment
from rollout.webhook_relay.settings import Settings
from rollout.webhook_relay.trigger import Answer, Result

__all__ = ["ArgoTrigger", "GithubTrigger"]

_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 30.0
#: No receiver may silence the relay for longer than this.
_LONGEST_WAIT_SECONDS: Final = 3600.0
_WORDS: Final = 200
#: Of the GitHub REST API; it is supported for two years after a newer one.
_GITHUB_API_VERSION: Final = "2022-11-28"
#: Kubernetes allows 253 characters, of which Argo needs some for the pods of a workflow.
_MODEL_CHARACTERS: Final = 40


class _Post:
    """One POST with a bearer token."""

    def __init__(self, receiver: str, url: str, token: SecretStr | None, token_file: Path | None) -> None:
        self._receiver, self._url = receiver, url
        self._token, self._token_file = token, token_file

    def send(
        self,
        body: dict[str, Any],
        headers: dict[str, str],
        *,
        verify: ssl.SSLContext | bool = True,
        repeated: int | None = None,
    ) -> Result:
        """Send `body`, and tell by the status what came of it; `repeated` is the one that says "I have that"."""
        try:
            answer = httpx.post(
                self._url,
                json=body,
                headers=headers | {"Authorization": f"Bearer {self._read_token()}", "User-Agent": "coalmine"},
                timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS),
                verify=verify,
            )
        except httpx.HTTPError as error:
            return Result(
                Answer.AGAIN, f"{self._receiver} does not answer: {str(error) or type(error).__name__}"
            )
        except OSError as error:
            return Result(Answer.AGAIN, f"the token file {self._token_file} cannot be read: {error.strerror}")
        if answer.status_code == repeated:
            return Result(Answer.DONE, f"{self._receiver} has it from an earlier attempt")
        return self._result(answer)

    def _read_token(self) -> str:
        if self._token is not None:
            return self._token.get_secret_value()
        assert self._token_file is not None, "the settings demand one of both"
        return self._token_file.read_text(encoding="utf-8").strip()

    def _result(self, answer: httpx.Response) -> Result:
        status = answer.status_code
        if answer.is_success:
            return Result(Answer.DONE, f"{self._receiver} took it ({status})")
        said = f"{self._receiver} answered {status}: {_words(answer)}"
        wait = _wait_seconds(answer, time.time())
        if status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS) or answer.is_server_error:
            return Result(Answer.AGAIN, said, wait)
        if status == httpx.codes.FORBIDDEN and wait is not None:  # GitHub's rate limits are 403 or 429
            return Result(Answer.AGAIN, said, wait)
        return Result(Answer.REFUSED, said)


class GithubTrigger:
    """Starts the workflows of a repository that listen to an event type."""

    def __init__(self, settings: Settings) -> None:
        repository = settings.relay_github_repository
        url = f"{settings.relay_github_api_url}/repos/{repository}/dispatches"
        token, file = settings.relay_github_token, settings.relay_github_token_file
        self._post = _Post(f"GitHub ({repository})", url, token, file)
        self._event_type = settings.relay_github_event_type

    def fire(self, deployment: Deployment) -> Result:
        """Send the dispatch; the payload has values that were checked by pattern, and nothing else."""
        wanted = deployment.wanted
        payload = {"model_uri": wanted.model_uri, "version": wanted.version, "alias": wanted.alias}
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": _GITHUB_API_VERSION}
        return self._post.send({"event_type": self._event_type, "client_payload": payload}, headers)

    def result_of(self, deployment: Deployment) -> Result | None:
        """Return None: GitHub gives a dispatch no name by which it could be found again."""


class ArgoTrigger:
    """Submits a WorkflowTemplate at an Argo Server."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        url = f"{settings.relay_argo_url}/api/v1/workflows/{settings.relay_argo_namespace}/submit"
        self._post = _Post("the Argo Server", url, settings.relay_argo_token, settings.relay_argo_token_file)

    def fire(self, deployment: Deployment) -> Result:
        """Submit the workflow, under a name that stays the same through all attempts: it exists once at most."""
        settings, name = self._settings, _workflow_name(deployment)
        body = {
            "namespace": settings.relay_argo_namespace,
            "resourceKind": "WorkflowTemplate",
            "resourceName": settings.relay_argo_template,
            "submitOptions": {
                "name": name,
                "parameters": [f"{settings.relay_argo_parameter}={deployment.wanted.model_uri}"],
            },
        }
        try:
            verify = self._verify()
        except OSError as error:
            return Result(Answer.AGAIN, f"RELAY_ARGO_CA_FILE cannot be used: {error.strerror or error}")
        result = self._post.send(body, {}, verify=verify, repeated=httpx.codes.CONFLICT)
        return Result(result.answer, f"workflow {name}: {result.detail}", result.after_seconds)

    def result_of(self, deployment: Deployment) -> Result | None:
        """Return None: submitting again under the same name is how to find out."""

    def _verify(self) -> ssl.SSLContext | bool:
        file = self._settings.relay_argo_ca_file
        return True if file is None else ssl.create_default_context(cafile=str(file))


def _workflow_name(deployment: Deployment) -> str:
    """Make an RFC 1123 name: lower case, digits and hyphens."""
    model = (
        re.sub(r"[^a-z0-9]+", "-", deployment.wanted.name.lower()).strip("-")[:_MODEL_CHARACTERS].strip("-")
    )
    return "-".join(filter(None, ("deploy", model, deployment.wanted.version, deployment.key)))


def _words(answer: httpx.Response) -> str:
    """Return the message of an answer, or its first line: short, and without what could break a log line."""
    try:
        said = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        said = answer.text.strip().partition("\n")[0] or answer.reason_phrase
    return "".join(c for c in said[:_WORDS] if c.isprintable())


def _wait_seconds(answer: httpx.Response, now: float) -> float | None:
    """Return how long the receiver wants to be left alone: Retry-After (RFC 9110), or GitHub's own header."""
    wait: float | None = None
    after = answer.headers.get("retry-after", "").strip()
    if after.isdecimal():
        wait = float(after)
    elif after:
        try:
            wait = email.utils.parsedate_to_datetime(after).timestamp() - now
        except ValueError:
            wait = None
    elif answer.headers.get("x-ratelimit-remaining") == "0":
        reset = answer.headers.get("x-ratelimit-reset", "")
        wait = float(reset) - now if reset.isdecimal() else None
    return None if wait is None else min(max(wait, 0.0), _LONGEST_WAIT_SECONDS)
