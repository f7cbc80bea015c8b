"""The trial of a bundle: a child process loads it and predicts before the serving process touches it.

A model file is somebody's program: a graph may compute for ever, allocate all memory, or crash the library
that runs it. The child (`inference.artifacts.trial_process`) does exactly what serving does later, so what
harms, harms the child. A passed trial is remembered in the cache, and costs nothing the next time.
"""

import json
import platform
import signal
import threading
import time
from dataclasses import asdict, dataclass
from typing import Final

import structlog

from inference.artifacts.bundle import Bundle
from inference.artifacts.cache import Cache
from inference.artifacts.child import ChildTimeoutError, Ended, Limits, run_child
from inference.artifacts.refusal import read_verdict
from inference.errors import BundleError, CacheError

__all__ = ["Trial", "TrialRequest", "memory_reason"]

log = structlog.stdlib.get_logger("inference.artifacts")

#: Grows when a trial checks more than before, so that earlier verdicts count no more.
_TRIAL: Final = 1
#: The libraries that decide how a model loads and what it gives.
_LIBRARIES: Final = ("numpy", "onnxruntime", "scikit-learn", "skops")
#: A server that refreshes every few seconds shall not spend a processor on refusing the same bundle; after
#: this time it is tried again, because a busy machine is a reason for a refusal too.
_REFUSED_AGAIN_SECONDS: Final = 600.0
_REMEDY_LIMITS: Final = (
    "register a smaller model, or raise MODEL_TRIAL_SECONDS and MODEL_TRIAL_MEMORY_BYTES if it is meant so"
)
_REMEDY_CRASH: Final = "register a model that the libraries of this server can run"


@dataclass(frozen=True, slots=True)
class TrialRequest:
    """What the child shall try; `memory_bytes` is for the sentence, the limit itself is set from outside."""

    path: str
    digest: str
    allow_pickle: bool
    memory_bytes: int

    def to_json(self) -> str:
        """Write the request as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "TrialRequest":
        """Read a request that `to_json` wrote."""
        return cls(**json.loads(text))


class Trial:
    """Tries bundles; any number of threads may share it, and one trial runs at a time.

    Passed trials are remembered in `cache` (None, or one that cannot be written: they are not remembered).
    """

    def __init__(
        self, cache: Cache | None = None, *, allow_pickle: bool = False, limits: Limits | None = None
    ) -> None:
        self._cache = cache
        self.allow_pickle: Final = allow_pickle
        self.limits: Final = limits or Limits()
        self._one_at_a_time = threading.Lock()
        #: When and why, by digest. Not the errors themselves: their frames would keep bundles marked as in use.
        self._refused: dict[str, tuple[float, str, str]] = {}

    def require(self, bundle: Bundle, label: str = "") -> None:
        """Raise `BundleError` (naming `label`, or the directory) unless `bundle` passes, now or earlier."""
        label = label or str(bundle.path)
        circumstances = self._circumstances()
        if self._cache is not None and self._cache.has_passed(bundle.digest, circumstances):
            return
        with self._one_at_a_time:
            known = self._refused.get(bundle.digest)
            if known is not None and time.monotonic() - known[0] < _REFUSED_AGAIN_SECONDS:
                raise BundleError(label, *known[1:])
            try:
                self._try(bundle, label)
            except BundleError as error:
                self._refused[bundle.digest] = (time.monotonic(), error.reason, error.remedy)
                raise
        if self._cache is not None:
            try:
                self._cache.remember_pass(bundle.digest, circumstances)
            except CacheError as error:
                log.warning("passed trial not remembered, the next start tries again", reason=str(error))

    def _circumstances(self) -> str:
        """Everything beside the bundle that the verdict depends on."""
        known = {
            "trial": _TRIAL,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "allow_pickle": self.allow_pickle,
            **asdict(self.limits),
            **{name: _version(name) for name in _LIBRARIES},
        }
        return json.dumps(known, sort_keys=True)

    def _try(self, bundle: Bundle, label: str) -> None:
        request = TrialRequest(
            str(bundle.path.absolute()), bundle.digest, self.allow_pickle, self.limits.memory_bytes
        )
        begin = time.monotonic()
        try:
            ended = run_child(
                "inference.artifacts.trial_process",
                request.to_json(),
                seconds=self.limits.seconds,
                memory_bytes=self.limits.memory_bytes,
            )
        except ChildTimeoutError:
            raise BundleError(label, self._time_reason, _REMEDY_LIMITS) from None
        if ended.stderr.strip():
            log.debug("the trial wrote", stderr=ended.stderr.strip())
        self._judge(ended, label)
        log.info("bundle passed its trial", bundle=label, seconds=round(time.monotonic() - begin, 3))

    @property
    def _time_reason(self) -> str:
        return f"its trial in a child process took more than {self.limits.seconds:g} seconds"

    def _judge(self, ended: Ended, label: str) -> None:
        answer = read_verdict(ended.stdout)
        if answer == {} and ended.returncode == 0:  # it may also crash when it is freed
            return
        if answer:
            raise BundleError(label, answer["reason"], answer["remedy"])
        if ended.ran_out_of_memory:
            raise BundleError(label, memory_reason(self.limits.memory_bytes), _REMEDY_LIMITS)
        if ended.returncode == -signal.SIGXCPU:
            raise BundleError(label, self._time_reason, _REMEDY_LIMITS)
        raise BundleError(label, f"the process of its trial {ended.how}", _REMEDY_CRASH)


def memory_reason(memory_bytes: int) -> str:
    """Say that the limit of memory was reached."""
    return f"its trial in a child process needed more than {memory_bytes / (1 << 20):g} MiB of memory"


def _version(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 (30 ms, when it is asked)

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
