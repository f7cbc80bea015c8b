"""`python -m drift`: serve the drift monitor until SIGTERM."""

import argparse
import logging
import os
import sys
from typing import Final

import structlog

from drift.errors import DriftError, ExitCode
from drift.service.service import Service
from drift.settings import Settings
from telemetry import (
    HttpServer,
    PortInUseError,
    SettingsError,
    StopSignals,
    configure_logging,
    load_settings,
)

#: Time for the evaluation under way, then for requests in flight: together under the 5 s that we promise.
EVALUATION_GRACE_SECONDS: Final = 3.0
HTTP_GRACE_SECONDS: Final = 1.0

log = structlog.stdlib.get_logger("drift")


def main(arguments: list[str] | None = None) -> int:
    """Serve, and return the exit code."""
    _parser().parse_args(arguments)
    try:
        settings = load_settings(Settings)
    except SettingsError as error:
        configure_logging()
        log.critical(str(error))
        return ExitCode.USAGE
    configure_logging(settings.log_level, settings.log_format)
    logging.getLogger("httpx").setLevel("WARNING")  # it logs every request
    try:
        return _serve(settings)
    except DriftError as error:
        log.critical(str(error))
    return ExitCode.USAGE


def _serve(settings: Settings) -> int:
    with StopSignals() as stop:
        service = Service(settings)
        try:
            http = HttpServer(service.app, host=settings.host, port=settings.port, variable="PORT")
            http.start()
        except PortInUseError as error:
            log.critical(str(error))
            return ExitCode.USAGE
        except OSError as error:
            log.critical(f"{settings.host}:{settings.port} cannot be bound: {error}; set HOST and PORT")
            return ExitCode.USAGE
        log.info("listening", http_port=http.port)
        service.monitor.refresh()
        while not stop.wait(settings.drift_evaluation_interval_seconds):
            service.monitor.refresh()
        finished = service.stop(EVALUATION_GRACE_SECONDS)
        http.stop(HTTP_GRACE_SECONDS)
    if finished:
        log.info("stopped")
        return ExitCode.OK
    log.warning("stopped, the evaluation under way is abandoned")
    # A thread cannot be ended from outside, and the interpreter would wait for it.
    logging.shutdown()
    os._exit(ExitCode.OK)


def _parser() -> argparse.ArgumentParser:
    lines = []
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else f"default {field.default}"
        lines.append(f"  {name.upper()} ({default})\n      {field.description}")
    return argparse.ArgumentParser(
        prog="python -m drift",
        description="Serve the drift monitor. It is configured by environment variables:",
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


if __name__ == "__main__":
    sys.exit(main())
