"""The settings of the drift monitor, read from the environment once, at start."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from drift.location import local_path
from telemetry import LogFormat

__all__ = ["Settings"]


def _readable(location: str) -> str:
    local_path(location)
    return location


Location = Annotated[str, StringConstraints(min_length=1), AfterValidator(_readable)]


class Settings(BaseSettings):
    """One field a variable; the variable is the field's name in capitals. Empty variables count as unset."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True)

    reference_dataset_uri: Location = Field(
        description="Path or file:// URI of the reference CSV: columns feature_0..N, prediction, target."
    )
    current_dataset_uri: Location = Field(
        description="Path or file:// URI of what is compared with the reference: a file ending in .csv with "
        "the same columns, or a prediction log, or a directory whose *.log files are prediction logs."
    )
    current_range_minutes: float = Field(
        default=60.0,
        gt=0,
        allow_inf_nan=False,
        description="Only events of the last so many minutes count. A CSV has no times: all of it counts.",
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
    host: str = Field(default="0.0.0.0", description="Address that the HTTP port is bound on.")  # noqa: S104
    port: int = Field(default=9000, ge=0, le=65535, description="HTTP port; 0 lets the system choose one.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        default="INFO", description="Log lines below this level are dropped."
    )
    log_format: LogFormat = Field(
        default="json", description="`json`: one object a line; `console`: text for people."
    )

    @model_validator(mode="after")
    def _limits_leave_room(self) -> "Settings":
        if self.drift_min_rows > self.drift_max_rows:
            raise ValueError(
                f"DRIFT_MIN_ROWS ({self.drift_min_rows}) is above DRIFT_MAX_ROWS ({self.drift_max_rows}), "
                "so that no window could ever be evaluated; raise the second or lower the first"
            )
        return self
