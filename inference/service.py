"""The server as a whole: its parts put together from the settings, and how they live and die."""

import os
import threading
import time
from typing import TYPE_CHECKING, Final

import structlog

from inference.artifacts import (
    Cache,
    Credentials,
    LocalRepository,
    MlflowRepository,
    Repository,
    Trial,
)
from inference.artifacts import Limits as TrialLimits
from inference.catalog import Catalog, Slot, slot_of
from inference.gateway.listeners import Listeners
from inference.lines import LineWriter
from inference.metrics import Metrics
from inference.refresh import AutoRefresh
from inference.roster import Roster
from inference.serving import Front, Serving, secret_text, stage_of
from inference.settings import Settings
from inference.swap import Swapper
from inference.tokens import TokenGuard
from inference.tracing import UNTRACED, Tracing

if TYPE_CHECKING:  # what a server has only when it is asked for, or only after it serves, is imported then
    from starlette.types import ASGIApp

    from inference.shadow import Shadow
    from inference.workers.fleet import WorkerFleet

__all__ = ["Service"]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class Service:
    """All ports, bound when this is made; nothing is answered before `start`."""

    def __init__(self, settings: Settings, writer: LineWriter, tracing: Tracing = UNTRACED) -> None:
        """Bind the ports. Raises `PortInUseError`, and `OSError` for every other reason."""
        self._settings = settings
        self._serving = Serving(settings, writer, tracing)
        self.metrics: Final = self._serving.metrics
        self.catalog: Final = self._serving.catalog
        self.plane: Final = self._serving.plane
        self._stage = self._serving.stage
        self._guard = self._serving.guard
        self._repository = _repository(settings)
        self._one_at_a_time = threading.Lock()
        self._fleet = _fleet(settings, writer, self.metrics) if settings.server_workers > 1 else None
        self.shadow: Final = self._open_shadow()
        self.roster: Final = Roster(
            self.catalog,
            [self._swapper(slot) for slot in self.catalog.slots],
            self._open_swapper if settings.model_source == "mlflow" else None,
            reload_shadow=self.shadow.reload if self.shadow is not None else lambda: None,
        )
        self._refresh = AutoRefresh(self.roster.refresh, settings.model_auto_refresh_seconds)
        self._grpc = self._make_front()
        self._said_serving = self._loaded = False
        self.catalog.watch(self._say_readiness)
        try:
            self._http = Listeners(settings, self._serving.admin_guards, self._gateway)
        except BaseException:
            self._grpc.stop(0)
            raise

    def _make_front(self) -> Front:
        if self._fleet is None:
            return self._serving.bind_grpc(self.roster)
        self.plane.require(lambda: self._fleet is not None and self._fleet.ready)
        return self._fleet

    def _say_readiness(self) -> None:
        """Let the health service of gRPC follow the models; draining has the last word there."""
        ready = self.catalog.ready
        if ready != self._said_serving:
            self._said_serving = ready
            (self._grpc.serve if ready else self._grpc.pause)()

    @property
    def loaded(self) -> bool:
        """Whether the configured models were all loaded once, so that there may be callers."""
        return self._loaded

    @property
    def grpc_port(self) -> int:
        """The gRPC port that is really bound."""
        return self._grpc.port

    @property
    def http_port(self) -> int:
        """The HTTP port that is really bound."""
        return self._http.port

    @property
    def admin_port(self) -> int | None:
        """The port of admin requests that is really bound, if they have one of their own."""
        return self._http.admin_port

    def _gateway(self, admin_guard: TokenGuard) -> "ASGIApp":
        from inference.gateway.app import Gateway  # noqa: PLC0415  # takes as long as all that gRPC needs
        from inference.gateway.health import HealthReport  # noqa: PLC0415

        settings = self._settings
        track = settings.deployment_track
        certificates, fleet = self._serving.certificates, self._fleet
        health = HealthReport(
            self.plane,
            self.roster,
            self._repository,
            track=track,
            shadow=self.shadow,
            certificate=(lambda: certificates.state) if certificates is not None else None,
            workers=lambda: [each._asdict() for each in fleet.workers] if fleet is not None else [],
        )
        return Gateway(
            self.plane,
            self.roster,
            health,
            self.metrics,
            track=track,
            max_body_bytes=settings.grpc_max_message_bytes,
            guard=self._guard,
            admin_guard=admin_guard,
            grpc_port=self.grpc_port,
            grpc_tls=settings.grpc_tls_cert_file is not None,
        ).app

    def start(self) -> None:
        """Answer on all ports: that there is no model yet."""
        self.start_http()
        self.start_grpc()

    def start_http(self) -> None:
        """Answer over HTTP; who has asked before waits until now."""
        self._http.start()

    def start_grpc(self) -> None:
        """Answer over gRPC, and say which ports are bound."""
        self._grpc.start()
        ports = {"grpc_port": self.grpc_port, "http_port": self.http_port}
        if self.admin_port is not None:
            ports["admin_port"] = self.admin_port
        _log.info("listening", **ports, pid=os.getpid())

    def load(self) -> None:
        """Load the configured models and become ready. Raises what `Roster.reload` raises."""
        self.roster.reload()
        self._loaded = True
        if self._settings.model_auto_refresh_seconds:
            self._refresh.start()
        _log.info("serving", grpc_port=self.grpc_port, http_port=self.http_port)
        if self.shadow is not None:
            self.shadow.start()

    def drain(self) -> None:
        """Say not ready everywhere, change no model any more, and answer on."""
        self._refresh.stop()
        self.roster.close()
        self.plane.drain()
        self._grpc.drain()

    def stop(self, grace_seconds: float) -> bool:
        """Accept nothing more and end what is in flight; return whether it ended in time."""
        self._refresh.stop()
        self.roster.close()
        if self.shadow is not None:
            self.shadow.stop()
        deadline = time.monotonic() + grace_seconds
        ended = self._grpc.stop(grace_seconds)
        http_ended = self._http.stop(deadline - time.monotonic())
        # Without workers the requests of both transports are counted in one place, and those over HTTP end last.
        return (ended or self._fleet is None) and http_ended and self.plane.admission.in_flight == 0

    def _swapper(self, slot: Slot) -> Swapper:
        return Swapper(
            slot,
            self._repository,
            self._stage,
            self.metrics,
            model_uri=slot.key if self._settings.model_source == "mlflow" else None,
            one_at_a_time=self._one_at_a_time,
            replicas=self._fleet,
            tracing=self.plane.tracing,
        )

    def _open_shadow(self) -> "Shadow | None":
        settings, uri = self._settings, self._settings.shadow_model_uri
        if uri is None:
            return None
        from inference.shadow import Shadow  # noqa: PLC0415
        from inference.shadow_metrics import ShadowMetrics  # noqa: PLC0415

        slot = slot_of(uri)
        catalog = Catalog([slot])
        unscraped = Metrics(
            settings.deployment_track
        )  # a swap of the shadow is none of the models that serve
        swapper = Swapper(
            slot,
            self._repository,
            stage_of(settings, catalog, unscraped),
            unscraped,
            model_uri=uri,
            one_at_a_time=self._one_at_a_time,
        )
        counts = ShadowMetrics(self.metrics.registry, slot, track=settings.deployment_track)
        shadow = Shadow(swapper, catalog, self.catalog, counts, sample_rate=settings.shadow_sample_rate)
        self.plane.listen(shadow.listen)
        return shadow

    def _open_swapper(self, name: str) -> Swapper:
        alias = self._settings.mlflow_model_alias
        return self._swapper(slot_of(f"models:/{name}@{alias}"))


