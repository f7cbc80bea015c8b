"""Which registered model a command means when it is not told by `--name`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from training.configuration.config import DEFAULT_CONFIG_FILE, load_config
from training.errors import ConfigError

if TYPE_CHECKING:
    from training.registering.alias_moves import AliasMover

__all__ = ["NAME_HELP", "model_named"]

NAME_HELP: Final = (
    f"registered model (default: MLFLOW_MODEL_NAME, else the model of {DEFAULT_CONFIG_FILE} in the working "
    "directory, else the only one of the registry)"
)
#: The model that a training without any configuration registers.
_DEFAULT_MODEL: Final = "iris"


def model_named(given: str | None, mover: "AliasMover", *, moves: bool) -> str:
    """Return `given`, else what the environment or `coalmine.toml` names, else the registry's only model.

    With `moves`, raises `ConfigError` where the registry holds several and nothing names one: nobody guesses
    whose aliases move. Raises `ConfigError` for a wrong `coalmine.toml` too, and `RegistryError`.
    """
    named = given or os.environ.get("MLFLOW_MODEL_NAME") or _configured_name()
    if named:
        return named
    names = mover.names()
    if moves and len(names) > 1:
        remedy = f"say which, or set MLFLOW_MODEL_NAME or [model] name in {DEFAULT_CONFIG_FILE}"
        raise ConfigError([f"--name: the registry holds {', '.join(names)}; {remedy}"])
    return names[0] if len(names) == 1 else _DEFAULT_MODEL


def _configured_name() -> str | None:
    return load_config(None).model_name if Path(DEFAULT_CONFIG_FILE).is_file() else None
