"""The connection to a server: address, TLS, limits."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
import grpc.aio

__all__ = ["ChannelOptions", "TlsFiles", "open_async_channel", "open_channel"]

#: gRPC's own 1 s and 120 s would let a client sleep through the start of its server, wait_ready and retries included.
_FIRST_RECONNECT_MS: Final = 100
_MAX_RECONNECT_MS: Final = 5_000

_LOOPBACK: Final = re.compile(
    r"(?:(?:dns:(?:///)?|ipv[46]:)?(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?)|unix:.*", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for TLS; `TlsFiles()` trusts the public authorities that grpcio brings.

    `cert` and `key` are the client's own, for servers that ask for one (mTLS).
    """

    #: Authorities that may have signed the server's certificate.
    ca: str | Path | None = None
    cert: str | Path | None = None
    key: str | Path | None = None
    #: Name that the server's certificate has, when it is not that of the address, as behind a port-forward.
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("a client certificate needs both files: cert and key")

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises `OSError` for one that cannot be read."""
        ca, key, cert = (
            Path(f).read_bytes() if f is not None else None for f in (self.ca, self.key, self.cert)
        )
        return grpc.ssl_channel_credentials(ca, key, cert)


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """Limits of one channel, and whatever else gRPC takes."""

    #: Largest message in and out, as the server's default.
    max_message_bytes: int = 16 * 1024 * 1024
    #: Time between pings on a connection with calls in flight; None for none. Servers end connections that ping
    #: oftener than they like, by default every 5 minutes.
    keepalive_seconds: float | None = None
    #: How long a ping may stay unanswered before the connection counts as broken.
    keepalive_timeout_seconds: float = 20.0
    #: Further channel arguments by gRPC's own names; they win.
    extra: Sequence[tuple[str, str | int]] = ()

    def arguments(self, tls: TlsFiles | None) -> list[tuple[str, Any]]:
        """Return the channel arguments."""
        found: dict[str, Any] = {
            "grpc.max_receive_message_length": self.max_message_bytes,
            "grpc.max_send_message_length": self.max_message_bytes,
            "grpc.initial_reconnect_backoff_ms": _FIRST_RECONNECT_MS,
            "grpc.max_reconnect_backoff_ms": _MAX_RECONNECT_MS,
        }
        if self.keepalive_seconds is not None:
            found["grpc.keepalive_time_ms"] = round(self.keepalive_seconds * 1000)
            found["grpc.keepalive_timeout_ms"] = round(self.keepalive_timeout_seconds * 1000)
        if tls is not None and tls.server_name is not None:
            found["grpc.ssl_target_name_override"] = tls.server_name
        return [*(found | dict(self.extra)).items()]


def open_channel(address: str, tls: TlsFiles | None, options: ChannelOptions) -> grpc.Channel:
    """Make a channel; it connects when it is first used."""
    arguments = _arguments(address, tls, options)
    if tls is None:
        return grpc.insecure_channel(address, arguments)
    return grpc.secure_channel(address, tls.credentials(), arguments)


def open_async_channel(address: str, tls: TlsFiles | None, options: ChannelOptions) -> grpc.aio.Channel:
    """Make a channel of the running event loop."""
    arguments = _arguments(address, tls, options)
    if tls is None:
        return grpc.aio.insecure_channel(address, arguments)
    return grpc.aio.secure_channel(address, tls.credentials(), arguments)


def _arguments(address: str, tls: TlsFiles | None, options: ChannelOptions) -> list[tuple[str, Any]]:
    # gRPC would send calls to this very machine through `http_proxy`, which leads to another one's loopback.
    past_proxies = {"grpc.enable_http_proxy": 0} if _LOOPBACK.fullmatch(address) else {}
    return [*(past_proxies | dict(options.arguments(tls))).items()]
