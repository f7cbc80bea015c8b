"""Where the registry is, for every command that uses one, and how MLflow shall behave in our processes."""

import os
from collections.abc import Mapping
from typing import Final

__all__ = ["DEFAULT_TRACKING_URI", "prepare_mlflow", "tracking_uri_of"]

#: Where versions go when MLFLOW_TRACKING_URI is not set; MLflow keeps their files in ./mlruns beside it.
DEFAULT_TRACKING_URI: Final = "sqlite:///mlflow.db"

#: MLflow reads these when it is imported; a user's own values win.
_MLFLOW_DEFAULTS: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # What it logs as an error, traceback included, reaches us as an exception and becomes a sentence.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


def prepare_mlflow() -> None:
    """Set what MLflow reads from the environment; call it before MLflow is imported."""
    for name, value in _MLFLOW_DEFAULTS.items():
        os.environ.setdefault(name, value)


def tracking_uri_of(environment: Mapping[str, str]) -> str:
    """Return the address of the registry that the environment names, or the default one."""
    return environment.get("MLFLOW_TRACKING_URI") or DEFAULT_TRACKING_URI
