"""Models that somebody registered with plain `mlflow.sklearn.log_model`: made into a bundle when fetched.

`python -m training.adopt` does that, in a child process of the one that fetches: serving never imports
training, and the model is loaded under the limits of a trial.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from inference.artifacts.child import ChildTimeoutError, run_child
from inference.artifacts.exchange import Request
from inference.artifacts.manifest import MANIFEST_FILE, is_safe_path
from inference.artifacts.refusal import read_verdict
from inference.artifacts.registry import ArtifactSource
from inference.artifacts.trusted_types import TRUSTED_TYPES
from inference.errors import BundleError

__all__ = ["MLMODEL_FILE", "adopt_model", "download_plain"]

MLMODEL_FILE: Final = "MLmodel"

_COMMAND: Final = "training.adopt"
_REMEDY_EXTRA: Final = (
    "install the extra `training` beside the server, or register the model with `python -m training.train`"
)
_REMEDY_LIMITS: Final = "register a smaller model, or raise MODEL_TRIAL_MEMORY_BYTES if it is meant so"


def download_plain(
    source: ArtifactSource, names: set[str], directory: Path, limit_bytes: int, label: str
) -> None:
    """Download the files at the top of a plain model; a file in a directory is code that is not run here."""
    left = limit_bytes
    for name in sorted(names):
        if not is_safe_path(name):
            raise BundleError(label, f"it has a file named {name!r}, which is no plain file name")
        source.download(name, directory / name, left)
        left -= (directory / name).stat().st_size


def adopt_model(
    directory: Path,
    request: Request,
    *,
    name: str,
    run_id: str,
    metrics: Mapping[str, float],
    label: str,
    seconds: float,
) -> None:
    """Make the plain model in `directory` a bundle, by `training.adopt`. Raises `BundleError`."""
    order = {
        "directory": str(directory),
        "name": name,
        "run_id": run_id,
        "metrics": dict(metrics),
        "allow_pickle": request.allow_pickle,
        "trusted_types": list(TRUSTED_TYPES),
    }
    try:
        ended = run_child(
            _COMMAND, json.dumps(order), seconds=seconds, memory_bytes=request.memory_bytes, new_session=False
        )
    except ChildTimeoutError:
        left = f"the {max(0.0, seconds):.0f} seconds that were left of the fetch"
        reason = f"it was registered without a {MANIFEST_FILE}, and making one took more than {left}"
        raise BundleError(label, reason, "register it with `python -m training.train`") from None
    answer = read_verdict(ended.stdout)
    if answer == {} and (directory / MANIFEST_FILE).is_file():
        return
    if answer:
        raise BundleError(label, answer["reason"], answer["remedy"])
    problem = ended.how
    if "No module named" in ended.last_line:
        reason = (
            f"it was registered without a {MANIFEST_FILE} and training (scikit-learn, skl2onnx) is not "
            f"installed here: {ended.last_line}"
        )
        raise BundleError(label, reason, _REMEDY_EXTRA)
    if ended.ran_out_of_memory:
        problem = f"needed more than {request.memory_bytes / (1 << 20):g} MiB of memory"
        raise BundleError(label, f"the process that compiles it {problem}", _REMEDY_LIMITS)
    raise BundleError(label, f"the process that compiles it {problem}")
