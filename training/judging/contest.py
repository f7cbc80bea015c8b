"""Fetch the champion and compare: what a training does between its own gates and the registration."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from training.bundling.bundle import read_bundle
from training.errors import BundleError
from training.fitting.fit import FittedModel
from training.judging.champion import read_champion
from training.judging.comparison import Comparison, Verdict, compare_models
from training.storage import storage_errors

if TYPE_CHECKING:
    from training.registering.registry import Registry

__all__ = ["compare_with_champion"]


def compare_with_champion(
    registry: "Registry", model: FittedModel, name: str, champion: int | None, seed: int
) -> Comparison | None:
    """Compare `model` with version `champion` of the model `name`; None when there is no champion.

    A champion that is no bundle of ours cannot be compared with, which the verdict says. Raises `RegistryError`
    and `StorageError`.
    """
    if champion is None:
        return None
    with (
        storage_errors(tempfile.gettempdir()),
        tempfile.TemporaryDirectory(prefix="coalmine-champion-") as aside,
    ):
        directory = registry.fetch(name, champion, Path(aside))
        try:
            return compare_models(model, read_champion(read_bundle(directory), champion), seed)
        except BundleError as error:
            return Comparison(Verdict.NOT_COMPARABLE, f"it cannot be read: {error.reason}", champion)
