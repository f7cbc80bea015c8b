"""The process of a server: from its settings to its exit code.

What callers need comes first: gRPC answers as soon as its port is bound, and says SERVING as soon as a model is
loaded. HTTP, whose libraries take as long to import as all the rest, comes up after that. Its port is bound from the
beginning, so that whoever asks early waits for a moment and is not refused.
"""

import gc
import logging
import os
import threading
import time
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Final, TextIO, cast

import structlog
from prometheus_client import disable_created_metrics

from inference.errors import ExitCode, InferenceError
from inference.lines import LineWriter
from inference.memory import return_large_blocks
from inference.settings import Settings
from inference.tracing import Tracing, open_tracing
from telemetry import (
    FLUSH_SECONDS,
    TRACE_FLUSH_SECONDS,
    PortInUseError,
    SettingsError,
    StopSignals,
    configure_logging,
    load_settings,
)

if TYPE_CHECKING:
    from inference.service import Service

__all__ = ["run"]

#: How long HTTP waits at most for a model. A cached one takes a tenth of it, and a probe waits a second by default.
HTTP_WAITS_SECONDS: Final = 0.5
#: Exit code of a defect, as Python's own for an error that nobody caught.
_DEFECT: Final = 1

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")


def run(environment: MutableMapping[str, str], output: int) -> int:
    """Serve until a signal says stop, write every line to the descriptor `output`, and return the exit code."""
    writer = LineWriter(output)
    try:
        return _run(environment, writer)
    finally:
        writer.close(FLUSH_SECONDS)


def _run(environment: MutableMapping[str, str], writer: LineWriter) -> int:
    stream = cast("TextIO", writer)  # what a logging handler needs of one
    configure_logging(stream=stream)
    try:
        settings = load_settings(Settings)
        configure_logging(settings.log_level, settings.log_format, stream)
        tracing = open_tracing(environment, stream, track=settings.deployment_track)
    except SettingsError as error:
        for problem in error.problems:
            _log.error(problem)
        return ExitCode.USAGE
    logging.getLogger("uvicorn").setLevel("WARNING")  # when it starts and stops is said by our own lines
    return_large_blocks()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # they double what is scraped, unread
    # When grpcio is imported, its C core decides what it writes to standard error; its lines are no JSON.
    environment.setdefault("GRPC_VERBOSITY", "NONE")
    return _serve(settings, writer, tracing)


def _serve(settings: Settings, writer: LineWriter, tracing: Tracing) -> int:
    with StopSignals() as signals:
        from inference.service import Service  # noqa: PLC0415  # grpcio only when its variable is set

        try:
            service = Service(settings, writer, tracing)
        except (PortInUseError, OSError) as error:
            _log.error(str(error))
            return ExitCode.USAGE
        except InferenceError as error:
            _log.error(str(error))
            return error.exit_code
        writer.start()
        code = _live(service, settings, signals, writer)
        if not tracing.close(TRACE_FLUSH_SECONDS):
            _log.warning("traces lost: the collector does not answer")
        return code


def _live(service: "Service", settings: Settings, signals: StopSignals, writer: LineWriter) -> int:
    service.start_grpc()
    loading = _Loading(service, signals)
    loading.start()
    loading.join(HTTP_WAITS_SECONDS)
    if not loading.exit_code:
        service.start_http()
    gc.freeze()  # what is there now stays; `__main__` turned the collector off
    gc.enable()
    signals.wait()
    if loading.exit_code or not service.loaded:  # never had a model, so nobody to drain
        service.stop(0)
        return loading.exit_code
    _log.info("draining", delay_seconds=settings.drain_delay_seconds)
    service.drain()
    time.sleep(settings.drain_delay_seconds)
    if not service.stop(settings.shutdown_grace_seconds):
        _log.warning("requests cut off", grace_seconds=settings.shutdown_grace_seconds)
        writer.close(FLUSH_SECONDS)
        os._exit(ExitCode.OK)  # Python would wait for the threads that still work on them
    _log.info("stopped")
    return ExitCode.OK


class _Loading(threading.Thread):
    """Loads the model while the main thread waits for signals; asks to stop when that fails."""

    def __init__(self, service: "Service", signals: StopSignals) -> None:
        super().__init__(name="loading", daemon=True)
        self._service = service
        self._signals = signals
        self.exit_code: int = ExitCode.OK

    def run(self) -> None:
        try:
            self._service.load()
        except InferenceError as error:
            _log.error(str(error))
            self.exit_code = error.exit_code
            self._signals.stop()
        except Exception:  # noqa: BLE001  # the edge of the process
            _log.exception("the model cannot be loaded")
            self.exit_code = _DEFECT
            self._signals.stop()
