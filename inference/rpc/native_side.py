"""Health and reflection beside the native transport, which has unary calls and no bidirectional streams.

It passes every method that it does not know on to a grpcio server on a Unix socket. That one has threads of its own,
so that no queue of predictions delays it; it also says UNIMPLEMENTED to calls of methods that nobody has.
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import grpc

from inference.core import Admission
from inference.metrics import Metrics
from inference.rpc.dispatch import Dispatch
from inference.rpc.health import MAX_WATCHERS, HealthServicer
from inference.rpc.pool import WorkPool
from inference.rpc.reflection import MAX_STREAMS, StreamPool
from inference.rpc.side_pool import SidePool
from inference.rpc.side_services import add_side_services

__all__ = ["SideServer"]

#: Checks that may wait for a thread; grpcio refuses those beyond.
_CHECKS_AT_ONE_TIME: Final = 1000


class SideServer:
    """Answers for `services` on a socket that only this user can open."""

    def __init__(
        self,
        admission: Admission,
        metrics: Metrics,
        services: Sequence[str],
        *,
        max_message_bytes: int,
        work_pool: WorkPool,
    ) -> None:
        """Bind the socket. Raises `OSError`."""
        self._pool = SidePool()
        self._stream_pool = StreamPool()
        self.health = HealthServicer(tuple(services), metrics.ledger, self._pool)
        dispatch = Dispatch(
            admission,
            metrics.ledger,
            work_pool,
            side_pool=self._pool,
            slow_pool=self._pool,  # nothing slow is served here
            stream_pool=self._stream_pool,
        )
        add_side_services(dispatch, self.health, services, metrics)
        self._server = grpc.server(
            self._pool,
            handlers=[dispatch],
            maximum_concurrent_rpcs=_CHECKS_AT_ONE_TIME + MAX_WATCHERS + MAX_STREAMS,
            options=[("grpc.max_receive_message_length", max_message_bytes)],
        )
        self._directory = _private_directory()
        self.socket = self._directory / "grpc"
        self._bind()

    def _bind(self) -> None:
        try:
            self._server.add_insecure_port(f"unix:{self.socket}")
        except RuntimeError:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise OSError(
                f"GRPC_TRANSPORT=native cannot bind {self.socket}; set TMPDIR to a short path"
            ) from None

    def start(self) -> None:
        """Answer."""
        self._server.start()

    def stop(self) -> None:
        """End everything, at once."""
        self._server.stop(None)
        self.health.close()
        for pool in (self._pool, self._stream_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self._directory, ignore_errors=True)


def _private_directory() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="coalmine-"))
    except OSError as error:
        raise OSError(f"GRPC_TRANSPORT=native needs a directory for a socket: {error}; set TMPDIR") from None
