"""The server as a whole: its parts put together from the settings, and how they live and die."""

import os
import threading
from typing import Final

import structlog
from starlette.types import ASGIApp

from inference.artifacts import (
    Cache,
    Credentials,
    LocalRepository,
    MlflowRepository,
    Repository,
    Trial,
)
from inference.artifacts import Limits as TrialLimits
from inference.catalog import Catalog, Slot
from inference.gateway.app import Gateway
from inference.gateway.health import HealthReport
from inference.gateway.listeners import Listeners
from inference.lines import LineWriter
from inference.metrics import Metrics
from inference.refresh import AutoRefresh
from inference.roster import Roster
from inference.serving import Front, Serving, secret_text, slot_of, stage_of
from inference.settings import Settings
from inference.shadow import Shadow
from inference.shadow_metrics import ShadowMetrics
from inference.swap import Swapper
from inference.tokens import TokenGuard
from inference.tracing import UNTRACED, Tracing
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
        self._fleet = WorkerFleet(settings, writer, self.metrics) if settings.server_workers > 1 else None
        self.shadow: Final = self._open_shadow()
        self.roster: Final = Roster(
            self.catalog,
            [self._swapper(slot) for slot in self.catalog.slots],
            self._open_swapper if settings.model_source == "mlflow" else None,
            beside=self.shadow.reload if self.shadow is not None else lambda: None,
        )
        self._refresh = AutoRefresh(self.roster.reload, settings.model_auto_refresh_seconds)
        self._grpc = self._make_front()
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

    def _gateway(self, admin_guard: TokenGuard) -> ASGIApp:
        settings = self._settings
        track = settings.deployment_track
        health = HealthReport(
            self.plane,
            self.roster,
            self._repository,
            track=track,
            shadow=self.shadow,
            certificates=self._serving.certificates,
            fleet=self._fleet,
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
        self._http.start()
        self._grpc.start()
        ports = {"grpc_port": self.grpc_port, "http_port": self.http_port}
        if self.admin_port is not None:
            ports["admin_port"] = self.admin_port
        _log.info("listening", **ports, pid=os.getpid())

    def load(self) -> None:
        """Load the configured models and become ready. Raises what `Roster.reload` raises."""
        self.roster.reload()
        self._grpc.serve()
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
        ended = self._grpc.stop(grace_seconds)
        self._http.stop()
        return ended

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

    def _open_shadow(self) -> Shadow | None:
        settings, uri = self._settings, self._settings.shadow_model_uri
        if uri is None:
            return None
        slot = Slot(uri)
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
