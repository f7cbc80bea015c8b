"""The package from outside: what importing costs, and that its map is true."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import inference

ROOT = Path(__file__).parents[2]


def test_the_client_is_light() -> None:
    """A caller of the service needs no runtime, no numpy and no HTTP server."""
    heavy = ("onnxruntime", "sklearn", "numpy", "starlette", "uvicorn", "pydantic", "mlflow")
    code = f"import sys, inference.client; print([name for name in {heavy!r} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_the_map_names_every_module() -> None:
    """The table in docs/architecture.md has the modules that there are, each once, and no others."""
    section = (ROOT / "docs" / "architecture.md").read_text().split("## The modules of inference")[1]
    rows = [line.split("|")[1] for line in section.split("\n## ")[0].splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall(r"`inference\.(\w+)`", row)]
    there = {module.name for module in pkgutil.iter_modules(inference.__path__)}
    assert sorted(named) == sorted(there)
