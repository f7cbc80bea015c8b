"""How Loki is reached: address, tenant and credentials. Nothing here shows a secret."""

from dataclasses import dataclass, field
from functools import cached_property

import httpx

from drift.errors import LokiError

__all__ = ["Access"]

_API = "/loki/api/v1"


@dataclass(frozen=True)
class Access:
    """What `LOKI_BASE_URL`, `LOKI_TENANT_ID` and the credentials say. A bearer token wins over name and password."""

    base_url: str
    tenant_id: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.url.scheme not in {"http", "https"} or not self.url.host:
            raise LokiError(
                self.address,
                "cannot be asked: that is no http:// or https:// URL",
                "set LOKI_BASE_URL to one such as http://loki:3100",
            )

    @cached_property
    def url(self) -> httpx.URL:
        """The base URL, without the path of the API that people copy along, and without credentials."""
        try:
            given = httpx.URL(self.base_url.strip())
        except httpx.InvalidURL:
            return httpx.URL("")
        path = given.path.split(_API)[0].rstrip("/")
        return given.copy_with(path=path or "/", query=None, fragment=None, username="", password="")

    @property
    def address(self) -> str:
        """The base URL as sentences may show it."""
        return str(self.url).rstrip("/") or "LOKI_BASE_URL"

    def headers(self) -> dict[bytes, bytes]:
        """Return the headers of every request."""
        # Without it, structured metadata make a stream of every entry.
        headers = {b"X-Loki-Response-Encoding-Flags": b"categorize-labels", b"Accept": b"application/json"}
        if self.tenant_id:
            headers[b"X-Scope-OrgID"] = self.tenant_id.strip().encode()
        if self.token:
            headers[b"Authorization"] = b"Bearer " + self.token.strip().encode()
        return headers

    def auth(self) -> httpx.Auth | None:
        """Return name and password, from the settings or else from the URL; None when a token is used."""
        if self.token:
            return None
        if self.username:
            return httpx.BasicAuth(self.username, (self.password or "").strip())
        given = httpx.URL(self.base_url.strip())
        return httpx.BasicAuth(given.username, given.password) if given.username else None

    def redacted(self, text: str) -> str:
        """Return `text` without any secret of this access."""
        for secret in (self.token, self.password, httpx.URL(self.base_url.strip()).password):
            if secret and secret.strip():
                text = text.replace(secret.strip(), "***")
        return text
