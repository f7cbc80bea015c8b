"""GET requests to an MLflow server, with every way to fail turned into a sentence."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from inference.artifacts.address import credentials_in, identify
from inference.artifacts.repository import Credentials
from inference.errors import BundleError, RegistryError, RegistryUnavailableError

__all__ = ["HttpClient", "RefusalError"]

#: Waits before the second and the third try; every request here is a GET and may be repeated.
_BACKOFF_SECONDS: Final = (0.2, 0.8)
_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 30.0
#: Three reads in a row shall end before the parent's time limit does, so that the sentence is the better one.
_READ_SHARE: Final = 0.25
_CHUNK_BYTES: Final = 1 << 20
_BUSY: Final = 429


class RefusalError(Exception):
    """The server understood and refused (400, 404, …): `code` is the error code of MLflow."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.status, self.code = status, code
        super().__init__(f"{status} {code}: {message}")


class HttpClient:
    """A connection to the MLflow server at `tracking_uri`, with its credentials."""

    def __init__(self, tracking_uri: str, credentials: Credentials, timeout_seconds: float) -> None:
        self.address = identify(tracking_uri)
        read = min(_READ_SECONDS, timeout_seconds * _READ_SHARE)
        self._client = httpx.Client(
            base_url=self.address,
            timeout=httpx.Timeout(read, connect=min(_CONNECT_SECONDS, read)),
            follow_redirects=True,
            headers={"User-Agent": "coalmine"},
        )
        inside = credentials_in(tracking_uri)
        if credentials.username and credentials.password:
            self._client.auth = httpx.BasicAuth(credentials.username, credentials.password)
        elif credentials.token:
            self._client.headers["Authorization"] = f"Bearer {credentials.token}"
        elif inside.username:
            self._client.auth = httpx.BasicAuth(inside.username, inside.password)

    def get_json(self, path: str, parameters: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the JSON object at `path`.

        Raises `RefusalError` for what MLflow refuses, `RegistryError` when the credentials do not open it,
        `RegistryUnavailableError` for everything that another try at another time may bring.
        """
        answer = self._try(lambda: self._get(path, parameters))
        try:
            content = answer.json()
        except ValueError:
            content = None
        if isinstance(content, dict):
            return content
        raise self._strange(answer)

    def get_text(self, path: str) -> str:
        """Return the text at `path`, empty when the server does not have it."""
        try:
            return self._try(lambda: self._get(path, None)).text.strip()
        except (RefusalError, RegistryError):
            return ""

    def download(self, path: str, target: Path, limit_bytes: int) -> None:
        """Write what is at `path` to `target`; raises `BundleError` beyond `limit_bytes`."""
        self._try(lambda: self._stream(path, target, limit_bytes))

    def _get(self, path: str, parameters: Mapping[str, str] | None) -> httpx.Response:
        return self._checked(self._client.get(path, params=parameters))

    def _stream(self, path: str, target: Path, limit_bytes: int) -> httpx.Response:
        with self._client.stream("GET", path) as answer:
            if not answer.is_success:
                answer.read()
            self._checked(answer)
            written = 0
            with target.open("wb") as file:
                for chunk in answer.iter_bytes(_CHUNK_BYTES):
                    written += len(chunk)
                    if written > limit_bytes:
                        reason = f"{target.name} has more than the {limit_bytes} bytes that are expected"
                        raise BundleError(path, reason)
                    file.write(chunk)
        return answer

    def _try(self, request: Callable[[], httpx.Response]) -> httpx.Response:
        for wait in (*_BACKOFF_SECONDS, None):
            try:
                return request()
            except httpx.TransportError as error:
                failure = RegistryUnavailableError(self.address, _transport_reason(error))
            except RegistryUnavailableError as error:
                failure = error
            except httpx.HTTPError as error:  # circles of redirects
                raise RegistryUnavailableError(self.address, str(error)) from error
            if wait is None:
                raise failure
            time.sleep(wait)
        raise AssertionError("the last turn of the loop returns or raises")

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        if answer.is_success:
            return answer
        code, message = _error_in(answer)
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise RegistryError(self._refused_sentence(answer.status_code, message))
        if answer.is_server_error or answer.status_code == _BUSY:
            reason = f"{answer.request.url.path} answered {answer.status_code}: {message}"
            raise RegistryUnavailableError(self.address, reason)
        if not code:
            raise self._strange(answer)
        raise RefusalError(answer.status_code, code, message)

    def _refused_sentence(self, status: int, message: str) -> str:
        if "Host header" in message:
            host = urlsplit(self.address).netloc
            remedy = f"start the MLflow server with MLFLOW_SERVER_ALLOWED_HOSTS={host}"
        else:
            remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return f"the registry at {self.address} refuses access ({status}: {message}); {remedy}"

    def _strange(self, answer: httpx.Response) -> RegistryUnavailableError:
        url = answer.request.url.copy_with(query=None, username=None, password=None)
        reason = f"{url} answered {answer.status_code} and not as MLflow does; is it an MLflow server?"
        return RegistryUnavailableError(self.address, reason)


def _error_in(answer: httpx.Response) -> tuple[str, str]:
    try:
        content = answer.json()
        return str(content["error_code"]), str(content.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        lines = answer.text.strip().splitlines() or [answer.reason_phrase]
        return "", lines[0][:200]


def _transport_reason(error: httpx.TransportError) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return "connecting took too long"
    if isinstance(error, httpx.TimeoutException):
        return "it did not answer in time"
    return str(error) or type(error).__name__
