"""Settings of the server: one environment variable a field, with what it means.

Nothing else of the server takes a decision from the environment. Who touches it beside this module and
`inference.__main__`: `workers.process` hands it to OpenTelemetry, whose variables are its own; `workers.child`,
`artifacts.child` and `artifacts.fetch` make that of a child process; and `conform`, another program, reads the
variables that its command line names.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from inference.errors import ModelNotFoundError
from telemetry import LogFormat

__all__ = ["Settings"]

#: Long enough that connections cost nothing, short enough that a new replica gets its share within minutes.
_CONNECTION_AGE_SECONDS = 300


def _sendable(token: SecretStr) -> SecretStr:
    """Refuse a token that no header carries as it is, such as one read from a file with the end of its line."""
    text = token.get_secret_value()
    if not text or not all("!" <= character <= "~" for character in text):
        raise ValueError("expected printable ASCII characters without blanks or line ends")
    return token


def _registry_address(uri: str) -> str:
    """Refuse an address that could not be read back without its password."""
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        raise ValueError(
            "its host or port cannot be read; quote special characters of a password (%2F)"
        ) from None
    if parts.scheme in ("http", "https") and (not parts.hostname or "@" in parts.path):
        raise ValueError("its host cannot be read; quote special characters of a password (%2F)")
    return uri


def _known_uri_form(uri: str) -> str:
    from inference.artifacts import parse_model_uri  # noqa: PLC0415  # --help needs no runtime of models

    try:
        parse_model_uri(uri)
    except ModelNotFoundError as error:
        raise ValueError(f"{error.reason}; {error.existing}") from None
    return uri


def _is_loopback(host: str) -> bool:
    import ipaddress  # noqa: PLC0415  # for the native transport alone

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _user_cache_dir() -> Path:
    import platformdirs  # noqa: PLC0415  # for who sets no directory

    return Path(platformdirs.user_cache_dir("coalmine"))


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]


class Settings(BaseModel):  # and no BaseSettings: importing pydantic-settings takes a tenth of a start
    """What an operator decides; everything else is a constant with its reason beside it."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_default=True)

    model_source: Literal["mlflow", "local"] = Field(
        "mlflow", description="Where the model comes from: `mlflow` (a registry) or `local` (a directory)"
    )
    model_path: Path | None = Field(
        None, description="Directory of the bundle; needed when MODEL_SOURCE is `local`"
    )
    model_uri: Annotated[str, AfterValidator(_known_uri_form)] | None = Field(
        None,
        description="Model to serve: models:/name/7, models:/name@alias, models:/name/Stage or runs:/…; "
        "wins over the next three",
    )
    model_uris: tuple[str, ...] = Field(
        (),
        description="More models to serve beside that one, or the first of them instead of it, separated by "
        "commas; requests choose by name and version, and of several versions of one name the champion answers",
    )
    model_auto_refresh_seconds: Seconds = Field(
        0.0, description="About how often to look whether a model URI leads elsewhere by now; 0 means never"
    )
    shadow_model_uri: Annotated[str, AfterValidator(_known_uri_form)] | None = Field(
        None,
        description="Model that scores a share of the requests beside the default model, off the path of the "
        "answers, and is only compared with it",
    )
    shadow_sample_rate: float = Field(
        0.1, ge=0, le=1, description="Share of requests that the shadow model scores too, 0 to 1"
    )
    mlflow_model_name: str = Field("iris", description="Registered model to serve")
    mlflow_model_alias: str = Field("champion", description="Alias that says which version to serve")
    mlflow_model_stage: str | None = Field(
        None, description="Stage that says which version to serve, instead of the alias; deprecated by MLflow"
    )
    mlflow_tracking_uri: Annotated[str, AfterValidator(_registry_address)] = Field(
        "sqlite:///mlflow.db", description="Registry to read"
    )
    mlflow_tracking_username: str | None = Field(None, description="User name for the registry")
    mlflow_tracking_password: SecretStr | None = Field(None, description="Password for the registry")
    mlflow_tracking_token: SecretStr | None = Field(
        None, description="Bearer token for the registry, instead of user name and password"
    )
    model_cache_dir: Path = Field(
        default_factory=_user_cache_dir,
        validate_default=False,  # among texts from the environment only a text could be a path
        description="Writable directory for fetched bundles; survives restarts",
    )
    model_cache_max_bytes: int = Field(
        10 * 1024**3,
        ge=1024**2,
        description="Most bytes of fetched bundles to keep; the longest unused ones go first",
    )
    model_trial_seconds: float = Field(
        60.0,
        gt=0,
        le=3600,
        allow_inf_nan=False,
        description="How long a child process may take to try a new bundle before it is refused",
    )
    model_trial_memory_bytes: int = Field(
        2 * 1024**3,
        ge=256 * 1024**2,
        description="Memory that a child process may need to try or compile a new bundle",
    )
    model_signature_public_key_file: Path | None = Field(
        None,
        description="PEM file with an elliptic-curve public key (P-256, P-384 or P-521); only bundles whose "
        "model.sig it verifies are served, which needs the extra `signing`",
    )
    model_min_accuracy: float | None = Field(
        None, ge=0, le=1, description="Refuse a model whose metrics.json has less accuracy than this, or none"
    )
    model_allow_pickle: bool = Field(
        False, description="Load models stored as pickle, which runs code that is inside them"
    )
    admin_api_token: Annotated[SecretStr, AfterValidator(_sendable)] | None = Field(
        None, description="Token that /admin/* asks for; without it /admin/* answers 403"
    )
    admin_host: str | None = Field(
        None, description="Address on which /admin/* is answered, on ADMIN_PORT and not on HTTP_PORT any more"
    )
    admin_port: Port = Field(
        8001, description="Port of /admin/* when ADMIN_HOST is set; 0: the system chooses"
    )
    predict_api_token: Annotated[SecretStr, AfterValidator(_sendable)] | None = Field(
        None,
        description="Bearer token that predictions and model descriptions ask for; none: anybody may ask",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Lowest level that is logged"
    )
    log_format: LogFormat = Field("json", description="`json`, one object a line, or `console`, for people")
    prediction_log_sample_rate: float = Field(
        1.0, ge=0, le=1, description="Share of requests whose prediction event is logged, 0 to 1"
    )
    grpc_host: str = Field("0.0.0.0", description="Address on which gRPC listens")  # noqa: S104  # it is a service
    grpc_port: Port = Field(50051, description="Port of gRPC; 0 lets the system choose")
    grpc_transport: Literal["grpcio", "native"] = Field(
        "grpcio", description="What carries gRPC: `grpcio`, or `native` (extra `native`), faster and younger"
    )
    grpc_tls_cert_file: Path | None = Field(
        None,
        description="PEM file with the certificate chain of gRPC; new files are taken up without restart",
    )
    grpc_tls_key_file: Path | None = Field(
        None, description="PEM file with the private key of that certificate"
    )
    grpc_tls_client_ca_file: Path | None = Field(
        None, description="PEM file with the authorities whose client certificates are asked for (mTLS)"
    )
    server_workers: int = Field(
        1,
        ge=1,
        le=256,
        description="Processes that share the gRPC port, each pinned to a core when more than one",
    )
    http_host: str = Field("0.0.0.0", description="Address on which HTTP listens")  # noqa: S104  # it is a service
    http_port: Port = Field(8000, description="Port of the HTTP gateway; 0 lets the system choose")
    grpc_max_message_bytes: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        le=2**31 - 1,
        description="Largest gRPC message, in and out, and largest HTTP request body",
    )
    max_rows_per_request: int = Field(65536, ge=1, description="Most rows that one request may have")
    max_concurrent_requests: int = Field(
        256, ge=1, description="Most requests that may wait or run at one time; more are refused at once"
    )
    drain_delay_seconds: Seconds = Field(
        5.0, description="How long the server answers on after SIGTERM, while health says NOT_SERVING"
    )
    shutdown_grace_seconds: Seconds = Field(
        30.0, description="How long requests in flight may take to end after that delay"
    )
    grpc_max_connection_age_seconds: Annotated[int, Field(ge=1, le=86400)] | None = Field(
        None,
        description="Age at which a gRPC connection is closed gracefully, so that clients spread anew; "
        "none: 300, and never when GRPC_TRANSPORT is `native`",
    )
    grpc_native_trust_peers: bool = Field(
        False,
        description="Let GRPC_TRANSPORT `native` listen beyond this machine, where whoever reaches it can end the "
        "process with one message",
    )
    deployment_track: Literal["stable", "canary"] = Field(
        "stable", description="Label on metrics, events and answers"
    )

    # Checks across fields stand on one of them (the later one), so that they are listed with all the others.

    @field_validator("model_path")
    @classmethod
    def _needed_when_local(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None and info.data.get("model_source") == "local":
            raise ValueError("MODEL_SOURCE is `local`, which needs a directory here")
        return path

    @field_validator("mlflow_tracking_password")
    @classmethod
    def _goes_with_username(cls, password: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if password is not None and info.data.get("mlflow_tracking_username") is None:
            raise ValueError("a password needs MLFLOW_TRACKING_USERNAME")
        return password

    @field_validator("model_uris", mode="before")
    @classmethod
    def _split(cls, uris: object) -> object:
        return tuple(filter(None, map(str.strip, uris.split(",")))) if isinstance(uris, str) else uris

    @field_validator("model_uris")
    @classmethod
    def _known_and_different(cls, uris: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for uri in uris:
            _known_uri_form(uri)
        if len({*uris}) < len(uris):
            raise ValueError("expected each model URI once")
        if uris and info.data.get("model_source") == "local":
            raise ValueError("MODEL_SOURCE is `local`, which has one model")
        return uris

    @field_validator("shadow_model_uri")
    @classmethod
    def _needs_registry(cls, uri: str | None, info: ValidationInfo) -> str | None:
        if uri is not None and info.data.get("model_source") == "local":
            raise ValueError("MODEL_SOURCE is `local`, which has one model")
        return uri

    @field_validator("grpc_tls_cert_file")
    @classmethod
    def _needs_grpcio(cls, certificate: Path | None, info: ValidationInfo) -> Path | None:
        if certificate is not None and info.data.get("grpc_transport") == "native":
            raise ValueError("GRPC_TRANSPORT is `native`, which has no TLS; use `grpcio`")
        return certificate

    @field_validator("server_workers")
    @classmethod
    def _goes_without_shadow(cls, workers: int, info: ValidationInfo) -> int:
        if workers > 1 and info.data.get("shadow_model_uri") is not None:
            raise ValueError("SHADOW_MODEL_URI is set, which one process alone can serve; expected 1")
        return workers

    @field_validator("grpc_tls_key_file")
    @classmethod
    def _goes_with_certificate(cls, key: Path | None, info: ValidationInfo) -> Path | None:
        if (key is None) != (info.data.get("grpc_tls_cert_file") is None):
            raise ValueError("GRPC_TLS_CERT_FILE and GRPC_TLS_KEY_FILE need each other")
        return key

    @field_validator("grpc_tls_client_ca_file")
    @classmethod
    def _needs_certificate(cls, authorities: Path | None, info: ValidationInfo) -> Path | None:
        if authorities is not None and info.data.get("grpc_tls_cert_file") is None:
            raise ValueError("client certificates need GRPC_TLS_CERT_FILE and GRPC_TLS_KEY_FILE")
        return authorities

    @field_validator("grpc_transport")
    @classmethod
    def _needs_extra(cls, transport: str) -> str:
        if transport == "native" and find_spec("pygrpc_native") is None:
            raise ValueError("`native` needs the extra `native` (PyPI pygrpc-native), which is not installed")
        return transport

    @field_validator("grpc_max_connection_age_seconds")
    @classmethod
    def _has_ages(cls, seconds: int | None, info: ValidationInfo) -> int | None:
        if seconds is not None and info.data.get("grpc_transport") == "native":
            raise ValueError(
                "GRPC_TRANSPORT is `native`, which cannot close connections by age; unset one of them"
            )
        return seconds

    @field_validator("grpc_native_trust_peers")
    @classmethod
    def _needed_beyond_loopback(cls, trust: bool, info: ValidationInfo) -> bool:
        host = info.data.get("grpc_host", "localhost")
        if info.data.get("grpc_transport") == "native" and not trust and not _is_loopback(host):
            raise ValueError(
                f"whoever reaches a `native` server can end it with one message, and GRPC_HOST is {host}; listen on "
                "127.0.0.1, or say true here if you trust everybody who can connect (docs/serving.md)"
            )
        return trust

    @field_validator("http_port")
    @classmethod
    def _differs_from_others(cls, port: int, info: ValidationInfo) -> int:
        if port != 0 and port == info.data.get("grpc_port"):
            raise ValueError("expected a port other than GRPC_PORT")
        if port != 0 and info.data.get("admin_host") and port == info.data.get("admin_port"):
            raise ValueError("expected a port other than ADMIN_PORT")
        return port

    @property
    def connection_age_seconds(self) -> int:
        """The age of gRPC connections: the given one, else the default."""
        return self.grpc_max_connection_age_seconds or _CONNECTION_AGE_SECONDS

    @property
    def configured_uris(self) -> tuple[str, ...]:
        """The model URIs to serve, the default model first."""
        if self.model_uri is None and self.model_uris:
            return self.model_uris
        return tuple(dict.fromkeys((self.configured_uri, *self.model_uris)))

    @property
    def configured_uri(self) -> str:
        """The model URI to serve: the given one, else made of name and stage or alias."""
        if self.model_uri is not None:
            return self.model_uri
        if self.mlflow_model_stage is not None:
            return f"models:/{self.mlflow_model_name}/{self.mlflow_model_stage}"
        return f"models:/{self.mlflow_model_name}@{self.mlflow_model_alias}"
