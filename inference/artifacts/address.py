"""Addresses of registries: without credentials for people, with an absolute path for the cache."""

import base64
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from inference.artifacts.repository import Credentials

__all__ = ["credentials_in", "database_file", "fingerprint", "identify", "is_http", "redact"]

#: To the last `@`, as wide as a password may reach that somebody wrote there without quoting it.
_USERINFO: Final = re.compile(r"(?<=://)\S*@")


def is_http(tracking_uri: str) -> bool:
    """Tell whether the registry is an MLflow server."""
    return urlsplit(tracking_uri).scheme.lower() in ("http", "https")


def identify(tracking_uri: str) -> str:
    """Return the address by which a registry is known everywhere: no credentials, no relative path.

    `sqlite:///mlflow.db` means another registry in every working directory, and the cache is shared by all.
    """
    file = database_file(tracking_uri)
    if file is not None and tracking_uri.startswith("sqlite"):
        return f"sqlite:///{file}"
    if file is not None:
        return str(file)
    shown = _USERINFO.sub("", tracking_uri)
    # What stands behind a question mark may be a token.
    return (shown.partition("?")[0] if is_http(tracking_uri) else shown).rstrip("/")


def database_file(tracking_uri: str) -> Path | None:
    """Return the file (or directory) that a registry without a server lives in; None for every other."""
    if tracking_uri.startswith("sqlite"):
        path = tracking_uri.partition(":///")[2].partition("?")[0]
        return None if path in ("", ":memory:") else Path(path).absolute()
    parts = urlsplit(tracking_uri)
    if parts.scheme == "file":
        return Path(unquote(parts.path)).absolute()
    # One letter is a drive of Windows, not a scheme.
    return Path(tracking_uri).absolute() if len(parts.scheme) < 2 else None


def fingerprint(tracking_uri: str) -> str:
    """Return the state of a registry that is one file, such as SQLite; empty for every other.

    As long as it stays the same, nobody wrote to the registry. The log beside the file counts too: SQLite may
    keep the newest writes there.
    """
    file = database_file(tracking_uri)
    if file is None or not file.is_file():
        return ""
    states = []
    for path in (file, file.with_name(f"{file.name}-wal")):
        try:
            found = path.stat()
            states.append(f"{found.st_ino}:{found.st_mtime_ns}:{found.st_size}")
        except OSError:
            states.append("")
    return " ".join(states)


def credentials_in(tracking_uri: str) -> Credentials:
    """Return the user name and password that stand in the address itself, as in `https://me:word@host`."""
    parts = urlsplit(tracking_uri)
    return Credentials(unquote(parts.username or ""), unquote(parts.password or ""))


def redact(text: str, tracking_uri: str, credentials: Credentials) -> str:
    """Return `text` with every secret of the registry replaced by `***`."""
    inside = urlsplit(tracking_uri).password or ""
    headers = (_basic(credentials), _basic(credentials_in(tracking_uri)))
    for secret in (*headers, credentials.password, credentials.token, inside, unquote(inside)):
        if secret:
            text = text.replace(secret, "***")
    return text


def _basic(credentials: Credentials) -> str:
    """Return user name and password as HTTP's basic authentication (RFC 7617) writes them."""
    if not credentials.password:
        return ""
    return base64.b64encode(f"{credentials.username}:{credentials.password}".encode()).decode()
