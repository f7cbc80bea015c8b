"""The HTTP ports: the public one, and with ADMIN_HOST one of its own for requests that change the model."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from inference.settings import Settings
from inference.tokens import AdminGuards, TokenGuard
from telemetry import HttpServer

if TYPE_CHECKING:  # imported when the ports are bound and gRPC answers
    from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["Listeners"]

#: Requests beside those that wait or run: on their way to being refused, or with bodies on their way in. Each may
#: hold 64 KiB in either direction, so these are 32 MiB at most.
_REQUESTS_BESIDE: Final = 256
#: Connections of one port, nearly all of them idle: a silent one costs about 10 KiB, and is closed after 20 seconds.
_CONNECTIONS: Final = 4096


class Listeners:
    """Bound when this is made; nothing is answered before `start`."""

    def __init__(
        self, settings: Settings, guards: AdminGuards, make_app: "Callable[[TokenGuard], ASGIApp]"
    ) -> None:
        """Bind the ports; `make_app` makes the gateway whose admin requests a guard lets pass, at `start`.

        Raises `PortInUseError`, and `OSError` for every other reason.
        """
        self._guards = guards
        self._make_app = make_app
        self._public_app, self._admin_app = _Later(), _Later()
        self._most = settings.max_concurrent_requests + _REQUESTS_BESIDE
        self._public: Final = _listen(self._public_app, settings.http_host, settings.http_port, "HTTP")
        self._admin: HttpServer | None = None
        if settings.admin_host is not None:
            try:
                self._admin = _listen(self._admin_app, settings.admin_host, settings.admin_port, "ADMIN")
            except BaseException:
                self._public.stop()
                raise

    @property
    def port(self) -> int:
        """The public port that is really bound."""
        return self._public.port

    @property
    def admin_port(self) -> int | None:
        """The port of admin requests that is really bound, if they have one of their own."""
        return self._admin.port if self._admin is not None else None

    def start(self) -> None:
        """Make the gateway and answer."""
        from inference.gateway.crowd import Crowd  # noqa: PLC0415  # as the gateway

        public = Crowd(self._make_app(self._guards.public), self._most)
        if self._admin is None:
            self._public_app.app = public
        else:
            from inference.gateway.admin import AdminPaths, PublicPaths  # noqa: PLC0415  # as the gateway

            self._public_app.app = PublicPaths(public)
            self._admin_app.app = AdminPaths(Crowd(self._make_app(self._guards.admin), self._most))
            self._admin.start()
        self._public.start()

    def stop(self, grace_seconds: float) -> bool:
        """Finish the requests in flight, for as long as the grace lasts, close the ports; return whether all ended."""
        deadline = time.monotonic() + grace_seconds
        ended = self._admin is None or self._admin.stop(grace_seconds)
        return self._public.stop(deadline - time.monotonic()) and ended


class _Later:
    """An application that is made after its port is bound."""

    app: "ASGIApp"

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        await self.app(scope, receive, send)


def _listen(app: _Later, host: str, port: int, setting: str) -> HttpServer:
    try:
        return HttpServer(
            app, host=host, port=port, variable=f"{setting}_PORT", most_connections=_CONNECTIONS
        )
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"HTTP cannot listen on {host}:{port}: {reason}; check {setting}_HOST") from None
