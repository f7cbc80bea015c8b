"""Settings of the server: one environment variable a field, with what it means.

Only this module and `inference.__main__` know that there is an environment.
"""

from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from telemetry import LogFormat

__all__ = ["Settings"]

_URI_FORMS = ("models:/", "runs:/")


def _known_uri_form(uri: str) -> str:
    if not uri.startswith(_URI_FORMS):
        raise ValueError("expected models:/name/7, models:/name@alias, models:/name/Stage or runs:/…")
    return uri


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]


class Settings(BaseSettings):
    """What an operator decides; everything else is a constant with its reason beside it."""

    model_config = SettingsConfigDict(
        frozen=True, strict=True, extra="forbid", env_ignore_empty=True, validate_default=True
    )

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
    mlflow_model_name: str = Field("iris", description="Registered model to serve")
    mlflow_model_alias: str = Field("champion", description="Alias that says which version to serve")
    mlflow_model_stage: str | None = Field(
        None, description="Stage that says which version to serve, instead of the alias; deprecated by MLflow"
    )
    mlflow_tracking_uri: str = Field("sqlite:///mlflow.db", description="Registry to read")
    mlflow_tracking_username: str | None = Field(None, description="User name for the registry")
    mlflow_tracking_password: SecretStr | None = Field(None, description="Password for the registry")
    mlflow_tracking_token: SecretStr | None = Field(
        None, description="Bearer token for the registry, instead of user name and password"
    )
    model_cache_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("coalmine")),
        description="Writable directory for fetched bundles; survives restarts",
    )
    model_min_accuracy: float | None = Field(
        None, ge=0, le=1, description="Refuse a model whose metrics.json has less accuracy than this, or none"
    )
    model_allow_pickle: bool = Field(
        False, description="Load models stored as pickle, which runs code that is inside them"
    )
    admin_api_token: SecretStr | None = Field(
        None, description="Token that /admin/* asks for; without it /admin/* answers 403"
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
    grpc_max_connection_age_seconds: int = Field(
        300,
        ge=1,
        le=86400,
        description="Age at which a gRPC connection is closed gracefully, so that clients spread anew",
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

    @field_validator("http_port")
    @classmethod
    def _differs_from_grpc(cls, port: int, info: ValidationInfo) -> int:
        if port != 0 and port == info.data.get("grpc_port"):
            raise ValueError("expected a port other than GRPC_PORT")
        return port

    @property
    def configured_uri(self) -> str:
        """The model URI to serve: the given one, else made of name and stage or alias."""
        if self.model_uri is not None:
            return self.model_uri
        if self.mlflow_model_stage is not None:
            return f"models:/{self.mlflow_model_name}/{self.mlflow_model_stage}"
        return f"models:/{self.mlflow_model_name}@{self.mlflow_model_alias}"
