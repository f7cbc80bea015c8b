"""The threads of calls that only look something up: health checks, descriptions, refusals."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from inference.rpc.overseer import Overseer
from inference.rpc.receiving import call_among

__all__ = ["SidePool"]

#: Each call takes about a millisecond, so two threads would do; more are made only when callers keep them.
_THREADS: Final = 32
#: How long a call may take here. grpcio lets a thread wait for the message of a call, and a caller that opens
#: a call and sends none would keep that thread for as long as its connection lives.
CALL_SECONDS: Final = 5.0


class SidePool(ThreadPoolExecutor):
    """Cancels a call whose caller does not send its message in time."""

    def __init__(self) -> None:
        super().__init__(_THREADS, thread_name_prefix="rpc-side")
        self._overseer = Overseer(CALL_SECONDS)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> "Future[Any]":  # noqa: ANN401  # as inherited
        """Run a call when a thread is free."""
        return super().submit(self._run, function, *arguments, **named)

    def _run(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> object:  # noqa: ANN401  # as submitted
        task = object()
        call = call_among(arguments)
        if call is not None:
            self._overseer.begin(task, call.cancel)
        try:
            return function(*arguments, **named)
        finally:
            self._overseer.end(task)
