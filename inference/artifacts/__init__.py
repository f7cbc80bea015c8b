"""The artifact side of the server: from a model URI to a verified bundle on disk and a predictor in memory.

A `Repository` turns a model URI into a `FetchedModel`: `MlflowRepository` asks the registry in a child
process (`inference.artifacts.fetch`), which downloads into the content-addressed cache; `LocalRepository`
reads a directory. Either way `read_bundle` has compared every file with the digests of the manifest.
`load_predictor` makes a `Predictor` of the bundle, and `check_golden_rows` refuses it unless it gives the
outputs that training recorded. Errors are those of `inference.errors`.
"""

from inference.artifacts.bundle import Bundle, read_bundle
from inference.artifacts.golden import check_golden_rows
from inference.artifacts.mlflow_repository import MlflowRepository
from inference.artifacts.predictor import Outputs, Predictor, load_predictor
from inference.artifacts.repository import (
    Credentials,
    FetchedModel,
    LocalRepository,
    RegistryDiagnostics,
    Repository,
)

__all__ = [
    "Bundle",
    "Credentials",
    "FetchedModel",
    "LocalRepository",
    "MlflowRepository",
    "Outputs",
    "Predictor",
    "RegistryDiagnostics",
    "Repository",
    "check_golden_rows",
    "load_predictor",
    "read_bundle",
]
