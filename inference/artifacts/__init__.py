"""The artifact side of the server: from a model URI to a verified bundle on disk and a predictor in memory.

A `Repository` turns a model URI into a `FetchedModel`: `MlflowRepository` asks the registry in a child
process (`inference.artifacts.fetch`), which downloads into the content-addressed `Cache` (and makes a bundle
of a plain MLflow model); `LocalRepository` reads a directory. Either way `read_bundle` has compared every file
with the digests of the manifest, the manifest with its signature when one is asked for, and a `Trial` in
another child process has loaded the bundle and predicted, so that what cannot serve harms nobody.
`load_predictor` makes a `Predictor` of the bundle, and `check_golden_rows` refuses it unless it gives the
outputs that training recorded. Errors are those of `inference.errors`.
"""

from inference.artifacts.bundle import Bundle, read_bundle
from inference.artifacts.cache import DEFAULT_MAX_BYTES, Cache
from inference.artifacts.child import Limits
from inference.artifacts.golden import check_golden_rows
from inference.artifacts.hold import Hold
from inference.artifacts.local_repository import LocalRepository
from inference.artifacts.mlflow_repository import MlflowRepository
from inference.artifacts.model_uri import ModelUri, UriKind, parse_model_uri
from inference.artifacts.predictor import Outputs, Predictor, load_predictor
from inference.artifacts.repository import (
    Credentials,
    FetchedModel,
    RegistryDiagnostics,
    Repository,
)
from inference.artifacts.trial import Trial

__all__ = [
    "DEFAULT_MAX_BYTES",
    "Bundle",
    "Cache",
    "Credentials",
    "FetchedModel",
    "Hold",
    "Limits",
    "LocalRepository",
    "MlflowRepository",
    "ModelUri",
    "Outputs",
    "Predictor",
    "RegistryDiagnostics",
    "Repository",
    "Trial",
    "UriKind",
    "check_golden_rows",
    "load_predictor",
    "parse_model_uri",
    "read_bundle",
]
