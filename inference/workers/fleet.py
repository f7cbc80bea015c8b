"""The gRPC side of a server with several processes: what one `GrpcServer` is to a server with one."""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Final

from prometheus_client import CollectorRegistry

from inference.artifacts import FetchedModel
from inference.errors import BundleError, NotReadyError
from inference.lines import LineWriter
from inference.metrics import Metrics
from inference.settings import Settings
from inference.workers.channel import Channel, WorkerError
from inference.workers.child import Child
from inference.workers.crew import Asked, Crew
from inference.workers.exposition import FleetCollector, WorkerCounts
from inference.workers.messages import Mode, Pending, Plan, SlotState, load_of, settings_to_json
from inference.workers.port import SharedPort
from inference.workers.seat import START_SECONDS, Means, Seat, WorkerInfo
from inference.workers.sums import Ledgers

__all__ = ["WorkerFleet"]

#: A commit stores one reference; a worker that takes this long hangs.
COMMIT_SECONDS: Final = 5.0
#: What a scrape waits for workers that do not answer; Prometheus waits ten seconds for it by default.
SCRAPE_SECONDS: Final = 1.0
#: Beside the grace of the calls in flight: what a worker may need to write its last lines.
STOP_SECONDS: Final = 7.0


class WorkerFleet:
    """Workers that share the gRPC port and serve what the supervisor serves.

    As `swap.Replicas` it prepares a model in all of them before it lets the first one switch. A worker that is
    replaced comes back with what the others serve.
    """

    def __init__(self, settings: Settings, writer: LineWriter, metrics: Metrics) -> None:
        """Take the port. Raises `PortInUseError`, and `OSError` for every other reason."""
        self._held_port = SharedPort(settings.grpc_host, settings.grpc_port)
        self.port: Final = self._held_port.port
        # As long as the same bundle may take in its trial: a child does the same there.
        self._load_seconds = settings.model_trial_seconds
        self._changed = threading.Condition()
        self._crew = Crew()
        self._ledgers = Ledgers(settings.server_workers)
        means = Means(
            self._crew,
            self._ledgers,
            lambda hear: Child(writer, hear),
            settings_to_json(settings),
            self.port,
            self._load_seconds,
            self._notice,
        )
        self._seats = [Seat(number, means) for number in range(settings.server_workers)]
        metrics.exposed = CollectorRegistry()
        metrics.exposed.register(FleetCollector(metrics.registry, self._ledgers, self._refresh, self._counts))

    @property
    def ready(self) -> bool:
        """Whether at least one worker answers calls."""
        return any(seat.open for seat in self._seats)

    @property
    def workers(self) -> list[WorkerInfo]:
        """What is known of each worker now."""
        return [seat.info for seat in self._seats]

    def start(self) -> None:
        """Start the workers, and return when each of them answers calls, or failed once."""
        for seat in self._seats:
            seat.start()
        with self._changed:
            self._changed.wait_for(
                lambda: all(seat.open or seat.restarts for seat in self._seats), START_SECONDS
            )

    def serve(self) -> None:
        """Let health say SERVING."""
        self._say("serving")

    def pause(self) -> None:
        """Let health say NOT_SERVING for our services until `serve`."""
        self._say("not_serving")

    def drain(self) -> None:
        """Let health say NOT_SERVING for good; calls are answered on, and no worker is replaced any more."""
        self._say("draining")
        for seat in self._seats:
            seat.close()

    def stop(self, grace_seconds: float) -> bool:
        """Refuse new calls, let those in flight end in `grace_seconds`; return whether they did."""
        for seat in self._seats:
            seat.close()
        asked = [seat.send("stop", grace_seconds=grace_seconds) for seat in self._seats if seat.open]
        deadline = time.monotonic() + grace_seconds + STOP_SECONDS
        ended = True
        for future in filter(None, asked):
            try:
                ended &= Channel.wait(future, deadline - time.monotonic())["ended"]
            except WorkerError:  # what was in flight there is lost
                ended = False
        for seat in self._seats:
            seat.join(max(0.0, deadline - time.monotonic()))
        self._held_port.close()
        return ended

    def prepare(self, slot: str, fetched: FetchedModel, number: int) -> None:
        """Make the model ready in all workers.

        Raises `NotReadyError` when none serves or one is lost, `BundleError` when one refuses the model.
        """
        if not self.ready:
            why = next((seat.last_error for seat in self._seats if seat.last_error), "they are starting")
            raise NotReadyError(f"none of the {len(self._seats)} worker processes serves: {why}")
        pending = Pending(slot, load_of(fetched, number))
        load = asdict(pending.load)
        asked = self._crew.change(_with_pending(pending), "prepare", slot=slot, load=load)
        problems, lost = self._crew.wait(asked, self._load_seconds)
        if problems:
            self._crew.change(_with_pending(None), "discard")
            if lost:
                raise NotReadyError(f"{problems[0]} while it made the model ready; reload again")
            label = f"{fetched.name} version {fetched.version}"
            raise BundleError(
                label, problems[0], "reload again, or register a model that every worker can load"
            )

    def commit(self, slot: str, number: int) -> None:
        """Let what was prepared serve in all workers; one that does not answer is replaced by one that does."""

        def change(plan: Plan) -> Plan:
            assert plan.pending is not None, "prepare came first"
            before = plan.slot(slot)
            return plan.with_slot(SlotState(slot, plan.pending.load, before.current or before.previous))

        self._finish(self._crew.change(change, "commit", slot=slot, number=number))

    def rollback(self, slot: str, number: int) -> None:
        """Let the previous model serve again in all workers, as generation `number`."""

        def change(plan: Plan) -> Plan:
            before = plan.slot(slot)
            assert before.previous is not None, "the swapper has looked"
            again = replace(before.previous, number=number)
            return plan.with_slot(SlotState(slot, again, before.current or before.previous))

        self._finish(self._crew.change(change, "rollback", slot=slot, number=number))

    def unload(self, slot: str) -> None:
        """Let the slot serve nothing in all workers."""

        def change(plan: Plan) -> Plan:
            before = plan.slot(slot)
            return plan.with_slot(SlotState(slot, None, before.current or before.previous, unloaded=True))

        self._finish(self._crew.change(change, "unload", slot=slot))

    def _finish(self, asked: Asked) -> None:
        for member, future in asked:
            if self._crew.wait([(member, future)], COMMIT_SECONDS)[0]:
                member.replace("it could not follow a change of the model")

    def _say(self, mode: Mode) -> None:
        if self._crew.plan.mode != "draining":
            self._crew.wait(
                self._crew.change(lambda plan: replace(plan, mode=mode), "say", mode=mode), COMMIT_SECONDS
            )

    def _notice(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _refresh(self) -> None:
        asked = self._crew.ask("report")
        deadline = time.monotonic() + SCRAPE_SECONDS
        for _, future in asked:
            try:
                Channel.wait(future, deadline - time.monotonic())
            except WorkerError:  # its last figures have to do
                continue

    def _counts(self) -> list[WorkerCounts]:
        return [WorkerCounts(seat.open, seat.restarts, seat.cut_lines) for seat in self._seats]


def _with_pending(pending: Pending | None) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, pending=pending)
