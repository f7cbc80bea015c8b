"""Where a model came from: commit, data, seed, and the versions of the libraries that shaped it."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Final

from protos.inference.v1.manifest_pb2 import Lineage
from training.fit import FittedModel

__all__ = ["trace_lineage"]

_LIBRARIES: Final = ("mlflow", "numpy", "onnx", "pandas", "scikit-learn", "skl2onnx", "skops")
_GIT_SECONDS: Final = 5.0


def trace_lineage(model: FittedModel, *, seed: int, run_id: str = "") -> Lineage:
    """Describe the making of `model`; git is asked about the working directory."""
    commit = _git("rev-parse", "--verify", "HEAD")
    lineage = Lineage(
        git_commit=commit,
        git_dirty=bool(commit and _git("status", "--porcelain", "--untracked-files=no")),
        data_source=model.table.source,
        data_sha256=model.table.sha256,
        estimator=model.plan.class_path,
        seed=seed,
        library_versions={name: version(name) for name in _LIBRARIES} | {"python": platform.python_version()},
        mlflow_run_id=run_id,
    )
    lineage.trained_at.FromDatetime(datetime.now(UTC).replace(microsecond=0))
    return lineage


def _git(*arguments: str) -> str:
    """Return what git prints, or nothing when it is absent, too slow, or this is no checkout."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
