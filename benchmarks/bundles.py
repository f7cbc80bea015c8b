"""The model that is measured: a RandomForest of 100 trees on Iris, made by our own training."""

import subprocess
import sys
from pathlib import Path

from benchmarks.targets import ROOT

__all__ = ["train"]


def train(directory: Path, *, name: str = "iris", seed: int = 0) -> Path:
    """Train and return the directory of the bundle."""
    bundle = directory / f"{name}-{seed}"
    if not bundle.exists():
        subprocess.run(
            [
                sys.executable, "-m", "training.train", "--quiet", "--seed", str(seed),
                "--no-register", "--bundle-dir", str(bundle),
            ],
            cwd=ROOT, check=True, capture_output=True,
        )  # fmt: skip
    return bundle
