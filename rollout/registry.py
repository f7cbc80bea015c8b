"""The registry as a rollout sees it: versions to roll out, and the alias that says which one is champion."""

import os
import warnings
from dataclasses import dataclass
from typing import Final, Protocol

import training.errors
from inference.artifacts.model_uri import ModelUri, UriKind, parse_model_uri
from inference.errors import ModelNotFoundError
from rollout.errors import AliasConflictError, InfrastructureError, RolloutError, UsageError
from training.registering.alias_name import CHAMPION

__all__ = ["MlflowRegistry", "ModelVersion", "Registry"]

_FORMS: Final = "models:/NAME/VERSION, models:/NAME@ALIAS or models:/NAME/latest (stages resolve too)"


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One immutable version of a registered model."""

    name: str
    version: str

    @property
    def uri(self) -> str:
        """The immutable URI."""
        return f"models:/{self.name}/{self.version}"


class Registry(Protocol):
    """What a rollout asks of the registry."""

    def resolve(self, model_uri: str) -> ModelVersion:
        """Find the version that a URI names. Raises `UsageError` when there is none."""

    def champion(self, name: str) -> str | None:
        """Return the version that is champion, or None."""

    def promote(self, version: ModelVersion, *, expected: str | None, why: str) -> None:
        """Move `champion` to `version` if it still is at `expected`, and `previous` to where it was.

        Calling it again after it succeeded changes nothing. `why` is kept in the model's history.
        """


class MlflowRegistry:
    """An MLflow registry: `tracking_uri` is SQLite or a tracking server."""

    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri
        _refuse_missing_file(tracking_uri)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # A registry that is down must be noticed in seconds; MLflow's own default is minutes of retries.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        with warnings.catch_warnings():
            # What libraries deprecate among themselves is no error of a command, whatever PYTHONWARNINGS says.
            warnings.simplefilter("ignore")
            import mlflow  # noqa: PLC0415  # takes seconds; only commands that use the registry pay
            from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415  # the same

            from training.registering.alias_moves import AliasMover  # noqa: PLC0415  # it takes MLflow with it

            self._error: type[Exception] = mlflow.exceptions.MlflowException
            try:
                self._client = mlflow.MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
            except (self._error, SQLAlchemyError) as error:
                raise self._unreachable(error) from None
            self._mover = AliasMover(tracking_uri, self._client)

    def resolve(self, model_uri: str) -> ModelVersion:
        """Find the version that a URI names. Raises `UsageError` or `InfrastructureError`."""
        uri = _parse(model_uri)
        try:
            found = self._find(uri)
        except (self._error, ValueError) as error:
            raise self._explain(model_uri, uri.name, error) from None
        return ModelVersion(uri.name, str(found))

    def _find(self, uri: ModelUri) -> str:
        """Raise `ValueError` when nothing fits, or what MLflow raises."""
        if uri.kind is UriKind.ALIAS:
            return str(self._client.get_model_version_by_alias(uri.name, uri.selector).version)
        if uri.kind is UriKind.VERSION:
            return str(self._client.get_model_version(uri.name, uri.selector).version)
        found = self._client.search_model_versions(f"name = '{uri.name}'")
        in_stage = [v for v in found if uri.kind is UriKind.LATEST or v.current_stage == uri.selector]
        return max((str(v.version) for v in in_stage), key=int)

    def champion(self, name: str) -> str | None:
        """Return the version that is champion, or None. Raises `InfrastructureError`."""
        return self._alias(name, CHAMPION)

    def promote(self, version: ModelVersion, *, expected: str | None, why: str) -> None:
        """Move the aliases and keep `why`, as `training.registering.alias_moves` does.

        Raises `InfrastructureError`, and `AliasConflictError` when somebody moved `champion`.
        """
        try:
            self._mover.promote(version.name, version.version, expect=expected, why=why)
        except training.errors.AliasConflictError as error:
            raise AliasConflictError(
                f"alias {error.alias} of {version.name} was moved to version {error.found} by somebody else while "
                f"version {version.version} was rolled out ({error.reason}): stable serves {version.version}; "
                "decide which is right and set the alias with `python -m training.aliases move`"
            ) from None
        except training.errors.TrainingError as error:
            raise InfrastructureError(str(error)) from None

    def _alias(self, name: str, alias: str) -> str | None:
        try:
            aliases = self._client.get_registered_model(name).aliases
        except self._error as error:
            raise self._explain(f"models:/{name}@{alias}", name, error) from None
        version = aliases.get(alias)
        return None if version is None else str(version)

    def _versions(self, name: str) -> list[ModelVersion]:
        found = self._client.search_model_versions(f"name = '{name}'")
        return [ModelVersion(version.name, str(version.version)) for version in found]

    def _explain(self, model_uri: str, name: str, error: Exception) -> RolloutError:
        """Turn a refusal into a sentence that says what exists, or say that the registry is out of reach."""
        if getattr(error, "error_code", "") == "INTERNAL_ERROR":  # no answer: asking more only takes longer
            return self._unreachable(error)
        try:
            found = self._client.search_registered_models(max_results=1000)
            models = sorted(model.name for model in found)
            versions = sorted((v.version for v in self._versions(name)), key=int)
            aliases = self._client.get_registered_model(name).aliases if name in models else {}
        except self._error:
            return self._unreachable(error)
        if name not in models:
            known = f"registered models are {', '.join(models)}" if models else "no model is registered there"
            return UsageError(
                f"{model_uri} does not exist: the registry {self.tracking_uri} has no model {name!r} "
                f"({known}); train one with `invoke train`, or correct the name"
            )
        named = ", ".join(f"{alias} → {version}" for alias, version in sorted(aliases.items())) or "none"
        return UsageError(
            f"{model_uri} does not exist: model {name} has versions {', '.join(versions) or 'none'} and "
            f"aliases {named}; choose one of them"
        )

    def _unreachable(self, error: Exception) -> InfrastructureError:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return InfrastructureError(
            f"the registry {self.tracking_uri} cannot be used: {first_line}; "
            "check MLFLOW_TRACKING_URI, the credentials and that the registry runs"
        )


def _parse(model_uri: str) -> ModelUri:
    """Parse a URI as the servers do; a run is no version, and cannot be rolled out."""
    try:
        uri = parse_model_uri(model_uri)
    except ModelNotFoundError:
        uri = None
    if uri is None or uri.kind is UriKind.RUN:
        raise UsageError(f"{model_uri!r} is not a model URI that can be rolled out: write {_FORMS}")
    return uri


def _refuse_missing_file(tracking_uri: str) -> None:
    """MLflow would create an empty registry where a path is mistyped; say that there is none instead."""
    prefix = "sqlite:///"
    if tracking_uri.startswith(prefix) and not os.path.exists(tracking_uri.removeprefix(prefix)):
        raise UsageError(
            f"there is no registry at {tracking_uri}: train a model first with `invoke train`, or set "
            "MLFLOW_TRACKING_URI to where the models are"
        )
