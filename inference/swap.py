"""Changing the model of a slot under traffic: everything that can fail happens before the one step that cannot.

fetch → gate → load → golden rows → warm up → switch one reference → drain the old generation → keep it for a
rollback. Whatever fails leaves the serving generation as it is. With several processes, all of them prepare
before the first one switches.
"""

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, Protocol

import structlog

from inference.artifacts import FetchedModel, Repository
from inference.catalog import Slot
from inference.errors import (
    InferenceError,
    InvalidRequestError,
    NoPreviousModelError,
    NotReadyError,
    Violation,
)
from inference.generation import Generation
from inference.metrics import Metrics
from inference.stage import Stage
from inference.tracing import UNTRACED, Tracing

__all__ = ["Alone", "Replicas", "SwapOutcome", "SwapRecord", "Swapper"]

SwapOutcome = Literal["swapped", "unchanged", "failed", "rolled_back", "unloaded"]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


class Replicas(Protocol):
    """The other processes that serve the same slots; `slot` is the key of one."""

    def prepare(self, slot: str, fetched: FetchedModel, number: int) -> None:
        """Make the model ready in all of them, or raise `InferenceError` and leave nothing behind."""

    def commit(self, slot: str, number: int) -> None:
        """Let what was prepared serve in all of them."""

    def rollback(self, slot: str, number: int) -> None:
        """Let the previous generation serve again in all of them, as generation `number`."""

    def unload(self, slot: str) -> None:
        """Let the slot serve nothing in all of them."""


class Alone:
    """No other processes."""

    def prepare(self, slot: str, fetched: FetchedModel, number: int) -> None:
        """Do nothing."""

    def commit(self, slot: str, number: int) -> None:
        """Do nothing."""

    def rollback(self, slot: str, number: int) -> None:
        """Do nothing."""

    def unload(self, slot: str) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class SwapRecord:
    """What the last try came to; `error` is empty unless it failed."""

    outcome: SwapOutcome
    at: datetime
    error: str = ""


#: What tells one model from another: digest, version, name.
_Identity = tuple[str, str, str]


