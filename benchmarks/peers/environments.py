"""Environments of the peers, which need older libraries than we do: each made by uv from its own lock."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.targets import ROOT

__all__ = ["KSERVE", "MLSERVER", "SHARED", "Environment"]

_VERSIONS: Final = (
    "import json, sys; from importlib.metadata import version;"
    "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
)


@dataclass(frozen=True)
class Environment:
    """What a lock installs, in a directory of its own."""

    name: str
    #: Whose versions decide what is measured.
    packages: tuple[str, ...]

    @property
    def lock(self) -> Path:
        """The lock that it is made from."""
        return ROOT / f"requirements-{self.name}.lock"

    @property
    def bin(self) -> Path:
        """The directory of its commands."""
        return ROOT / ".nox" / self.name / "bin"

    def make(self) -> None:
        """Make it exactly what the lock says; nothing to do when it already is. Raises `RuntimeError`."""
        stamp = self.bin.parent / "lock.sha256"
        wanted = hashlib.sha256(self.lock.read_bytes() + sys.version.encode()).hexdigest()
        if stamp.exists() and stamp.read_text() == wanted:
            return
        uv, python = _find_uv(), str(self.bin / "python")
        install = ("pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", "--python", python)
        for command in (
            ("venv", "--quiet", "--clear", "--python", sys.executable, str(self.bin.parent)),
            (*install, str(self.lock)),
        ):
            subprocess.run([uv, *command], check=True)
        stamp.write_text(wanted)

    def versions(self) -> dict[str, str]:
        """Return the versions of its `packages`. Raises `RuntimeError` when it cannot load our forest."""
        command = [str(self.bin / "python"), "-c", _VERSIONS, *self.packages]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found: dict[str, str] = json.loads(said)
        for package in _PICKLED_WITH:
            if found[package] != version(package):
                raise RuntimeError(
                    f"{self.name} has {package} {found[package]}, and we train with {version(package)}: "
                    "write both locks anew with `nox -s lock`"
                )
        return found


#: A pickle is for the versions that wrote it.
_PICKLED_WITH: Final = ("scikit-learn", "numpy")
#: What our server has too, but scikit-learn, which it does not import.
SHARED: Final = ("scikit-learn", "onnxruntime", "numpy", "grpcio", "protobuf")
MLSERVER: Final = Environment("peers-mlserver", ("mlserver", "mlserver-sklearn", *SHARED, "uvloop"))
KSERVE: Final = Environment("peers-kserve", ("kserve", *SHARED, "uvloop"))


def _find_uv() -> str:
    found = os.environ.get("UV") or shutil.which("uv")
    if found is None:
        raise RuntimeError("uv is missing, which makes the environments of the peers: `pip install uv`")
    return found
