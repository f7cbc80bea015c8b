"""What a server needs that runs as a process of its own: its environment, and the wait for it."""

import os
import time
from pathlib import Path

import httpx

__all__ = ["cache_dir", "server_environment", "wait_until_ready"]

_ROOT = Path(__file__).parents[2]


def cache_dir(bundle: Path) -> Path:
    """Return a cache that servers of one test session share, so that each bundle is tried once."""
    return bundle.parent.parent / "cache"


def server_environment(bundle: Path | None = None, **variables: object) -> dict[str, str]:
    """Return the variables of a server of `bundle` on free ports of this machine, which drains at once.

    None stands for a server whose models `variables` name.
    """
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MODEL_", "MLFLOW_"))}
    served: dict[str, object] = {}
    if bundle is not None:
        served = {"MODEL_SOURCE": "local", "MODEL_PATH": bundle, "MODEL_CACHE_DIR": cache_dir(bundle)}
    chosen = {
        "PYTHONPATH": _ROOT,
        "GRPC_HOST": "127.0.0.1",
        "HTTP_HOST": "127.0.0.1",
        "GRPC_PORT": 0,
        "HTTP_PORT": 0,
        "DRAIN_DELAY_SECONDS": 0,
        **served,
        **variables,
    }
    return {**inherited, **{key: str(value) for key, value in chosen.items()}}


def wait_until_ready(address: str) -> None:
    """Ask the gateway at `address` until it is ready: for servers whose lines nobody reads."""
    deadline = time.monotonic() + 30
    while True:
        try:
            if httpx.get(f"{address}/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline
        time.sleep(0.05)
