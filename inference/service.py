"""The server as a whole: its parts put together from the settings, and how they live and die."""

import os
from typing import Final

import structlog

from inference.artifacts import (
    Bundle,
    Credentials,
    LocalRepository,
    MlflowRepository,
    Predictor,
    Repository,
    check_golden_rows,
    load_predictor,
)
from inference.core import DataPlane
from inference.events import EventLog
from inference.gateway.app import Gateway
from inference.gateway.health import HealthReport
from inference.generation import ModelHolder
from inference.lines import LineWriter
from inference.metrics import Metrics
from inference.rpc.server import GrpcServer
from inference.settings import Settings
from inference.swap import Loading, Swapper
from telemetry import HttpServer

__all__ = ["Service"]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class Service:
    """Both ports, bound when this is made; nothing is answered before `start`."""

    def __init__(self, settings: Settings, writer: LineWriter) -> None:
        """Bind the ports. Raises `PortInUseError`, and `OSError` for every other reason."""
        self._settings = settings
        track = settings.deployment_track
        self.metrics: Final = Metrics(track)
        self.holder: Final = ModelHolder()
        self.plane: Final = DataPlane(
            self.holder,
            EventLog(writer, self.metrics, track=track, sample_rate=settings.prediction_log_sample_rate),
            max_rows=settings.max_rows_per_request,
            max_concurrent=settings.max_concurrent_requests,
        )
        self.metrics.count_in_flight(lambda: self.plane.admission.in_flight)
        repository = _repository(settings)
        self.swapper: Final = _swapper(settings, self.holder, repository, self.metrics)
        self._grpc = self._bind_grpc()
        try:
            self._http = self._bind_http(repository)
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
        settings = self._settings
        return GrpcServer(
            self.plane,
            self.metrics,
            track=settings.deployment_track,
            host=settings.grpc_host,
            port=settings.grpc_port,
            max_message_bytes=settings.grpc_max_message_bytes,
            max_concurrent=settings.max_concurrent_requests,
            max_connection_age_seconds=settings.grpc_max_connection_age_seconds,
        )

    def _bind_http(self, repository: Repository) -> HttpServer:
        settings = self._settings
        track, token = settings.deployment_track, settings.admin_api_token
        gateway = Gateway(
            self.plane,
            self.swapper,
            HealthReport(self.plane, self.holder, self.swapper, repository, track=track),
            self.metrics,
            track=track,
            max_body_bytes=settings.grpc_max_message_bytes,
            admin_token=token.get_secret_value() if token is not None else None,
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
        """Load the configured model and become ready. Raises what `Swapper.reload` raises."""
        self.swapper.reload()
        self._grpc.serve()
        _log.info("serving", grpc_port=self.grpc_port, http_port=self.http_port)

    def drain(self) -> None:
        """Say not ready everywhere, and answer on."""
        self.plane.drain()
        self._grpc.drain()

    def stop(self, grace_seconds: float) -> bool:
        """Accept nothing more and end what is in flight; return whether it ended in time."""
        ended = self._grpc.stop(grace_seconds)
        self._http.stop()
        return ended


def _repository(settings: Settings) -> Repository:
    if settings.model_source == "local":
        assert settings.model_path is not None, "the settings checked it"
        return LocalRepository(settings.model_path)
    password, token = settings.mlflow_tracking_password, settings.mlflow_tracking_token
    return MlflowRepository(
        model_uri=settings.configured_uri,
        tracking_uri=settings.mlflow_tracking_uri,
        cache_dir=settings.model_cache_dir,
        credentials=Credentials(
            username=settings.mlflow_tracking_username or "",
            password=password.get_secret_value() if password is not None else "",
            token=token.get_secret_value() if token is not None else "",
        ),
    )


def _swapper(settings: Settings, holder: ModelHolder, repository: Repository, metrics: Metrics) -> Swapper:
    def load(bundle: Bundle) -> Predictor:
        return load_predictor(bundle, allow_pickle=settings.model_allow_pickle)

    return Swapper(
        holder,
        repository,
        Loading(load, check_golden_rows, settings.model_min_accuracy),
        metrics,
        model_uri=settings.configured_uri if settings.model_source == "mlflow" else None,
        drain_seconds=settings.shutdown_grace_seconds,
    )
