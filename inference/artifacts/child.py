"""Run a module of ours in a child process: never a fork, bounded in time and memory, gone when told to.

Every limit is set from outside, before the child is told what to do, so nothing that it loads can come first.

**Memory** is bounded by `RLIMIT_DATA`: the kernel counts private writable memory and refuses the allocation
that goes beyond, at once. Tried and left out: `RLIMIT_AS` counts address space that is only reserved (64 MiB
for each arena of malloc, 8 MiB for each stack), so its bound depends on the number of threads; a thread that
watches the resident size does not run while a library holds the interpreter (none of 60 turns came during an
allocation of 3 GB). Outside Linux only the time is bounded.
"""

import contextlib
import os
import signal
import site
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

__all__ = ["ChildTimeoutError", "Ended", "Limits", "run_child", "tells_out_of_memory"]

#: The directory that holds the package `inference`.
_ROOT: Final = Path(__file__).parents[2]
#: An answer is one line and an error a traceback; a child that floods its pipes must not fill the parent.
_KEPT_BYTES: Final = 1 << 20
_BLOCK_BYTES: Final = 1 << 16
#: Its pipes are closed by then, unless it left a process behind in a session of its own.
_LAST_WORDS_SECONDS: Final = 1.0
#: What a child that loads models keeps of the environment: where Python and libraries are, and no secrets.
_KEPT_NAMES: Final = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TMPDIR", "TZ"})
_KEPT_PREFIXES: Final = ("LC_", "PYTHON", "COVERAGE")
#: How Python, ONNX Runtime, C++ and the loader of libraries say that an allocation was refused.
_REFUSED_ALLOCATIONS: Final = (
    "MemoryError",
    "Failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "failed to map segment",
    "Cannot allocate memory",
)
#: One thread each: the pools of linear algebra take memory for every processor of the machine.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a child that loads a model may take, and how much memory it may need."""

    #: Measured: 0.4 s for a small compiled model and 2 s with scikit-learn; thirty times that, for busy nodes.
    seconds: float = 60
    #: Measured: 110 MiB for ONNX Runtime alone, and while a forest loads about ten times its `model.onnx`
    #: (10.7 MB needed 192 to 256 MiB), so files of 150 MB pass.
    memory_bytes: int = 2 << 30


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended (a negative code is the signal that ended it) and what it wrote, its first MiB."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def last_line(self) -> str:
        """The last line of its standard error, which says why Python stopped."""
        lines = self.stderr.strip().splitlines()
        return lines[-1].strip() if lines else "it wrote nothing"

    @property
    def ran_out_of_memory(self) -> bool:
        """Whether it ended because it could have no more memory; ask only when it did not answer."""
        return self.returncode != 0 and tells_out_of_memory(self.stderr)

    @property
    def how(self) -> str:
        """How it ended, as the end of a sentence."""
        if self.returncode >= 0:
            return f"ended with {self.returncode}: {self.last_line}"
        number = -self.returncode
        why = ", as the system does when memory runs out" if number == signal.SIGKILL else ""
        return f"was ended by signal {number} ({signal.Signals(number).name}){why}"


def tells_out_of_memory(text: str) -> bool:
    """Tell whether a message is about an allocation that was refused."""
    return any(sign in text for sign in _REFUSED_ALLOCATIONS)


class ChildTimeoutError(Exception):
    """The child was not done in time, and was killed with everything in its session."""


def run_child(
    module: str,
    request: str,
    *,
    seconds: float,
    memory_bytes: int | None = None,
    new_session: bool = True,
) -> Ended:
    """Run `python -P -m module <our pid>` with `request` on standard input, and wait for its end.

    With `memory_bytes` the child is one that loads a model: it has that limit, no secrets in its environment,
    and is the first to go when the machine runs out of memory. `new_session=False` is for a child of a child,
    which the parent's parent then kills together with it. Raises `ChildTimeoutError`.
    """
    until = time.monotonic() + seconds
    process = subprocess.Popen(
        # `-P`: modules in the working directory must not shadow those of the libraries.
        [sys.executable, "-P", "-m", module, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(loads_model=memory_bytes is not None),
        start_new_session=new_session,  # Ctrl-C is for the server, which may be draining
    )
    assert process.stdin is not None
    written = [_Reader(stream) for stream in (process.stdout, process.stderr)]
    try:
        if memory_bytes is not None:
            _limit(process.pid, memory_bytes, seconds)
        with contextlib.suppress(BrokenPipeError):  # it died; how it ended tells more
            process.stdin.write(request.encode())
            process.stdin.close()
        for reader in written:  # its end is the end of the child, and known without polling
            reader.join(max(0.0, until - time.monotonic()))
        process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ChildTimeoutError from None
    finally:
        _kill(process, whole_session=new_session)
        for reader in written:
            reader.join(_LAST_WORDS_SECONDS)
        with contextlib.suppress(OSError):
            process.stdin.close()
    return Ended(process.returncode, *(reader.text for reader in written))


class _Reader(threading.Thread):
    """Reads a pipe to its end and keeps the beginning."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        super().__init__(daemon=True)
        assert stream is not None
        self._stream, self._kept = stream, bytearray()
        self.start()

    def run(self) -> None:
        with self._stream as stream:
            while block := os.read(stream.fileno(), _BLOCK_BYTES):
                self._kept += block[: _KEPT_BYTES - len(self._kept)]

    @property
    def text(self) -> str:
        """What was kept."""
        return bytes(self._kept).decode(errors="replace")


def _kill(process: subprocess.Popen[bytes], *, whole_session: bool) -> None:
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        if whole_session and sys.platform != "win32":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _limit(pid: int, memory_bytes: int, seconds: float) -> None:
    if sys.platform != "linux":
        return
    import resource  # noqa: PLC0415 (there is none on Windows)

    # Beside the clock: when the parent is killed, and the child is where no thread of it can notice.
    processor_seconds = int(seconds) * (os.cpu_count() or 1) + 1
    with contextlib.suppress(ProcessLookupError):  # it died; how it ended tells more
        resource.prlimit(pid, resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
        resource.prlimit(pid, resource.RLIMIT_CPU, (processor_seconds, processor_seconds + 1))
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError):  # a sandbox may hide it
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


def _environment(*, loads_model: bool) -> dict[str, str]:
    environment = dict(os.environ)
    if loads_model:
        kept = {
            name: value
            for name, value in environment.items()
            if name in _KEPT_NAMES or name.startswith(_KEPT_PREFIXES)
        }
        environment = kept | _ONE_THREAD
    # Where packages are installed the child finds ours by itself, and a search path of its own that names
    # that directory would put every installed module ahead of the standard library.
    if str(_ROOT) not in site.getsitepackages():
        earlier = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{_ROOT}{os.pathsep}{earlier}" if earlier else str(_ROOT)
    return environment