class _Flight:
    """One reload, and those who wait for it."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.record: SwapRecord | None = None
        self.error: Exception | None = None

    def result(self) -> SwapRecord:
        self.ended.wait()
        if self.error is not None:
            raise self.error
        assert self.record is not None
        return self.record


class Swapper:
    """Fetches generations of one slot and switches to them.

    `model_uri` is the configured one, or None when the repository has only one model to give.
    `one_at_a_time` is shared by all swappers of a process, so that at most one model is loaded beside those that
    serve.
    """

    def __init__(
        self,
        slot: Slot,
        repository: Repository,
        stage: Stage,
        metrics: Metrics,
        *,
        model_uri: str | None,
        one_at_a_time: threading.Lock,
        replicas: Replicas | None = None,
        tracing: Tracing = UNTRACED,
    ) -> None:
        self.slot = slot
        self._repository = repository
        self._stage = stage
        self._metrics = metrics
        self._tracing = tracing
        self._model_uri = model_uri
        self._one_at_a_time = one_at_a_time
        self._replicas: Replicas = replicas or Alone()
        self._joining = threading.Lock()
        #: By what they ask for: a model URI, if any, and whether only what is new counts.
        self._waiting: dict[tuple[str | None, bool], _Flight] = {}
        self._resolved: _Identity | None = None
        self._closed = False
        self._last: SwapRecord | None = None
        self._stale_reason = ""

    @property
    def last(self) -> SwapRecord | None:
        """What the last try came to."""
        return self._last

    @property
    def model_uri(self) -> str | None:
        """The model URI that a reload without one resolves."""
        return self._model_uri

    @property
    def stale_reason(self) -> str:
        """Why the model is the last good one from the cache and not what the registry says; empty if not."""
        return self._stale_reason

    def reload(self, model_uri: str | None = None) -> SwapRecord:
        """Resolve the configured model, or `model_uri` and configure that, and serve what it names now.

        Whoever asks while another reload of the same URI waits for its turn joins that one; a reload that has
        begun may have resolved the URI already, and is not joined. Raises what `Repository.fetch` and loading
        raise, `GateError`, `NotReadyError` while the server shuts down, and `InvalidRequestError` for a URI
        where nothing can be chosen; the old generation then serves on.
        """
        if model_uri is not None and self._model_uri is None:
            raise InvalidRequestError(
                [Violation("model_uri", "expected none: MODEL_SOURCE is `local`, which has one model")]
            )
        return self._join(model_uri, only_new=False)

    def refresh(self) -> SwapRecord:
        """Reload, if the configured model leads elsewhere than it did when it was last resolved.

        So a rollback holds until the registry has something new. Raises what `reload` raises.
        """
        return self._join(None, only_new=True)

    def rollback(self) -> SwapRecord:
        """Serve the previous generation again. Raises `NoPreviousModelError` when there is none."""
        with self._one_at_a_time:
            self._refuse_when_closed()
            previous = self.slot.previous
            if previous is None:
                raise NoPreviousModelError
            number = self._next_number()
            self._replicas.rollback(self.slot.key, number)
            self._stage.commit(self.slot, replace(previous, number=number, loaded_at=datetime.now(UTC)))
            return self._record("rolled_back")

    def unload(self) -> SwapRecord:
        """Serve nothing in this slot until the next reload."""
        with self._one_at_a_time:
            self._refuse_when_closed()
            self._replicas.unload(self.slot.key)
            self._stage.unload(self.slot)
            return self._record("unloaded")

    def close(self) -> None:
        """Refuse reloads that have not switched yet: the server shuts down."""
        self._closed = True

    def _join(self, model_uri: str | None, *, only_new: bool) -> SwapRecord:
        key = (model_uri, only_new)
        with self._joining:
            flight = self._waiting.get(key)
            joined = flight is not None
            if flight is None:
                flight = self._waiting[key] = _Flight()
        if not joined:
            self._fly(flight, *key)
        return flight.result()

    def _fly(self, flight: _Flight, model_uri: str | None, only_new: bool) -> None:
        with self._one_at_a_time:
            with self._joining:
                del self._waiting[model_uri, only_new]  # whoever asks from here on may need a newer look
            try:
                asked = model_uri or self._model_uri
                with self._tracing.step("model swap", model_uri=asked or self.slot.key):
                    flight.record = self._reload(asked, only_new=only_new)
            except Exception as error:  # noqa: BLE001  # raised in every thread that waits, this one too
                flight.error = error
            finally:
                flight.ended.set()

    def _reload(self, model_uri: str | None, *, only_new: bool) -> SwapRecord:
        self._refuse_when_closed()
        try:
            with self._tracing.step("fetch"):
                fetched = self._repository.fetch(model_uri)
            found = _identity_of(fetched)
            outcome = "unchanged" if only_new and found == self._resolved else self._serve(fetched)
        except InferenceError as error:
            self._record("failed", str(error))
            raise
        except Exception:
            self._record("failed", "a defect of the server; its log has the details")
            raise
        self._stale_reason = fetched.stale_reason
        self._model_uri, self._resolved = model_uri, found
        return self._record(outcome)

    def _serve(self, fetched: FetchedModel) -> SwapOutcome:
        current = self.slot.current
        if current is not None and _identity_of(current) == _identity_of(fetched):
            return "unchanged"
        number = self._next_number()
        with self._tracing.step("prepare", model=fetched.name, version=fetched.version):
            generation = self._stage.prepare(fetched, number)
            self._replicas.prepare(self.slot.key, fetched, number)
        self._refuse_when_closed()
        with self._tracing.step("commit"):
            self._replicas.commit(self.slot.key, number)
            self._stage.commit(self.slot, generation)
        return "swapped"

    def _next_number(self) -> int:
        latest = self.slot.current or self.slot.previous
        return latest.number + 1 if latest is not None else 1

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise NotReadyError("the server is shutting down; ask another one")

    def _record(self, outcome: SwapOutcome, error: str = "") -> SwapRecord:
        self._last = SwapRecord(outcome, datetime.now(UTC), error)
        self._metrics.swap(outcome)
        if error and self.slot.current is not None:  # at start, whoever asked says it
            _log.error("model swap failed, the old model serves on", error=error)
        return self._last


def _identity_of(model: Generation | FetchedModel) -> _Identity:
    bundle = model.bundle
    return bundle.digest, model.version, model.name
