"""The registry as the relay sees it: which versions the aliases name, over MLflow's REST API."""

from typing import Any, Final

from inference.artifacts.http_client import HttpClient, RefusalError
from inference.artifacts.repository import Credentials
from inference.errors import InferenceError
from rollout.errors import InfrastructureError
from rollout.webhook_relay.settings import LinkSettings

__all__ = ["Aliases"]

_API: Final = "api/2.0/mlflow/registered-models"
_PAGE: Final = "200"
#: One request of the REST API; the client itself repeats it twice.
_REQUEST_SECONDS: Final = 40.0
#: MLflow keeps prompts as registered models with this tag; they are nothing to roll out.
_PROMPT_TAG: Final = "mlflow.prompt.is_prompt"


class _Connection(HttpClient):
    """The client of the servers, which keep theirs to the end; a relay of a test ends before its process."""

    def close(self) -> None:
        """Close what is open."""
        self._client.close()


class Aliases:
    """The aliases of the MLflow server that the settings name. Methods raise `InfrastructureError`."""

    def __init__(self, settings: LinkSettings) -> None:
        password, token = settings.mlflow_tracking_password, settings.mlflow_tracking_token
        credentials = Credentials(
            settings.mlflow_tracking_username or "",
            password.get_secret_value() if password else "",
            token.get_secret_value() if token else "",
        )
        self._client = _Connection(settings.mlflow_tracking_uri, credentials, _REQUEST_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def of(self, name: str) -> dict[str, str]:
        """Return the aliases of a model with their versions; none when there is no such model."""
        answer = self._ask("get", name=name)
        return _aliases(answer.get("registered_model", {})) if answer else {}

    def naming(self, alias: str, models: tuple[str, ...]) -> dict[str, str]:
        """Return each model whose `alias` names a version, with that version; of `models`, or of all."""
        found = {name: self.of(name) for name in models} if models else self._all()
        return {name: aliases[alias] for name, aliases in found.items() if alias in aliases}

    def _all(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        parameters = {"max_results": _PAGE}
        while True:
            answer = self._ask("search", **parameters) or {}
            found |= {str(model["name"]): _aliases(model) for model in answer.get("registered_models", [])}
            if not answer.get("next_page_token"):
                return found
            parameters["page_token"] = str(answer["next_page_token"])

    def _ask(self, verb: str, **parameters: str) -> dict[str, Any] | None:
        try:
            return self._client.get_json(f"{_API}/{verb}", parameters)
        except RefusalError as error:
            if error.code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise InfrastructureError(
                f"the registry at {self._client.address} refuses {verb}: {error}"
            ) from None
        except InferenceError as error:
            raise InfrastructureError(str(error)) from None


def _aliases(model: dict[str, Any]) -> dict[str, str]:
    tags = {str(tag.get("key")): str(tag.get("value")) for tag in model.get("tags", [])}
    if tags.get(_PROMPT_TAG, "").lower() == "true":
        return {}
    return {str(alias["alias"]): str(alias["version"]) for alias in model.get("aliases", [])}
