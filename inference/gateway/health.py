"""What `/health` says of the server, its model and its registry. No secret is in it."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, Protocol

from google.protobuf.json_format import MessageToDict

from inference.artifacts import Repository
from inference.core import DataPlane
from inference.generation import Generation
from inference.roster import Roster
from inference.shadow import Shadow
from inference.swap import Swapper, SwapRecord
from protos.inference.v1.manifest_pb2 import Task

__all__ = ["CertificateState", "HealthReport"]


class CertificateState(Protocol):
    """What became of the files with the certificate of gRPC."""

    @property
    def loaded_at(self) -> datetime:
        """When the certificate that is used was taken up."""

    @property
    def last_error(self) -> str:
        """Why the files as they are now are not used; empty when they are."""


class HealthReport:
    """Puts the state of the server together when it is asked for; asks nobody outside.

    `certificate` tells of the certificate, None where there is none; `workers` of the worker processes.
    """

    def __init__(
        self,
        plane: DataPlane,
        roster: Roster,
        repository: Repository,
        *,
        track: str,
        shadow: Shadow | None = None,
        certificate: Callable[[], CertificateState] | None = None,
        workers: Callable[[], Sequence[Mapping[str, object]]] = tuple,
    ) -> None:
        self._plane = plane
        self._roster = roster
        self._repository = repository
        self._track = track
        self._shadow = shadow
        self._certificate = certificate
        self._workers = workers
        self._started: Final = time.monotonic()

    @property
    def ready(self) -> bool:
        """Whether traffic should be sent here."""
        return self._plane.ready

    def content(self) -> dict[str, object]:
        """Return everything, for `/health`."""
        swapper = self._roster.default
        current = swapper.slot.current
        metrics = current.bundle.metrics if current is not None else None
        return {
            "status": "ready" if self.ready else "not_ready",
            "track": self._track,
            "model": _model(current),
            "previous_model": _model(swapper.slot.previous),
            "models": [_slot(each) for each in self._roster.swappers],
            "shadow": _shadow(self._shadow),
            "metrics": MessageToDict(metrics, preserving_proto_field_name=True) if metrics else None,
            "registry": self._registry(),
            "tls": _tls(self._certificate() if self._certificate is not None else None),
            "workers": [*self._workers()],
            "last_swap": _swap(swapper.last),
            "uptime_seconds": round(time.monotonic() - self._started, 3),
        }

    def _registry(self) -> dict[str, object]:
        swapper = self._roster.default
        known = self._repository.diagnostics()
        return {
            "model_uri": swapper.model_uri,
            "tracking_uri": known.tracking_uri,
            "server_version": known.server_version,
            "last_verified_at": _time(known.last_verified_at),
            "last_error": known.last_error,
            "failing_since": _time(known.failing_since),
            "stale_reason": swapper.stale_reason,
        }


def _model(generation: Generation | None) -> dict[str, object] | None:
    if generation is None:
        return None
    return {
        "name": generation.name,
        "version": generation.version,
        "digest": generation.digest,
        "runtime": generation.predictor.runtime,
        "generation": generation.number,
        "loaded_at": _time(generation.loaded_at),
        "task": Task.Name(generation.bundle.manifest.task).removeprefix("TASK_").lower(),
    }


def _slot(swapper: Swapper) -> dict[str, object]:
    return {
        "model_uri": swapper.model_uri,
        "model": _model(swapper.slot.current),
        "previous_model": _model(swapper.slot.previous),
        "last_swap": _swap(swapper.last),
        "stale_reason": swapper.stale_reason,
    }


def _shadow(shadow: Shadow | None) -> dict[str, object] | None:
    if shadow is None:
        return None
    return {**_slot(shadow.swapper), "sample_rate": shadow.sample_rate}


def _swap(record: SwapRecord | None) -> dict[str, object] | None:
    if record is None:
        return None
    return {"outcome": record.outcome, "at": _time(record.at), "error": record.error}


def _tls(state: CertificateState | None) -> dict[str, object] | None:
    if state is None:
        return None
    return {"certificate_loaded_at": _time(state.loaded_at), "last_error": state.last_error}


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
