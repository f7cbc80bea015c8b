"""The server as a whole: its parts put together from the settings, and how they live and die."""

import os
import threading
from typing import Final

import structlog
from pydantic import SecretStr

from inference.artifacts import (
    Bundle,
    Cache,
    Credentials,
    LocalRepository,
    MlflowRepository,
    Predictor,
    Repository,
    Trial,
    check_golden_rows,
    load_predictor,
)
from inference.artifacts import Limits as TrialLimits
from inference.catalog import Catalog, Slot
from inference.core import Admission, DataPlane
from inference.events import EventLog
from inference.gateway.app import Gateway
from inference.gateway.health import HealthReport
from inference.lines import LineWriter
from inference.metrics import Metrics
from inference.refresh import AutoRefresh
from inference.roster import Roster
from inference.rpc.server import GrpcServer, Limits
from inference.rpc.servicer import INFERENCE_SERVICE, inference_methods
from inference.settings import Settings
from inference.stage import Loading, Stage
from inference.swap import Swapper
from inference.tokens import TokenGuard
from telemetry import HttpServer

__all__ = ["Service"]

#: Largest messages that may be in memory at one time, as request bodies or as answers not taken yet.
_LARGEST_MESSAGES_KEPT: Final = 16

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class Service:
    """All ports, bound when this is made; nothing is answered before `start`."""

    def __init__(self, settings: Settings, writer: LineWriter) -> None:
        """Bind the ports. Raises `PortInUseError`, and `OSError` for every other reason."""
        self._settings = settings
        track = settings.deployment_track
        self.metrics: Final = Metrics(track)
        slots = _slots(settings)
        self.catalog: Final = Catalog(slots)
        events = EventLog(writer, self.metrics, track=track, sample_rate=settings.prediction_log_sample_rate)
        self.plane: Final = DataPlane(
            self.catalog,
            [events.append],
            max_rows=settings.max_rows_per_request,
            admission=Admission(
                settings.max_concurrent_requests, _LARGEST_MESSAGES_KEPT * settings.grpc_max_message_bytes
            ),
        )
        self.metrics.count_in_flight(lambda: self.plane.admission.in_flight)
        self._repository = _repository(settings)
        self._stage = _stage(settings, self.catalog, self.metrics)
        self._one_at_a_time = threading.Lock()
        self.roster: Final = Roster(
            self.catalog,
            [self._swapper(slot) for slot in slots],
            self._open_swapper if settings.model_source == "mlflow" else None,
        )
        self._refresh = AutoRefresh(self.roster.reload, settings.model_auto_refresh_seconds)
        self._guard = TokenGuard(
            _secret(settings.predict_api_token), variable="PREDICT_API_TOKEN", required=False
        )
        self._admin_guard = TokenGuard(
            _secret(settings.admin_api_token),
            variable="ADMIN_API_TOKEN",
            header="x-admin-token",
            required=True,
        )
        self._grpc = self._bind_grpc()
        try:
            self._http = self._bind_http()
        except BaseException:
            self._grpc.stop(0)
            raise

    @property
    def grpc_port(self) -> int:
        """The gRPC port that is really bound."""
        return self._grpc.port

    @property
    def http_port(self) -> int:
        """The HTTP port that is really bound."""
        return self._http.port

    def _bind_grpc(self) -> GrpcServer:
        settings, track = self._settings, self._settings.deployment_track
        return GrpcServer(
            self.plane,
            self.metrics,
            {INFERENCE_SERVICE: inference_methods(self.plane, self._guard, track=track)},
            Limits(
                settings.grpc_max_message_bytes,
                settings.max_concurrent_requests,
                settings.grpc_max_connection_age_seconds,
            ),
            track=track,
            host=settings.grpc_host,
            port=settings.grpc_port,
        )

    def _bind_http(self) -> HttpServer:
        settings = self._settings
        track = settings.deployment_track
        gateway = Gateway(
            self.plane,
            self.roster,
            HealthReport(self.plane, self.roster, self._repository, track=track),
            self.metrics,
            track=track,
            max_body_bytes=settings.grpc_max_message_bytes,
            guard=self._guard,
            admin_guard=self._admin_guard,
        )
        host, port = settings.http_host, settings.http_port
        try:
            return HttpServer(gateway.app, host=host, port=port, variable="HTTP_PORT")
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(f"HTTP cannot listen on {host}:{port}: {reason}; check HTTP_HOST") from None

    def start(self) -> None:
        """Answer on both ports: that there is no model yet."""
        self._http.start()
        self._grpc.start()
        _log.info("listening", grpc_port=self.grpc_port, http_port=self.http_port, pid=os.getpid())

    def load(self) -> None:
        """Load the configured models and become ready. Raises what `Roster.reload` raises."""
        self.roster.reload()
        self._grpc.serve()
        if self._settings.model_auto_refresh_seconds:
            self._refresh.start()
        _log.info("serving", grpc_port=self.grpc_port, http_port=self.http_port)

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
        )

    def _open_swapper(self, name: str) -> Swapper:
        alias = self._settings.mlflow_model_alias
        return self._swapper(Slot(f"models:/{name}@{alias}", alias))


def _slots(settings: Settings) -> list[Slot]:
    if settings.model_source == "local":
        return [Slot("local")]
    return [Slot(uri, uri.partition("@")[2]) for uri in settings.configured_uris]


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
            password=_secret(settings.mlflow_tracking_password) or "",
            token=_secret(settings.mlflow_tracking_token) or "",
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


def _stage(settings: Settings, catalog: Catalog, metrics: Metrics) -> Stage:
    def load(bundle: Bundle) -> Predictor:
        return load_predictor(bundle, allow_pickle=settings.model_allow_pickle)

    return Stage(
        catalog,
        Loading(load, check_golden_rows, settings.model_min_accuracy),
        metrics,
        drain_seconds=settings.shutdown_grace_seconds,
    )


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value is not None else None
