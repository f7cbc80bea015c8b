"""What importing costs."""

import subprocess
import sys
from pathlib import Path


def test_the_client_is_light() -> None:
    """A caller of the service needs no runtime, no numpy and no HTTP server."""
    heavy = ("onnxruntime", "sklearn", "numpy", "starlette", "uvicorn", "pydantic", "mlflow")
    code = f"import sys, inference.client; print([name for name in {heavy!r} if name in sys.modules])"
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
