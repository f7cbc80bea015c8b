"""Draws Evidently's report in a child process: bounded in rows, time and memory, and gone when told to."""

import contextlib
import os
import signal
import site
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

import numpy as np

from drift.errors import ReportError, ShuttingDownError
from drift.report.handover import ReportResult, Request, read_result, write_request
from drift.rows import SAMPLE_SEED, Reference, Rows
from drift.statistics import Methods

__all__ = ["MEMORY_BYTES", "SAMPLE_ROWS", "SECONDS", "Reporter"]

#: Rows of each side that are drawn. Evidently's pages of more rows take minutes to open (evidently #15).
SAMPLE_ROWS: Final = 5000
#: Measured: 12 s of processor time for 100 features, five of them for the imports; ten times that, for busy nodes.
SECONDS: Final = 180.0
#: Measured: 500 MiB for 100 features and 5000 rows a side.
MEMORY_BYTES: Final = 2 << 30
#: The directory that holds the package `drift`.
_ROOT: Final = Path(__file__).parents[2]
#: What the child keeps of the environment: where Python and libraries are, and no credentials of stores.
_KEPT_NAMES: Final = frozenset({"HOME", "LANG", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TMPDIR", "TZ"})
_KEPT_PREFIXES: Final = ("LC_", "PYTHON", "COVERAGE")
#: How Python, NumPy, C++ and the loader of libraries say that an allocation was refused.
_REFUSED_ALLOCATIONS: Final = (
    "MemoryError",
    "Unable to allocate",
    "Cannot allocate memory",
    "failed to map segment",
    "bad_alloc",
    "malloc failed",
    "error return without exception set",  # a library's own code, which looked at nothing
)
#: An error is a traceback; only its end is read.
_LAST_WORDS_BYTES: Final = 1 << 16


class Reporter:
    """Draws one report at a time; `stop` may be called from any thread."""

    def __init__(
        self,
        directory: Path | None = None,
        *,
        seconds: float = SECONDS,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        """Keep what is handed over in `directory`, or where the system keeps such things."""
        self._directory, self._seconds, self._memory_bytes = directory, seconds, memory_bytes
        self._drawing = threading.Lock()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def draw(self, reference: Reference, current: Rows, methods: Methods | None = None) -> ReportResult:
        """Draw `current`, at least one row, beside `reference`. Raises `ReportError`, `ShuttingDownError`."""
        request = Request(
            Reference(reference.schema, _sample(reference.rows), reference.total_rows),
            _sample(current),
            methods or Methods(),
        )
        with self._drawing:
            try:
                with tempfile.TemporaryDirectory(prefix="report-", dir=self._directory) as name:
                    return self._draw(Path(name), request)
            except OSError as error:
                raise ReportError(f"its rows cannot be handed over ({error}); is there space left?") from None

    def stop(self) -> None:
        """End a report that is being drawn, and draw no more."""
        with self._lock:
            self._stopping = True
            if self._process is not None:
                _kill(self._process)

    def _draw(self, directory: Path, request: Request) -> ReportResult:
        write_request(directory, request)
        words = directory / "last_words"
        with words.open("wb") as output:
            process = self._start(directory, output.fileno())
        try:
            process.wait(self._seconds)
        except subprocess.TimeoutExpired:
            raise ReportError(f"Evidently took more than {self._seconds:g} s and was ended") from None
        finally:
            _kill(process)
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
            with self._lock:
                self._process = None
        if self._stopping:
            raise ShuttingDownError
        if process.returncode != 0:
            raise ReportError(self._how(process.returncode, words))
        try:
            return read_result(directory)
        except (OSError, ValueError) as error:
            raise ReportError(f"its answer cannot be read ({error})") from None

    def _start(self, directory: Path, output: int) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._stopping:
                raise ShuttingDownError
            self._process = subprocess.Popen(
                # `-P`: modules in the working directory must not shadow those of the libraries.
                [sys.executable, "-P", "-m", "drift.report.child", str(directory), str(self._memory_bytes)],
                stdin=subprocess.PIPE,  # held and never written to: its end is ours
                stdout=output,
                stderr=output,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for the service, which ends the child itself
            )
            return self._process

    def _how(self, returncode: int, words: Path) -> str:
        said = words.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace").strip()
        last = said.splitlines()[-1].strip() if said else "it wrote nothing"
        if any(sign in said for sign in _REFUSED_ALLOCATIONS):
            return f"Evidently needs more than {self._memory_bytes >> 20} MiB ({last})"
        if last.startswith(("ImportError", "ModuleNotFoundError")):
            return f"Evidently cannot be imported ({last}), install what drift needs: pip install '.[drift]'"
        if returncode < 0:
            return f"the process was ended by {signal.Signals(-returncode).name}"
        return f"Evidently failed ({last})"


def _sample(rows: Rows) -> Rows:
    """Return at most `SAMPLE_ROWS` rows in their order, without bias, and without what is not drawn."""
    drawn = Rows(rows.features, rows.predictions, targets=rows.targets)
    if len(rows) <= SAMPLE_ROWS:
        return drawn
    chosen = np.random.default_rng(SAMPLE_SEED).choice(len(rows), SAMPLE_ROWS, replace=False)
    return drawn.take(np.sort(chosen))


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            if sys.platform == "win32":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)  # with whatever it started


def _environment() -> dict[str, str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT_NAMES or name.startswith(_KEPT_PREFIXES)
    }
    # One thread each: the pools of linear algebra take memory for every processor of the machine.
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "DO_NOT_TRACK": "1"}
    # Where packages are installed the child finds ours by itself, and a search path of its own that names
    # that directory would put every installed module ahead of the standard library.
    if str(_ROOT) not in site.getsitepackages():
        earlier = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{_ROOT}{os.pathsep}{earlier}" if earlier else str(_ROOT)
    return environment
