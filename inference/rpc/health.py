"""`grpc.health.v1.Health`: which services take traffic, asked once or watched.

`""` stands for the process: SERVING for as long as it answers at all, also without a model and while it drains, as
`/health/live` of the gateway does. Supervisors that look at it while a process drains would cut the drain short
(kubernetes/kubernetes#52817). The full names of services stand for readiness.

The servicer of grpcio-health-checking holds its lock while it sends to its watchers. A watcher that goes away in
that moment calls back on the one event thread of the server, which then waits for this lock, while the send waits
for the event thread: the whole server hangs. Here nothing is sent under a lock, and not by a thread that somebody
else waits for.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference.ledger import Ledger, RequestKind
from inference.rpc.overseer import Overseer

__all__ = ["HEALTH_SERVICE", "MAX_WATCHERS", "HealthServicer"]

HEALTH_SERVICE: Final[str] = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
#: Watches that may be open at one time. A client has one for each of its connections.
MAX_WATCHERS: Final = 1000
#: How long one status may take to reach the transport. It takes far less than a millisecond unless the watcher
#: reads nothing; such a one is cut off, because it keeps a sender from the others.
SEND_SECONDS: Final = 1.0
#: So many watchers that read nothing delay the others, each by that time at most.
_SENDERS: Final = 4

_Status = health_pb2.HealthCheckResponse
_Send = Callable[[Any], None]


class _Watch:
    """One open stream, and what it was told."""

    def __init__(self, service: str, send: _Send, cancel: Callable[[], object]) -> None:
        self.service = service
        self.send = send
        self.cancel = cancel
        self.told: int | None = None
        #: Whether a sender has it in hand, which looks again before it lets go.
        self.in_hand = False
        self.ended = False


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # the package has no types
    """Answers for `services`, which are NOT_SERVING until `say`."""

    def __init__(self, services: tuple[str, ...], ledger: Ledger, thread_pool: ThreadPoolExecutor) -> None:
        """Begin a watch on `thread_pool`, which it gives back at once."""
        self._services = services
        self._ledger = ledger
        self._kind = ledger.open(RequestKind("Watch", HEALTH_SERVICE, "SERVER_STREAMING"))
        self._lock = threading.Lock()
        self._statuses: dict[str, int] = {"": _Status.SERVING, **dict.fromkeys(services, _Status.NOT_SERVING)}
        self._final = False
        self._watches: set[_Watch] = set()
        self._overseer = Overseer(SEND_SECONDS)
        self._senders = ThreadPoolExecutor(_SENDERS, thread_name_prefix="rpc-health")
        self.Watch = self._behaviour_of_watch(thread_pool)

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401, N802  # as generated
        """Tell the status of one service; NOT_FOUND for one that is not here."""
        status = self._statuses.get(request.service)
        if status is None:
            context.set_code(grpc.StatusCode.NOT_FOUND)
            context.set_details(f"no such service; this server has {', '.join(self._services)}")
            return _Status()
        return _Status(status=status)

    def say(self, *, serving: bool) -> None:
        """Say of every service whether it takes traffic, unless `drain` has said the last word."""
        self._say(_Status.SERVING if serving else _Status.NOT_SERVING)

    def drain(self) -> None:
        """Say NOT_SERVING of every service, for good."""
        self._say(_Status.NOT_SERVING, final=True)

    def close(self) -> None:
        """Tell nobody anything any more."""
        self._senders.shutdown(wait=False, cancel_futures=True)

    def _say(self, status: int, *, final: bool = False) -> None:
        with self._lock:
            if self._final:
                return
            self._final = final
            self._statuses.update(dict.fromkeys(self._services, status))
            watches = [*self._watches]
        for watch in watches:
            self._tell(watch)

    def _behaviour_of_watch(self, thread_pool: ThreadPoolExecutor) -> Callable[..., None]:
        def watch(request: Any, context: grpc.ServicerContext, send: _Send) -> None:  # noqa: ANN401  # a message
            arrived = time.perf_counter()
            self._ledger.arrive(self._kind)
            found = _Watch(request.service, send, context.cancel)
            if not self._take(found):
                self._ledger.record(self._kind, "RESOURCE_EXHAUSTED", time.perf_counter() - arrived)
                sentence = f"{MAX_WATCHERS} watches are open already; ask by Check, or share connections"
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, sentence)

            def end() -> None:  # on the event thread: nothing here may wait
                self._forget(found)
                self._ledger.record(self._kind, "CANCELLED", time.perf_counter() - arrived)

            if context.add_callback(end):
                self._tell(found)
            else:
                end()

        # How grpcio lets a stream stay open without a thread, as grpcio-health-checking asks for it.
        behaviour: Any = watch
        behaviour.experimental_non_blocking = True
        behaviour.experimental_thread_pool = thread_pool
        return watch

    def _take(self, watch: _Watch) -> bool:
        with self._lock:
            if len(self._watches) >= MAX_WATCHERS:
                return False
            self._watches.add(watch)
            return True

    def _forget(self, watch: _Watch) -> None:
        with self._lock:
            watch.ended = True
            self._watches.discard(watch)

    def _tell(self, watch: _Watch) -> None:
        with self._lock:
            if watch.in_hand or watch.ended:
                return
            watch.in_hand = True
        try:
            self._senders.submit(self._send, watch)
        except RuntimeError:  # after `close`
            return

    def _send(self, watch: _Watch) -> None:
        while (status := self._next_of(watch)) is not None:
            self._overseer.begin(watch, watch.cancel)
            try:
                watch.send(_Status(status=status))
            finally:
                self._overseer.end(watch)

    def _next_of(self, watch: _Watch) -> int | None:
        """Return what `watch` is to be told next; None, and let go of it, when it knows everything."""
        with self._lock:
            status: int = self._statuses.get(watch.service, _Status.SERVICE_UNKNOWN)
            if watch.ended or status == watch.told:
                watch.in_hand = False
                return None
            watch.told = status
        return status
