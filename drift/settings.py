"""The settings of the drift monitor, read from the environment once, at start."""

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from drift.alarm.persistence import RUNS_NEEDED
from drift.data.location import parse_location
from drift.service.history import DEFAULT_MAX_AGE_DAYS, DEFAULT_MAX_RUNS
from drift.settings_conflicts import conflicts
from drift.statistics.choice import Methods
from telemetry import LogFormat

__all__ = ["Settings"]


def _readable(location: str) -> str:
    parse_location(location)
    return location


def _methods(text: str) -> str:
    Methods.parse(text)
    return text


def _http_address(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an address such as https://host:2746")
    return address


HttpAddress = Annotated[str, AfterValidator(_http_address)]
KubernetesName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)
]
Location = Annotated[str, StringConstraints(min_length=1), AfterValidator(_readable)]


def _problem(sentence: str) -> InitErrorDetails:
    # A `ValueError` could name one only.
    return {"type": PydanticCustomError("conflict", "{sentence}", {"sentence": sentence}), "input": None}


class Settings(BaseSettings):
    """One field a variable; the variable is the field's name in capitals. Empty variables count as unset."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True)

    reference_dataset_uri: Location = Field(
        description="Path, file://, s3://, gs:// or az:// URI of the reference, CSV (also .gz) or Parquet: columns "
        "feature_0..N and prediction, perhaps target and confidence. It is read again when it changes."
    )
    current_dataset_uri: Location | None = Field(
        default=None,
        description="Where current rows come from, unless LOKI_BASE_URL is set: a dataset like the reference, or on "
        "a disk the JSON log of the inference service, or a directory of such logs (*.log).",
    )
    loki_base_url: HttpAddress | None = Field(
        default=None,
        validate_default=True,
        description="Base URL of Loki, such as http://loki:3100: current rows are read from it.",
    )
    loki_query: str = Field(
        default='{app="ml-inference"} |= "prediction"',
        description="LogQL query that finds the lines with prediction events; other lines in it are skipped.",
    )
    loki_range_minutes: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="Only events of the last so many minutes count, in Loki.",
    )
    loki_tenant_id: str | None = Field(default=None, description="Sent as X-Scope-OrgID.")
    loki_username: str | None = Field(
        default=None, description="For basic authentication, with LOKI_PASSWORD."
    )
    loki_password: SecretStr | None = Field(default=None, description="For basic authentication.")
    loki_token: SecretStr | None = Field(
        default=None, description="Bearer token, instead of name and password."
    )
    labels_uri: Location | None = Field(
        default=None,
        description="Labels that arrive late, CSV or Parquet with event_id and label (perhaps part and row): joined "
        "with the rows of the window they give the realised accuracy and the drift of the targets.",
    )
    current_range_minutes: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="Only events of the last so many minutes count. A CSV has no times: all of it counts.",
    )
    current_model: str | None = Field(
        default=None, description="Only events of this model count; unset means all."
    )
    current_version: str | None = Field(
        default=None, description="Only events of this model version count; unset means all."
    )
    current_track: Literal["stable", "canary"] | None = Field(
        default=None, description="Only events of this deployment track count; unset means all tracks."
    )
    drift_evaluation_interval_seconds: float = Field(
        default=300.0,
        gt=0,
        le=86400,
        allow_inf_nan=False,
        description="Time from one scheduled evaluation to the next.",
    )
    drift_min_rows: int = Field(
        default=50, ge=2, description="With fewer current rows there is no verdict: insufficient data."
    )
    drift_max_rows: int = Field(
        default=50_000,
        ge=2,
        description="Beyond this many rows, in current or reference, an unbiased random sample is evaluated.",
    )
    drift_methods: Annotated[str, AfterValidator(_methods)] = Field(
        default="",
        description="Methods other than Evidently's defaults, such as feature_3=psi:0.2,prediction=ks (a column, its "
        "method, perhaps a threshold).",
    )
    drift_alarm_runs: int = Field(
        default=RUNS_NEEDED,
        ge=1,
        le=100,
        description="The alarm is raised once its test spoke in so many evaluations in a row, and ends likewise.",
    )
    drift_state_dir: Path | None = Field(
        default=None,
        description="Directory for the history of evaluations, how often the alarm's test spoke in a row, and the time "
        "of the last action; unset: they are forgotten at the end of the process.",
    )
    drift_history_max_runs: int = Field(
        default=DEFAULT_MAX_RUNS, ge=1, description="The history keeps so many evaluations."
    )
    drift_history_max_days: float = Field(
        default=DEFAULT_MAX_AGE_DAYS,
        gt=0,
        allow_inf_nan=False,
        description="The history keeps evaluations for so many days.",
    )
    drift_action_webhook_url: HttpAddress | None = Field(
        default=None,
        description="Called by POST while an alarm lasts: JSON with model, scopes, p-values and the features that "
        "spoke.",
    )
    drift_action_webhook_secret: SecretStr | None = Field(
        default=None, description="Signs these calls: HMAC-SHA256 in `webhook-signature` (Standard Webhooks)."
    )
    drift_action_argo_url: HttpAddress | None = Field(
        default=None,
        description="Base URL of an Argo Server at which a WorkflowTemplate is submitted instead.",
    )
    drift_action_argo_namespace: KubernetesName = Field(
        default="default", description="Namespace of the WorkflowTemplate."
    )
    drift_action_argo_template: KubernetesName | None = Field(
        default=None, description="Name of the WorkflowTemplate."
    )
    drift_action_argo_token: SecretStr | None = Field(
        default=None, description="Bearer token for the Argo Server."
    )
    drift_action_argo_token_file: Path | None = Field(
        default=None, description="File with that token, read anew for each call, as Kubernetes renews it."
    )
    drift_action_cooldown_seconds: float = Field(
        default=86_400.0,
        ge=0,
        allow_inf_nan=False,
        description="Time from one action that was taken to the next, a day unless set.",
    )
    host: str = Field(default="0.0.0.0", description="Address that the HTTP port is bound on.")  # noqa: S104
    port: int = Field(default=9000, ge=0, le=65535, description="HTTP port; 0 lets the system choose one.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="Log lines below this level are dropped."
    )
    log_format: LogFormat = Field(
        default="json", description="`json`: one object a line; `console`: text for people."
    )

    @field_validator("loki_base_url")
    @classmethod
    def _has_a_source(cls, loki: str | None, info: ValidationInfo) -> str | None:
        # A location that is wrong is not among the data: that is said already.
        if loki is None and info.data.get("current_dataset_uri", "wrong") is None:
            raise ValueError(
                "nothing says where current rows come from: set CURRENT_DATASET_URI or LOKI_BASE_URL"
            )
        return loki

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        given = {
            name.upper(): value
            for name in self.model_fields_set
            if (value := getattr(self, name)) is not None
        }
        problems = list(conflicts(given))
        if self.drift_min_rows > self.drift_max_rows:
            problems.append(
                f"DRIFT_MIN_ROWS ({self.drift_min_rows}) is above DRIFT_MAX_ROWS ({self.drift_max_rows}), "
                "so that no window could ever be evaluated; raise the second or lower the first"
            )
        if problems:
            raise ValidationError.from_exception_data(
                "Settings", [_problem(sentence) for sentence in problems]
            )
        return self
