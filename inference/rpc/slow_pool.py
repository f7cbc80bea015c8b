"""The threads of calls that may take seconds: loads and unloads of models."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from inference.rpc.overseer import Overseer
from inference.rpc.receiving import incoming_of
from inference.rpc.side_pool import CALL_SECONDS

__all__ = ["SlowPool"]

#: Loads and unloads at one time; they wait for each other anyway, and further ones wait without a thread.
_THREADS: Final = 2


class SlowPool(ThreadPoolExecutor):  # by this type grpcio knows what a method may run on
    """Takes a thread for a call only once its message is there, so that callers who send none block nobody.

    Such calls are cancelled after a while; one that has begun may take as long as it needs. The threads are daemons:
    at the end of the process nobody waits for a load that outlived its grace, as the threads of the base would have it.
    """

    def __init__(self) -> None:
        super().__init__(1)  # which starts none before its own `submit`
        self._overseer = Overseer(CALL_SECONDS)
        self._ready: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        for number in range(_THREADS):
            threading.Thread(target=self._work, name=f"rpc-slow_{number}", daemon=True).start()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> "Future[Any]":  # noqa: ANN401  # as inherited
        """Run a call when its message is there and a thread is free."""
        future: Future[Any] = Future()
        found = incoming_of(arguments)
        if found is None:
            self._ready.put(lambda: _run(future, lambda: function(*arguments, **named)))
            return future
        incoming, received = found

        def run() -> None:
            self._overseer.end(future)
            self._ready.put(lambda: _run(future, lambda: function(*received, **named)))

        self._overseer.begin(future, incoming.cancel)
        incoming.receive(run)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002  # as inherited
        """Let the threads end when they have nothing more to do, and wait for none."""
        for _ in range(_THREADS):
            self._ready.put(None)

    def _work(self) -> None:
        while (task := self._ready.get()) is not None:
            task()
            del task  # or its request would stay in memory until the next one comes


def _run(future: "Future[Any]", call: Callable[[], Any]) -> None:
    try:
        future.set_result(call())
    except Exception as error:  # noqa: BLE001  # as every executor does; a thread lost here would never come back
        future.set_exception(error)
