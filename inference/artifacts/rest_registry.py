"""Read a registry over MLflow's REST API: no MLflow library, a tenth of its start-up time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from inference.artifacts.http_client import HttpClient, RefusalError
from inference.artifacts.library_registry import open_by_library
from inference.artifacts.registry import DIGEST_TAG, ArtifactSource, ModelVersion
from inference.artifacts.repository import Credentials
from inference.errors import BundleError, RegistryError

__all__ = ["RestRegistry"]

_API: Final = "api/2.0/mlflow"
_ARTIFACTS: Final = "api/2.0/mlflow-artifacts/artifacts"
_PAGE: Final = "100"


class RestRegistry:
    """The registry of the MLflow server at `tracking_uri`."""

    def __init__(self, tracking_uri: str, credentials: Credentials, timeout_seconds: float) -> None:
        self._tracking_uri = tracking_uri
        self._client = HttpClient(tracking_uri, credentials, timeout_seconds)

    def version(self, name: str, number: str) -> ModelVersion | None:
        """Look up a version by its number."""
        return _version(self._ask("model-versions/get", name=name, version=number))

    def version_by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Look up the version that an alias points to."""
        return _version(self._ask("registered-models/alias", name=name, alias=alias))

    def versions(self, name: str) -> Iterator[ModelVersion]:
        """List the versions of a model, the highest first."""
        parameters = {
            "filter": f"name='{name.replace(chr(39), chr(39) * 2)}'",
            "order_by": "version_number DESC",
            "max_results": _PAGE,
        }
        while (answer := self._ask("model-versions/search", **parameters)) is not None:
            for fields in answer.get("model_versions", []):
                version = _version({"model_version": fields})
                if version is not None:
                    yield version
            if not answer.get("next_page_token"):
                return
            parameters["page_token"] = answer["next_page_token"]

    def aliases(self, name: str) -> dict[str, str] | None:
        """List the aliases of a model with their versions; None when there is no such model."""
        answer = self._ask("registered-models/get", name=name)
        if answer is None:
            return None
        aliases = answer.get("registered_model", {}).get("aliases", [])
        return {str(alias["alias"]): str(alias["version"]) for alias in aliases}

    def model_names(self) -> list[str]:
        """List the first hundred registered models."""
        answer = self._ask("registered-models/search", max_results=_PAGE) or {}
        return [str(model["name"]) for model in answer.get("registered_models", [])]

    def open_version(self, version: ModelVersion) -> ArtifactSource:
        """Give access to the artifacts of a version."""
        answer = self._ask("model-versions/get-download-uri", name=version.name, version=version.version)
        if answer is None:
            raise RegistryError(f"{version.name} version {version.version} was deleted a moment ago")
        return self._open(str(answer["artifact_uri"]))

    def open_run(self, run_id: str, path: str) -> ArtifactSource | None:
        """Give access to the artifacts of a model that a run logged; None when there is no such run.

        MLflow 3 keeps a logged model beside its run, MLflow 2 within the artifacts of the run.
        """
        answer = self._ask("runs/get", run_id=run_id)
        if answer is None:
            return None
        for output in answer["run"].get("outputs", {}).get("model_outputs", []):
            logged = self._ask(f"logged-models/{quote(output['model_id'])}") or {}
            info = logged.get("model", {}).get("info", {})
            if info.get("name") == path:
                return self._open(str(info["artifact_uri"]))
        return self._open(f"{answer['run']['info']['artifact_uri']}/{path}")

    def run_metrics(self, run_id: str) -> dict[str, float]:
        """Return the last value of each metric of a run; empty when there is no such run."""
        answer = self._ask("runs/get", run_id=run_id) or {}
        metrics = answer.get("run", {}).get("data", {}).get("metrics", [])
        return {str(metric["key"]): float(metric["value"]) for metric in metrics}

    def server_version(self) -> str:
        """Tell the version of MLflow; empty when a proxy hides it."""
        version = self._client.get_text("version")
        return version if len(version) < 40 and "<" not in version else ""

    def _open(self, artifact_uri: str) -> ArtifactSource:
        parts = urlsplit(artifact_uri)
        # With an authority the artifacts are another server's, which these credentials are not for.
        if parts.scheme == "mlflow-artifacts" and not parts.netloc:
            return _ServedArtifacts(self._client, parts.path.strip("/"))
        return open_by_library(artifact_uri, self._tracking_uri)

    def _ask(self, path: str, **parameters: str) -> dict[str, Any] | None:
        try:
            return self._client.get_json(f"{_API}/{path}", parameters)
        except RefusalError as error:
            # An unknown alias is a 400, an unknown name a 404; a name that no model can have is a 400 too.
            if error.code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            sentence = f"the registry at {self._client.address} refuses {path}: {error}"
            raise RegistryError(sentence) from error


class _ServedArtifacts:
    """Artifacts that the tracking server hands out itself."""

    def __init__(self, client: HttpClient, directory: str) -> None:
        self._client = client
        self._directory = directory

    def names(self) -> set[str]:
        """List the files at the top."""
        try:
            answer = self._client.get_json(_ARTIFACTS, {"path": self._directory})
        except RefusalError as error:
            raise RegistryError(f"the artifacts at {self._directory} cannot be listed: {error}") from error
        return {str(file["path"]) for file in answer.get("files", []) if not file.get("is_dir")}

    def download(self, path: str, target: Path, limit_bytes: int) -> None:
        """Write the artifact `path` to the file `target`."""
        try:
            self._client.download(f"{_ARTIFACTS}/{quote(f'{self._directory}/{path}')}", target, limit_bytes)
        except RefusalError as error:
            raise BundleError(self._directory, f"{path} cannot be downloaded: {error}") from error


def _version(answer: dict[str, Any] | None) -> ModelVersion | None:
    if answer is None:
        return None
    fields = answer["model_version"]
    tags = {tag["key"]: tag.get("value", "") for tag in fields.get("tags", [])}
    return ModelVersion(
        name=str(fields["name"]),
        version=str(fields["version"]),
        digest=str(tags.get(DIGEST_TAG, "")),
        stage=str(fields.get("current_stage") or "None"),
        status=str(fields.get("status") or "READY"),
        run_id=str(fields.get("run_id") or ""),
    )
