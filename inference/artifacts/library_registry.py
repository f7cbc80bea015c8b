"""Read a registry through the MLflow library: for SQLite and every other store without a server.

MLflow is imported here only, in functions, and this module is used by the fetching process only: the import
costs seconds and 160 MB that the serving process shall not spend.
"""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from inference.artifacts.address import identify
from inference.artifacts.registry import DIGEST_TAG, ArtifactSource, ModelVersion
from inference.errors import BundleError, InferenceError, RegistryError, RegistryUnavailableError

__all__ = ["LibraryRegistry", "open_by_library"]

_MISSING: Final = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_PAGE: Final = 100
_CACHE_TROUBLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class LibraryRegistry:
    """The registry at `tracking_uri`, a URI that the MLflow library understands."""

    def __init__(self, tracking_uri: str) -> None:
        self._tracking_uri = tracking_uri
        self._address = identify(tracking_uri)
        self._mlflow = _import_mlflow(f"the registry {self._address}", tracking_uri)
        with self._failures():
            self._client = self._mlflow.MlflowClient(tracking_uri, tracking_uri)

    def version(self, name: str, number: str) -> ModelVersion | None:
        """Look up a version by its number."""
        with self._failures():
            return _version(_ask(self._client.get_model_version, name, number))

    def version_by_alias(self, name: str, alias: str) -> ModelVersion | None:
        """Look up the version that an alias points to."""
        with self._failures():
            return _version(_ask(self._client.get_model_version_by_alias, name, alias))

    def versions(self, name: str) -> Iterator[ModelVersion]:
        """List the versions of a model, the highest first."""
        token = None
        quoted = name.replace("'", "''")
        while True:
            with self._failures():
                page = self._client.search_model_versions(
                    f"name='{quoted}'", _PAGE, ["version_number DESC"], token
                )
            for entity in page:
                version = _version(entity)
                if version is not None:
                    yield version
            token = page.token
            if not token:
                return

    def aliases(self, name: str) -> dict[str, str] | None:
        """List the aliases of a model with their versions; None when there is no such model."""
        with self._failures():
            model = _ask(self._client.get_registered_model, name)
        return None if model is None else {alias: str(number) for alias, number in model.aliases.items()}

    def model_names(self) -> list[str]:
        """List the first hundred registered models."""
        with self._failures():
            return [str(model.name) for model in self._client.search_registered_models(max_results=_PAGE)]

    def open_version(self, version: ModelVersion) -> ArtifactSource:
        """Give access to the artifacts of a version."""
        with self._failures():
            uri = self._client.get_model_version_download_uri(version.name, version.version)
        return _LibraryArtifacts(self._mlflow, str(uri), self._tracking_uri)

    def open_run(self, run_id: str, path: str) -> ArtifactSource | None:
        """Give access to the artifacts of a model that a run logged; None when there is no such run."""
        with self._failures():
            if _ask(self._client.get_run, run_id) is None:
                return None
        return _LibraryArtifacts(self._mlflow, f"runs:/{run_id}/{path}", self._tracking_uri)

    def run_metrics(self, run_id: str) -> dict[str, float]:
        """Return the last value of each metric of a run; empty when there is no such run."""
        with self._failures():
            run = _ask(self._client.get_run, run_id)
        return {} if run is None else {str(key): float(value) for key, value in run.data.metrics.items()}

    def server_version(self) -> str:
        """Tell the version of the library, which is what reads the registry."""
        return str(self._mlflow.__version__)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        with _failures_of(self._address):
            yield


def open_by_library(artifact_uri: str, tracking_uri: str) -> ArtifactSource:
    """Give access to artifacts in a store that only the MLflow library can read, such as `s3://`."""
    mlflow = _import_mlflow(f"artifacts at {artifact_uri}", tracking_uri)
    return _LibraryArtifacts(mlflow, artifact_uri, tracking_uri)


class _LibraryArtifacts:
    """Artifacts that the MLflow library reads, wherever they are."""

    def __init__(self, mlflow: ModuleType, artifact_uri: str, tracking_uri: str) -> None:
        self._artifacts = mlflow.artifacts
        self._uri = artifact_uri.rstrip("/")
        self._tracking_uri = tracking_uri

    def names(self) -> set[str]:
        """List the files at the top."""
        with _failures_of(self._uri):
            files = self._artifacts.list_artifacts(artifact_uri=self._uri, tracking_uri=self._tracking_uri)
        # The paths start with the name of the directory or not, depending on the store.
        return {str(file.path).rsplit("/", 1)[-1] for file in files if not file.is_dir}

    def download(self, path: str, target: Path, limit_bytes: int) -> None:
        """Write the artifact `path` to the file `target`."""
        aside = target.with_name(f"{target.name}.download")
        aside.mkdir()
        try:
            with _failures_of(self._uri):
                found = self._artifacts.download_artifacts(
                    artifact_uri=f"{self._uri}/{path}", dst_path=str(aside), tracking_uri=self._tracking_uri
                )
            size = Path(found).stat().st_size
            if size > limit_bytes:
                raise BundleError(self._uri, f"{path} has {size} bytes and {limit_bytes} are expected")
            # A store may hand out the original instead of a copy, which must stay where it is.
            (shutil.move if Path(found).is_relative_to(aside) else shutil.copyfile)(found, target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _import_mlflow(purpose: str, tracking_uri: str) -> ModuleType:
    try:
        import mlflow  # noqa: PLC0415 (see the docstring of the module)
        import mlflow.artifacts  # noqa: PLC0415
    except ImportError as error:
        sentence = (
            f"{purpose} can only be read by the MLflow library, which cannot be imported ({error}); "
            "install the extra `training`, or use an MLflow server that serves its artifacts"
        )
        raise RegistryError(sentence) from error
    # For the whole process as well: the library does not hand a `tracking_uri` of a call through everywhere,
    # and would make a `mlflow.db` in the working directory to ask that instead.
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    module: ModuleType = mlflow
    return module


@contextmanager
def _failures_of(address: str) -> Iterator[None]:
    """Turn what the library raises (its own errors, SQLAlchemy's, those of clouds) into one of ours."""
    try:
        yield
    except InferenceError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _CACHE_TROUBLE:
            raise  # it was writing into the cache, which has a better sentence
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RegistryUnavailableError(address, lines[0]) from error


def _ask(question: Any, *arguments: str) -> Any:  # noqa: ANN401 (the library has no types)
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 (see the docstring of the module)

    try:
        return question(*arguments)
    except MlflowException as error:
        if error.error_code in _MISSING:
            return None
        raise


def _version(entity: Any) -> ModelVersion | None:  # noqa: ANN401 (the library has no types)
    if entity is None:
        return None
    return ModelVersion(
        name=str(entity.name),
        version=str(entity.version),
        digest=str(entity.tags.get(DIGEST_TAG, "")),
        stage=str(entity.current_stage or "None"),
        status=str(entity.status or "READY"),
        run_id=str(entity.run_id or ""),
    )
