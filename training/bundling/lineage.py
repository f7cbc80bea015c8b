"""Where a model came from: commit, data, seed, and the versions of the libraries that shaped it."""

import contextlib
import hashlib
import json
import platform
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from protos.inference.v1.manifest_pb2 import Lineage
from training.configuration.sections import Config
from training.fitting.estimator import BOOSTING_PACKAGES, EstimatorPlan
from training.fitting.fit import FittedModel

__all__ = ["boosting_versions", "digest_config", "trace_lineage"]

_LIBRARIES: Final = ("mlflow", "numpy", "onnx", "pandas", "scikit-learn", "skl2onnx", "skops")
_GIT_SECONDS: Final = 5.0


def trace_lineage(model: FittedModel, *, seed: int, run_id: str = "", config_sha256: str = "") -> Lineage:
    """Describe the making of `model`; git is asked about the working directory."""
    commit = _git("rev-parse", "--verify", "HEAD")
    lineage = Lineage(
        git_commit=commit,
        git_dirty=bool(commit and _git("status", "--porcelain", "--untracked-files=no")),
        data_source=model.table.source,
        data_sha256=model.table.sha256,
        estimator=model.plan.class_path,
        seed=seed,
        library_versions=dict(_versions(model)),
        mlflow_run_id=run_id,
        config_sha256=config_sha256,
        split=model.split,
        data_rows=len(model.table.frame),
    )
    lineage.trained_at.FromDatetime(datetime.now(UTC).replace(microsecond=0))
    return lineage


def digest_config(config: Config) -> str:
    """Return the SHA-256 of everything that is in force, defaults included, as canonical JSON."""
    canonical = json.dumps(
        config.model_dump(mode="json", by_alias=True), sort_keys=True, separators=(",", ":")
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def boosting_versions(plan: EstimatorPlan) -> dict[str, str]:
    """Return distribution → version of the packages beyond scikit-learn that `plan` is made of."""
    found = {}
    for package in plan.packages:
        for distribution in BOOSTING_PACKAGES[package]:
            with contextlib.suppress(PackageNotFoundError):
                found[distribution] = version(distribution)
                break
    return found


def _versions(model: FittedModel) -> Iterator[tuple[str, str]]:
    yield from ((name, version(name)) for name in _LIBRARIES)
    yield "python", platform.python_version()
    boosting = boosting_versions(model.plan)
    if boosting:
        yield from {**boosting, "onnxmltools": version("onnxmltools")}.items()


def _git(*arguments: str) -> str:
    """Return what git prints, or nothing when it is absent, too slow, or this is no checkout."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
