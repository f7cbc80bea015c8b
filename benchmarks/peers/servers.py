"""Who serves the forest: ours, and each peer as its makers start it, on one core."""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from benchmarks.peers.agreement import wait_for_answer
from benchmarks.peers.calls import MODEL_INFER, PREDICT, Call
from benchmarks.peers.environments import KSERVE, MLSERVER, Environment
from benchmarks.peers.forest import Forest
from benchmarks.targets import OURS, SERVER_CORE, Running, pinned, running

__all__ = ["ONNX", "SERVERS", "SKLEARN", "Ours", "Peer", "Server"]

_RUNTIMES: Final = Path(__file__).parent / "runtimes"
#: KServe gives calls in flight 30 seconds, which here are none.
_STOP_SECONDS: Final = 30
#: Characters of what a peer printed before it failed.
_SHOWN: Final = 2000
SKLEARN: Final = "scikit-learn"
ONNX: Final = "ONNX Runtime"


@dataclass(frozen=True)
class Ours:
    """Our server, all features on."""

    name: str = "Coalmine"
    calls: tuple[Call, ...] = (MODEL_INFER, PREDICT)
    runtime: str = ONNX
    environment: Environment | None = None

    @property
    def command(self) -> str:
        """What is run."""
        return "MODEL_SOURCE=local MODEL_PATH={bundle} python -m inference"

    @contextmanager
    def start(self, forest: Forest) -> Iterator[Running]:
        """Run it as long as the context lasts; it has answered once."""
        began = time.perf_counter()
        with running(OURS, forest.bundle) as server:
            wait_for_answer(server, forest)
            yield replace(server, start_seconds=time.perf_counter() - began)


@dataclass(frozen=True)
class Peer:
    """Somebody else's server; names in braces stand for files and ports in its arguments and variables."""

    name: str
    environment: Environment
    runtime: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)
    calls: tuple[Call, ...] = (MODEL_INFER,)

    @property
    def command(self) -> str:
        """What is run."""
        return " ".join([*(f"{name}={value}" for name, value in self.variables.items()), *self.arguments])

    @contextmanager
    def start(self, forest: Forest) -> Iterator[Running]:
        """Run it as long as the context lasts; it has answered once. Raises `RuntimeError` with what it printed."""
        ports = _free_ports("grpc", "http", "metrics")
        known = {"joblib": forest.joblib_file, "onnx": forest.onnx_file, "runtimes": _RUNTIMES, **ports}
        program, *arguments = (text.format(**known) for text in self.arguments)
        variables = {name: value.format(**known) for name, value in self.variables.items()}
        with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as output:
            began = time.perf_counter()
            process = subprocess.Popen(
                pinned(SERVER_CORE, str(self.environment.bin / program), *arguments),
                env=os.environ | {"PYTHONPATH": str(_RUNTIMES)} | variables,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
            )
            try:
                server = Running(process, ports["grpc"], ports["http"], 0)
                self._wait(server, forest, output.fileno())
                yield replace(server, start_seconds=time.perf_counter() - began)
            finally:
                _end(process)

    def _wait(self, server: Running, forest: Forest, output: int) -> None:
        try:
            wait_for_answer(server, forest)
        except RuntimeError as error:
            printed = os.pread(output, 1 << 20, 0).decode(errors="replace")
            raise RuntimeError(f"{self.name}: {error}; it printed:\n{printed[-_SHOWN:]}") from error


Server = Ours | Peer


def _mlserver(runtime: str, implementation: str, model: str) -> Peer:
    variables = {
        # Its own documentation advises so for light models; the default, one worker, costs more a call.
        "MLSERVER_PARALLEL_WORKERS": "0",
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_GRPC_PORT": "{grpc}",
        "MLSERVER_HTTP_PORT": "{http}",
        "MLSERVER_METRICS_PORT": "{metrics}",
        "MLSERVER_MODEL_NAME": "iris",
        "MLSERVER_MODEL_IMPLEMENTATION": implementation,
        "MLSERVER_MODEL_URI": model,
    }
    return Peer(f"MLServer, {runtime}", MLSERVER, runtime, ("mlserver", "start", "."), variables)


def _kserve(runtime: str, *model: str) -> Peer:
    # It listens on every address: that of gRPC cannot be set.
    program = ("python", "{runtimes}/kserve_server.py", *model)
    return Peer(
        f"KServe, {runtime}", KSERVE, runtime, (*program, "--grpc_port", "{grpc}", "--http_port", "{http}")
    )


SERVERS: Final[tuple[Server, ...]] = (
    Ours(),
    _mlserver(ONNX, "mlserver_onnx.OnnxModel", "{onnx}"),
    _kserve(ONNX, "onnx", "{onnx}"),
    _mlserver(SKLEARN, "mlserver_sklearn.SKLearnModel", "{joblib}"),
    _kserve(SKLEARN, "sklearn", "{joblib}"),
)


def _free_ports(*names: str) -> dict[str, int]:
    """Find ports that nobody has: peers cannot say which ones the kernel would give them."""
    with ExitStack() as stack:
        found = {name: stack.enter_context(socket.create_server(("127.0.0.1", 0))) for name in names}
        return {name: each.getsockname()[1] for name, each in found.items()}


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
