"""From a verified bundle to a registered version, in an order that a kill cannot spoil.

Run and logged model first, then the bundle's files, then a look at what was stored, and the version last:
automation looks for versions, so whatever stops earlier is never picked up. MLflow copies the files as they
are, so what is registered is byte for byte what was verified.
"""

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import mlflow
import mlflow.artifacts
import requests.exceptions
import sqlalchemy.exc
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric, Param
from mlflow.exceptions import MlflowException

from training.bundle import Bundle, read_bundle
from training.errors import BundleError, RegistryError, StorageError
from training.registry_database import prepare_sqlite
from training.storage import describe, place_of, public_uri, storage_errors

__all__ = ["DIGEST_TAG", "Recording", "RegisteredVersion", "Registry"]

DIGEST_TAG: Final = "coalmine.digest"
_GATE_TAG: Final = "coalmine.gate"
_ACCURACY_TAG: Final = "coalmine.accuracy"

#: The first call only asks whether anybody answers, so it may be impatient; a user's own values win. MLflow's
#: own (120 s, 7 retries that wait ever longer) would hold up a pipeline for minutes.
_IMPATIENT: Final = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
_PATIENT: Final = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}

#: MLflow refuses longer parameter values.
_PARAM_LENGTH: Final = 6000
_REASON_LENGTH: Final = 300
#: SQLite's own words, which reach us through two libraries.
_FULL_DATABASE: Final = "database or disk is full"


@dataclass(frozen=True)
class RegisteredVersion:
    """An immutable version of a registered model."""

    name: str
    version: int

    @property
    def uri(self) -> str:
        """The model URI by number, such as `models:/iris/7`."""
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class Recording:
    """An MLflow run that is open, and the logged model that will hold the bundle."""

    run_id: str
    model_id: str


class Registry:
    """An MLflow tracking server or database that is known to answer."""

    def __init__(self, tracking_uri: str) -> None:
        """Connect, and create the tables of a SQLite database that does not exist yet.

        The address becomes MLflow's tracking URI for this process.

        Raises `RegistryError` within seconds when nothing answers, `StorageError` when the database cannot
        be written.
        """
        self.tracking_uri = tracking_uri
        with _environment(_IMPATIENT), self._errors():
            prepare_sqlite(tracking_uri)
            # One registry a process: whatever client it is asked by, MLflow looks up where a logged model
            # lies in the process-wide one.
            mlflow.set_tracking_uri(tracking_uri)
            self._client = MlflowClient(tracking_uri)
            self._client.search_experiments(max_results=1)

    @contextlib.contextmanager
    def recording(self, name: str, params: Mapping[str, object]) -> Iterator[Recording]:
        """Open a run and a logged model in the experiment `name`; mark them failed if the block raises."""
        with self._errors():
            experiment = self._client.get_experiment_by_name(name)
            experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(name)
            run_id = self._client.create_run(experiment_id).info.run_id
            texts = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in params.items()]
            self._client.log_batch(run_id, params=texts)
            model = self._client.create_logged_model(experiment_id, name=name, source_run_id=run_id)
        try:
            yield Recording(run_id, model.model_id)
        except BaseException:
            with contextlib.suppress(RegistryError):  # the first error is the one to tell
                self._finish(Recording(run_id, model.model_id), "FAILED", "FAILED")
            raise

    def register(
        self, recording: Recording, bundle: Bundle, metrics: Mapping[str, float], *, gated: bool
    ) -> RegisteredVersion:
        """Store `bundle`, look at what was stored, and register it as the next version.

        `gated` says whether there was a gate to pass. An interrupt while the registry makes the version says
        so. Raises `RegistryError`, and `BundleError` when the stored files differ from the bundle.
        """
        name = bundle.manifest.name
        with self._errors():
            model_id = recording.model_id
            figures = [Metric(key, value, 0, 0, model_id=model_id) for key, value in metrics.items()]
            self._client.log_batch(recording.run_id, metrics=figures)
            self._client.log_outputs(recording.run_id, [LoggedModelOutput(model_id, step=0)])
            self._client.log_model_artifacts(model_id, str(bundle.directory))
        self._verify_stored(model_id, bundle)
        self._finish(recording, "FINISHED", "READY")
        tags = {DIGEST_TAG: bundle.digest, _GATE_TAG: "passed" if gated else "none"}
        if "accuracy" in metrics:
            tags[_ACCURACY_TAG] = f"{metrics['accuracy']:.6f}"
        with self._errors():
            self._ensure_model(name)
            source = f"models:/{model_id}"
            try:
                created = self._client.create_model_version(
                    name, source, run_id=recording.run_id, tags=tags, model_id=model_id
                )
            except KeyboardInterrupt:
                state = f"the registry was making a version of {name}, and it may exist by now"
                raise KeyboardInterrupt(state) from None
        return RegisteredVersion(name, int(created.version))

    def set_alias(self, version: RegisteredVersion, alias: str) -> None:
        """Point `alias` at `version`. Raises `RegistryError`; the version stays registered."""
        try:
            with self._errors():
                self._client.set_registered_model_alias(version.name, alias, str(version.version))
        except RegistryError as error:
            reason = f"{version.uri} is registered, but the alias {alias} was not set: {error.reason}"
            raise RegistryError(error.registry, reason, "set the alias by hand, or train again") from error

    def _finish(
        self, recording: Recording, run_status: str, model_status: Literal["READY", "FAILED"]
    ) -> None:
        with self._errors():
            self._client.finalize_logged_model(recording.model_id, model_status)
            self._client.set_terminated(recording.run_id, run_status)

    def _verify_stored(self, model_id: str, bundle: Bundle) -> None:
        """Fetch the stored files and compare: an upload that was cut short must not become a version."""
        with self._errors(), storage_errors(tempfile.gettempdir()), tempfile.TemporaryDirectory() as aside:
            uri = f"models:/{model_id}"
            fetched = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=aside)
            if read_bundle(Path(fetched)).digest != bundle.digest:
                reason = "the registry holds another manifest than the one that was sent"
                raise BundleError(uri, reason)

    def _ensure_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with _environment(_PATIENT):
                yield
        except (
            MlflowException,
            requests.exceptions.RequestException,  # an OSError too, so it stands before that
            sqlalchemy.exc.SQLAlchemyError,
        ) as error:
            cause = error.__cause__ or error.__context__
            if (
                isinstance(error, MlflowException)
                and isinstance(cause, OSError)
                and cause.errno == errno.ENOSPC
            ):
                raise self._storage_error(cause) from error
            if _FULL_DATABASE in str(error):
                raise StorageError(public_uri(self.tracking_uri), _FULL_DATABASE) from error
            raise RegistryError(public_uri(self.tracking_uri), _reason(error)) from error
        except OSError as error:
            raise self._storage_error(error) from error

    def _storage_error(self, error: OSError) -> StorageError:
        """Name the file under the registry; else the registry, whose files they are."""
        return StorageError(place_of(error) or public_uri(self.tracking_uri), describe(error))


def _reason(error: Exception) -> str:
    # SQLAlchemy adds the statement and a link, which tell a person nothing.
    text = " ".join(str(error).partition("[SQL:")[0].split())
    if "Max retries exceeded" in text:
        # urllib3 wraps the cause three times; the innermost words are what a person needs.
        text = "it does not answer (" + text.rpartition(": ")[2].strip(" '\")") + ")"
    return text[:_REASON_LENGTH].rstrip(". ")


@contextlib.contextmanager
def _environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Set variables that are not set, for the time of the block: MLflow reads them at each call."""
    added = {key: value for key, value in defaults.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)
