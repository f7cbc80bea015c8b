"""From a verified bundle to a registered version, in an order that a kill cannot spoil.

Run and logged model first, then the bundle's files, then a look at what was stored, and the version last:
automation looks for versions, so whatever stops earlier is never picked up. MLflow copies the files as they
are, so what is registered is byte for byte what was verified.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import mlflow
import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric, Param

from training.bundling.bundle import SIGNATURE_FILE, Bundle, read_bundle
from training.errors import BundleError, ConfigError, RegistryError, TrainingError
from training.registering.alias_moves import AliasMover
from training.registering.alias_name import CHAMPION
from training.registering.calls import ALREADY_EXISTS, IMPATIENT, Calls
from training.registering.database import prepare_sqlite
from training.registering.version import create_version, ensure_model
from training.storage import public_uri, storage_errors

__all__ = ["DIGEST_TAG", "Recording", "RegisteredVersion", "Registry"]

DIGEST_TAG: Final = "coalmine.digest"
_GATE_TAG: Final = "coalmine.gate"
_ACCURACY_TAG: Final = "coalmine.accuracy"


#: MLflow refuses longer parameter values.
_PARAM_LENGTH: Final = 6000


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
        self._calls = Calls(tracking_uri)
        with self._calls.errors(IMPATIENT):
            prepare_sqlite(tracking_uri)
            # One registry a process: whatever client it is asked by, MLflow looks up where a logged model
            # lies in the process-wide one.
            mlflow.set_tracking_uri(tracking_uri)
            self._client = MlflowClient(tracking_uri)
            self._client.search_experiments(max_results=1)

    @contextlib.contextmanager
    def recording(self, name: str, params: Mapping[str, object]) -> Iterator[Recording]:
        """Open a run and a logged model in the experiment `name`; mark them failed if the block raises."""
        experiment_id = self._experiment(name)
        texts = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in params.items()]
        ask, client = self._calls.ask, self._client
        run_id = ask(lambda: client.create_run(experiment_id).info.run_id)
        ask(lambda: client.log_batch(run_id, params=texts))
        model = ask(lambda: client.create_logged_model(experiment_id, name=name, source_run_id=run_id))
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
        name, model_id = bundle.manifest.name, recording.model_id
        figures = [Metric(key, value, 0, 0, model_id=model_id) for key, value in metrics.items()]
        ask, client = self._calls.ask, self._client
        ask(lambda: client.log_batch(recording.run_id, metrics=figures))
        ask(lambda: client.log_outputs(recording.run_id, [LoggedModelOutput(model_id, step=0)]))
        ask(lambda: client.log_model_artifacts(model_id, str(bundle.directory)))
        self._verify_stored(model_id, bundle)
        self._finish(recording, "FINISHED", "READY")
        tags = {DIGEST_TAG: bundle.digest, _GATE_TAG: "passed" if gated else "none"}
        if "accuracy" in metrics:
            tags[_ACCURACY_TAG] = f"{metrics['accuracy']:.6f}"
        ensure_model(self._calls, client, name)
        try:
            version = create_version(
                self._calls, client, name, model_id=model_id, run_id=recording.run_id, tags=tags
            )
        except KeyboardInterrupt:
            state = f"the registry was making a version of {name}, and it may exist by now"
            raise KeyboardInterrupt(state) from None
        return RegisteredVersion(name, version)

    def log_evaluation(self, recording: Recording, directory: Path) -> None:
        """Store the files of `directory` under `evaluation/` of the run. Raises `RegistryError`."""
        self._calls.ask(lambda: self._client.log_artifacts(recording.run_id, str(directory), "evaluation"))

    def fetch(self, name: str, version: int, destination: Path) -> Path:
        """Copy the files of a version below `destination` and return their directory. Raises `RegistryError`."""
        uri = RegisteredVersion(name, version).uri
        return Path(
            self._calls.ask(
                lambda: mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(destination))
            )
        )

    def alias(self, name: str, alias: str) -> int | None:
        """Return the version that `alias` of the model `name` is at, None when there is no such alias or model.

        What is read before a long training is what `set_alias` expects after it.
        """
        try:
            version = AliasMover(self.tracking_uri, self._client).read(name).aliases.get(alias)
        except ConfigError:
            return None
        return None if version is None else int(version)

    def set_alias(self, version: RegisteredVersion, alias: str, *, expect: int | None) -> None:
        """Point `alias` at `version` if it still is at `expect`; of `champion` keep the old one as `previous`.

        Raises `RegistryError`; the version stays registered.
        """
        mover = AliasMover(self.tracking_uri, self._client)
        expected, why = None if expect is None else str(expect), f"training registered {version.uri}"
        try:
            if alias == CHAMPION:
                mover.promote(version.name, str(version.version), expect=expected, why=why)
            else:
                mover.move(version.name, alias, str(version.version), expect=expected, why=why)
        except TrainingError as error:
            reason = f"{version.uri} is registered, but the alias {alias} was not set: {error}"
            number = version.version
            remedy = f"set it with `python -m training.aliases move {alias} {number} --name {version.name}`"
            raise RegistryError(public_uri(self.tracking_uri), reason, remedy) from error

    def _experiment(self, name: str) -> str:
        ask, client = self._calls.ask, self._client
        for _ in range(2):
            found = ask(lambda: client.get_experiment_by_name(name))
            if found is not None:
                return str(found.experiment_id)
            try:
                return str(ask(lambda: client.create_experiment(name)))
            except RegistryError as error:
                if error.code != ALREADY_EXISTS:  # another training made it in the same moment
                    raise
        reason = f"the experiment {name} is neither there nor can it be made"
        raise RegistryError(public_uri(self.tracking_uri), reason)

    def _finish(
        self, recording: Recording, run_status: str, model_status: Literal["READY", "FAILED"]
    ) -> None:
        self._calls.ask(lambda: self._client.finalize_logged_model(recording.model_id, model_status))
        self._calls.ask(lambda: self._client.set_terminated(recording.run_id, run_status))

    def _verify_stored(self, model_id: str, bundle: Bundle) -> None:
        """Fetch the stored files and compare: an upload that was cut short must not become a version."""
        with storage_errors(tempfile.gettempdir()), tempfile.TemporaryDirectory() as aside:
            uri = f"models:/{model_id}"
            fetched = self._calls.ask(
                lambda: mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=aside)
            )
            if read_bundle(Path(fetched)).digest != bundle.digest:
                reason = "the registry holds another manifest than the one that was sent"
                raise BundleError(uri, reason)
            # The one file that no manifest can list.
            sent = bundle.directory / SIGNATURE_FILE
            if sent.exists() and sent.read_bytes() != (Path(fetched) / SIGNATURE_FILE).read_bytes():
                raise BundleError(
                    uri, f"the registry holds another {SIGNATURE_FILE} than the one that was sent"
                )
