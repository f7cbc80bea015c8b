"""The simplest place that gives bundles: a directory."""

from pathlib import Path

from inference.artifacts.bundle import read_bundle
from inference.artifacts.detached_signature import SignatureCheck
from inference.artifacts.repository import FetchedModel, RegistryDiagnostics
from inference.artifacts.trial import Trial
from inference.errors import InferenceError

__all__ = ["LocalRepository"]


class LocalRepository:
    """One bundle in a directory, read and verified anew at each fetch.

    With `trial` the bundle must pass it, with `public_key_file` it must be signed.
    """

    def __init__(
        self, bundle_dir: Path, *, trial: Trial | None = None, public_key_file: Path | None = None
    ) -> None:
        self._bundle_dir = bundle_dir
        self._trial = trial
        self._signature = None if public_key_file is None else SignatureCheck(public_key_file)
        self._diagnostics = RegistryDiagnostics()

    def fetch(self, model_uri: str | None = None) -> FetchedModel:
        """Read the directory; a `model_uri` is of no meaning here and is not looked at."""
        del model_uri
        try:
            bundle = read_bundle(self._bundle_dir)
            if self._signature is not None:
                self._signature.require(bundle)
            if self._trial is not None:
                self._trial.require(bundle)
        except InferenceError as error:
            self._diagnostics = self._diagnostics.failed(str(error))
            raise
        self._diagnostics = self._diagnostics.succeeded(verified=True)
        return FetchedModel(bundle.manifest.name, "local", bundle)

    def diagnostics(self) -> RegistryDiagnostics:
        """Tell when the directory was last verified and what was last wrong with it."""
        return self._diagnostics
