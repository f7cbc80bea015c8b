"""What answers requests in one process: models, data plane, and the gRPC server over them.

The one process of a small server has it, and so has every worker of a larger one (`inference.workers`).
"""

from typing import TYPE_CHECKING, Final, Protocol

from pydantic import SecretStr

from inference.artifacts import Bundle, Predictor, check_golden_rows, load_predictor
from inference.catalog import LOCAL, Catalog, Slot, slot_of
from inference.core import Admission, DataPlane
from inference.events import EventLog
from inference.lines import LineWriter
from inference.metrics import Metrics
from inference.oip import ModelRepository
from inference.rpc.oip import OPEN_INFERENCE_SERVICE, oip_methods
from inference.rpc.server import GrpcServer, Limits
from inference.rpc.servicer import INFERENCE_SERVICE, inference_methods
from inference.rpc.tls import Certificates
from inference.settings import Settings
from inference.stage import Loading, Stage
from inference.tokens import TokenGuard, admin_guards
from inference.tracing import UNTRACED, Tracing

if TYPE_CHECKING:
    from inference.rpc.native_server import NativeServer

__all__ = ["Front", "Serving", "secret_text", "stage_of"]

#: Largest messages that may be in memory at one time, as request bodies or as answers not taken yet.
_LARGEST_MESSAGES_KEPT: Final = 16


class Front(Protocol):
    """The gRPC side of a server, whatever carries it."""

    @property
    def port(self) -> int:
        """The port that is really bound."""

    def start(self) -> None:
        """Accept calls; health says NOT_SERVING for our services until `serve`."""

    def serve(self) -> None:
        """Let health say SERVING."""

    def pause(self) -> None:
        """Let health say NOT_SERVING for our services until `serve`."""

    def drain(self) -> None:
        """Let health say NOT_SERVING for good; calls are answered on."""

    def stop(self, grace_seconds: float) -> bool:
        """Refuse new calls, let those in flight end in `grace_seconds`; return whether they did."""


class Serving:
    """The parts that a request passes through; no port is bound before `bind_grpc`."""

    def __init__(self, settings: Settings, writer: LineWriter, tracing: Tracing = UNTRACED) -> None:
        """Read the certificate. Raises `CertificateError`."""
        self._settings = settings
        track = settings.deployment_track
        self.metrics: Final = Metrics(track)
        self.catalog: Final = Catalog(_slots(settings))
        events = EventLog(writer, self.metrics, track=track, sample_rate=settings.prediction_log_sample_rate)
        self.plane: Final = DataPlane(
            self.catalog,
            [events.append],
            max_rows=settings.max_rows_per_request,
            admission=Admission(
                settings.max_concurrent_requests, _LARGEST_MESSAGES_KEPT * settings.grpc_max_message_bytes
            ),
            tracing=tracing,
        )
        self.metrics.count_in_flight(lambda: self.plane.admission.in_flight)
        self.stage: Final = stage_of(settings, self.catalog, self.metrics)
        self.guard: Final = TokenGuard(
            secret_text(settings.predict_api_token), variable="PREDICT_API_TOKEN", required=False
        )
        self.admin_guards: Final = admin_guards(
            secret_text(settings.admin_api_token), elsewhere=settings.admin_host is not None
        )
        self.certificates: Final = _certificates(settings)

    def bind_grpc(
        self,
        repository: ModelRepository,
        *,
        port: int | None = None,
        share_port: bool = False,
    ) -> "GrpcServer | NativeServer":
        """Bind the gRPC port, or `port`. Raises `PortInUseError`, and `OSError` for every other reason.

        `repository` has the models that callers with the admin token may load and unload.
        """
        settings, track = self._settings, self._settings.deployment_track
        oip = oip_methods(self.plane, repository, self.guard, self.admin_guards.public, track=track)
        return _transport(settings)(
            self.plane,
            self.metrics,
            {
                INFERENCE_SERVICE: inference_methods(self.plane, self.guard, track=track),
                OPEN_INFERENCE_SERVICE: oip,
            },
            Limits(
                settings.grpc_max_message_bytes,
                settings.max_concurrent_requests,
                settings.connection_age_seconds,
            ),
            track=track,
            host=settings.grpc_host,
            port=settings.grpc_port if port is None else port,
            share_port=share_port,
            credentials=self.certificates.credentials() if self.certificates is not None else None,
        )


def _transport(settings: Settings) -> "type[GrpcServer] | type[NativeServer]":
    if settings.grpc_transport == "grpcio":
        return GrpcServer
    from inference.rpc.native_server import NativeServer  # noqa: PLC0415  # its package is an extra

    return NativeServer


def secret_text(value: SecretStr | None) -> str | None:
    """Return what a secret setting hides."""
    return value.get_secret_value() if value is not None else None


def _slots(settings: Settings) -> list[Slot]:
    uris = [LOCAL] if settings.model_source == "local" else settings.configured_uris
    return [slot_of(uri) for uri in uris]


def _certificates(settings: Settings) -> Certificates | None:
    cert_file, key_file = settings.grpc_tls_cert_file, settings.grpc_tls_key_file
    if cert_file is None or key_file is None:
        return None
    return Certificates(cert_file, key_file, settings.grpc_tls_client_ca_file)


def stage_of(settings: Settings, catalog: Catalog, metrics: Metrics) -> Stage:
    """Make the stage of the slots of `catalog`."""

    def load(bundle: Bundle) -> Predictor:
        return load_predictor(bundle, allow_pickle=settings.model_allow_pickle)

    return Stage(
        catalog,
        Loading(load, check_golden_rows, settings.model_min_accuracy),
        metrics,
        drain_seconds=settings.shutdown_grace_seconds,
    )
