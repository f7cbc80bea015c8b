"""A worker process: `python -P -m inference.workers.process <descriptor>`, started by `inference.workers.child`.

The descriptor is its end of the channel. Each line is a request, and gets one line as its reply. When the channel
ends the supervisor has gone, and the worker goes too.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TextIO, cast

import structlog
from prometheus_client import disable_created_metrics

from inference.errors import InferenceError
from inference.lines import LineWriter
from inference.memory import return_large_blocks
from inference.tracing import open_tracing
from inference.workers.messages import Load, Pending, plan_from_json, settings_from_json
from telemetry import FLUSH_SECONDS, TRACE_FLUSH_SECONDS, configure_logging

#: How long calls in flight may take after the supervisor has died: many times what a call takes, and little
#: beside what a new server needs to start on the same port.
ORPHAN_GRACE_SECONDS: Final = 1.0

_Request = dict[str, Any]
_Methods = dict[str, Callable[[_Request], dict[str, Any] | None]]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference.workers")


def main(descriptor: int) -> None:
    """Do what comes over the channel until it ends; the process ends here."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # who stops a group of processes means the supervisor
    connection = socket.socket(fileno=descriptor)
    writer = LineWriter(sys.stdout.fileno())
    try:
        _Worker(connection, writer).run()
    except Exception:  # noqa: BLE001  # the edge of the process
        _log.exception("the worker failed")
    os._exit(1)  # here the supervisor has gone: nobody needs more of this process


class _Worker:
    def __init__(self, connection: socket.socket, writer: LineWriter) -> None:
        self._connection = connection
        self._writer = writer
        self._sending = threading.Lock()
        self._changes = ThreadPoolExecutor(1, thread_name_prefix="changes")

    def run(self) -> None:
        """Set up as the first request says, then answer one after the other."""
        requests = self._connection.makefile("rb")
        setup: _Request = json.loads(requests.readline() or b"{}")
        if not setup:
            return
        core = _pin(setup["worker"])  # first: libraries make as many threads as there are cores for them
        settings = settings_from_json(setup["settings"])
        configure_logging(settings.log_level, settings.log_format, cast("TextIO", self._writer))
        logging.getLogger().handlers[0].addFilter(_Mark(setup["worker"]))
        return_large_blocks()
        disable_created_metrics()  # type: ignore[no-untyped-call]  # as the supervisor does
        self._writer.start()
        from inference.workers.duty import Duty  # noqa: PLC0415  # grpcio only when logging and core are set

        tracing = open_tracing(os.environ, cast("TextIO", self._writer), track=settings.deployment_track)
        duty = Duty(settings, self._writer, tracing)
        self._reply(setup["id"], {"core": core})
        methods, changes = _methods(duty), _changes(duty)
        for line in requests:
            request = json.loads(line)
            method = request["method"]
            if method == "stop":
                threading.Thread(target=self._stop, args=(duty, request), daemon=True).start()
            elif method in changes:
                self._changes.submit(self._answer, duty, changes[method], request)
            else:
                self._answer(duty, methods[method], request)
        threading.Timer(ORPHAN_GRACE_SECONDS + 1, os._exit, (1,)).start()
        duty.stop(ORPHAN_GRACE_SECONDS)

    def _answer(
        self,
        duty: Any,  # noqa: ANN401  # `Duty`, imported late
        method: Callable[[_Request], dict[str, Any] | None],
        request: _Request,
    ) -> None:
        try:
            content = method(request) or {}
        except (InferenceError, OSError) as error:
            content = {"error": str(error)}
        except Exception:  # noqa: BLE001  # the supervisor decides what becomes of this process
            _log.exception("a request of the supervisor failed", method=request["method"])
            content = {"error": "a defect; the log of the worker has the details"}
        self._reply(request["id"], {**content, "generation": duty.generation})

    def _stop(self, duty: Any, request: _Request) -> None:  # noqa: ANN401  # `Duty`, imported late
        ended = duty.stop(request["grace_seconds"])
        duty.tracing.close(TRACE_FLUSH_SECONDS)
        self._writer.close(FLUSH_SECONDS)
        self._reply(request["id"], {"ended": ended, "metrics": duty.report()})
        os._exit(0)

    def _reply(self, number: int, content: dict[str, Any]) -> None:
        line = json.dumps({"id": number, **content}).encode() + b"\n"
        # When the supervisor has gone, the reader of requests sees that too.
        with self._sending, contextlib.suppress(OSError):
            self._connection.sendall(line)


class _Mark(logging.Filter):
    """Says in every line which worker it comes from."""

    def __init__(self, worker: int) -> None:
        super().__init__()
        self._worker = worker

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, dict):  # an event of structlog
            record.msg["worker"] = self._worker
        else:
            record.worker = self._worker
        return True


def _methods(duty: Any) -> _Methods:  # noqa: ANN401  # `Duty`, imported late
    """What is answered at once."""
    return {"say": lambda request: duty.say(request["mode"]), "report": lambda _: {"metrics": duty.report()}}


def _changes(duty: Any) -> _Methods:  # noqa: ANN401  # `Duty`, imported late
    """What takes time, one after another."""
    return {
        "restore": lambda request: duty.restore(plan_from_json(request["plan"])),
        "open": lambda request: duty.open(request["port"]),
        "prepare": lambda request: duty.prepare(Pending(request["slot"], Load(**request["load"]))),
        "commit": lambda request: duty.commit(request["slot"], request["number"]),
        "discard": lambda _: duty.discard(),
        "rollback": lambda request: duty.rollback(request["slot"], request["number"]),
        "unload": lambda request: duty.unload(request["slot"]),
    }


def _pin(worker: int) -> int | None:
    """Let this process run on one core; return which, or None where that cannot be said."""
    if sys.platform != "linux":
        return None
    cores = sorted(os.sched_getaffinity(0))
    core = cores[worker % len(cores)]
    try:
        os.sched_setaffinity(0, {core})
    except OSError:  # a sandbox may forbid it
        return None
    return core


if __name__ == "__main__":
    main(int(sys.argv[1]))
