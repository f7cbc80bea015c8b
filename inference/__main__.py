"""`python -m inference`: serve until a signal says stop.

python -m inference                      serve; settings come from the environment
python -m inference --help               list the variables
python -m inference --settings-schema    print the JSON schema of the settings
python -m inference conform ADDRESS      check a server of the Open Inference Protocol, point by point
"""

import json
import logging
import os
import sys
import textwrap
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TextIO, cast

import structlog
from prometheus_client import disable_created_metrics

from inference.errors import ExitCode, InferenceError
from inference.lines import LineWriter
from inference.memory import return_large_blocks
from inference.settings import Settings
from inference.tracing import open_tracing
from telemetry import PortInUseError, SettingsError, StopSignals, configure_logging, load_settings

if TYPE_CHECKING:
    from inference.service import Service

#: How long the queue of events and log lines may take to be written at the end.
FLUSH_SECONDS: Final = 5.0
#: How long the spans that were recorded may take to reach their collector at the end.
TRACE_FLUSH_SECONDS: Final = 3.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")

#: Exit code of a defect, as Python's own for an error that nobody caught.
_DEFECT = 1


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks and return the exit code."""
    if arguments[:1] == ["conform"]:
        from inference.conform.command import main as conform  # noqa: PLC0415  # serving needs none of it

        return conform(arguments[1:])
    if list(arguments) == ["--settings-schema"]:
        sys.stdout.write(json.dumps(Settings.model_json_schema(), indent=2) + "\n")
        return ExitCode.OK
    if arguments:
        asked_help = list(arguments) in (["--help"], ["-h"])
        (sys.stdout if asked_help else sys.stderr).write(_help())
        return ExitCode.OK if asked_help else ExitCode.USAGE
    writer = LineWriter(sys.stdout.fileno())
    try:
        return _run(writer)
    finally:
        writer.close(FLUSH_SECONDS)


def _run(writer: LineWriter) -> int:
    stream = cast("TextIO", writer)  # what a logging handler needs of one
    try:
        settings = load_settings(Settings)
    except SettingsError as error:
        configure_logging(stream=stream)
        for problem in error.problems:
            _log.error(problem)
        return ExitCode.USAGE
    configure_logging(settings.log_level, settings.log_format, stream)
    try:
        tracing = open_tracing(os.environ, stream, track=settings.deployment_track)
    except SettingsError as error:
        for problem in error.problems:
            _log.error(problem)
        return ExitCode.USAGE
    logging.getLogger("uvicorn").setLevel("WARNING")  # when it starts and stops is said by our own lines
    return_large_blocks()
    disable_created_metrics()  # type: ignore[no-untyped-call]  # they double what is scraped, unread
    # When grpcio is imported, its C core decides what it writes to standard error; its lines are no JSON.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with StopSignals() as signals:
        from inference.service import Service  # noqa: PLC0415  # not earlier, and not for --help

        try:
            service = Service(settings, writer, tracing)
        except (PortInUseError, OSError) as error:
            _log.error(str(error))
            return ExitCode.USAGE
        except InferenceError as error:
            _log.error(str(error))
            return error.exit_code
        writer.start()
        code = _serve(service, settings, signals, writer)
        if not tracing.close(TRACE_FLUSH_SECONDS):
            _log.warning("traces lost: the collector does not answer")
        return code


def _serve(service: "Service", settings: Settings, signals: StopSignals, writer: LineWriter) -> int:
    service.start()
    loading = _Loading(service, signals)
    loading.start()
    signals.wait()
    if loading.exit_code or not service.plane.ready:  # no model, so nobody to drain
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


def _help() -> str:
    lines = [__doc__ or "", "Variables, each with its default:", ""]
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        shown = (
            "none"
            if default is None or default == ()
            else str(default).lower()
            if default is False
            else default
        )
        lines.append(f"  {name.upper()} ({shown})")
        lines.extend(
            textwrap.wrap(field.description or "", 96, initial_indent="      ", subsequent_indent="      ")
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
