"""The HTTP ports: the public one, and with ADMIN_HOST one of its own for requests that change the model."""

from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp

from inference.gateway.admin import AdminPaths, PublicPaths
from inference.settings import Settings
from inference.tokens import AdminGuards, TokenGuard
from telemetry import HttpServer

__all__ = ["Listeners"]


class Listeners:
    """Bound when this is made; nothing is answered before `start`."""

    def __init__(
        self, settings: Settings, guards: AdminGuards, make_app: Callable[[TokenGuard], ASGIApp]
    ) -> None:
        """Bind the ports; `make_app` makes the gateway whose admin requests a guard lets pass.

        Raises `PortInUseError`, and `OSError` for every other reason.
        """
        admin_host = settings.admin_host
        public = make_app(guards.public)
        if admin_host is not None:
            public = PublicPaths(public)
        self._public: Final = _listen(public, settings.http_host, settings.http_port, "HTTP")
        self._admin: HttpServer | None = None
        if admin_host is not None:
            try:
                self._admin = _listen(
                    AdminPaths(make_app(guards.admin)), admin_host, settings.admin_port, "ADMIN"
                )
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
        """Answer."""
        self._public.start()
        if self._admin is not None:
            self._admin.start()

    def stop(self) -> None:
        """Finish the requests in flight, then close the ports."""
        if self._admin is not None:
            self._admin.stop()
        self._public.stop()


def _listen(app: ASGIApp, host: str, port: int, setting: str) -> HttpServer:
    try:
        return HttpServer(app, host=host, port=port, variable=f"{setting}_PORT")
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"HTTP cannot listen on {host}:{port}: {reason}; check {setting}_HOST") from None