def _fleet(settings: Settings, writer: LineWriter, metrics: Metrics) -> "WorkerFleet":
    from inference.workers.fleet import WorkerFleet  # noqa: PLC0415

    return WorkerFleet(settings, writer, metrics)


def _repository(settings: Settings) -> Repository:
    if settings.model_source == "local":
        assert settings.model_path is not None, "the settings checked it"
        return LocalRepository(
            settings.model_path,
            trial=_trial(settings),
            public_key_file=settings.model_signature_public_key_file,
        )
    return MlflowRepository(
        model_uri=settings.configured_uri,
        tracking_uri=settings.mlflow_tracking_uri,
        cache_dir=settings.model_cache_dir,
        credentials=Credentials(
            username=settings.mlflow_tracking_username or "",
            password=secret_text(settings.mlflow_tracking_password) or "",
            token=secret_text(settings.mlflow_tracking_token) or "",
        ),
        max_cache_bytes=settings.model_cache_max_bytes,
        trial=_trial(settings),
        public_key_file=settings.model_signature_public_key_file,
    )


def _trial(settings: Settings) -> Trial:
    return Trial(
        Cache(settings.model_cache_dir.absolute()),
        allow_pickle=settings.model_allow_pickle,
        limits=TrialLimits(settings.model_trial_seconds, settings.model_trial_memory_bytes),
    )
