"""The last step of a registration: one version and not two, whatever happens to the answer on its way.

MLflow makes another version each time it is asked, and its client asks again when an answer is lost.
"""

from collections.abc import Mapping
from typing import Final

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from training.errors import RegistryError
from training.registering.calls import ALREADY_EXISTS, ONCE, Calls

__all__ = ["create_version", "ensure_model"]

#: A version is asked for so often; before each time but the first we look whether it came about.
_TRIES: Final = 3
#: MLflow's words for what no second try changes.
_FINAL_REFUSALS: Final = (
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_DOES_NOT_EXIST",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
)


def create_version(
    calls: Calls, client: MlflowClient, name: str, *, model_id: str, run_id: str, tags: Mapping[str, str]
) -> int:
    """Register the logged model `model_id` as the next version of `name`, and return its number.

    Raises `RegistryError`.
    """
    source = f"models:/{model_id}"

    def create() -> ModelVersion:
        with calls.errors(ONCE):
            return client.create_model_version(name, source, run_id, tags=dict(tags), model_id=model_id)

    for tried in range(1, _TRIES + 1):
        try:
            return int(calls.ask(create).version)
        except RegistryError as error:
            made = _versions_of(calls, client, name, run_id)
            if made:
                return made[0]
            if tried == _TRIES or error.code in _FINAL_REFUSALS:
                raise
    raise AssertionError("the last try returned or raised")


def _versions_of(calls: Calls, client: MlflowClient, name: str, run_id: str) -> list[int]:
    """Ask with patience, so that a registry that comes back has the time to."""
    found = calls.ask(lambda: client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'"))
    return sorted(int(version.version) for version in found)


def ensure_model(calls: Calls, client: MlflowClient, name: str) -> None:
    """Make the registered model `name` when there is none yet. Raises `RegistryError`."""
    try:
        calls.ask(lambda: client.create_registered_model(name))
    except RegistryError as error:
        if error.code != ALREADY_EXISTS:
            raise
