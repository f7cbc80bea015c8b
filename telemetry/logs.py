"""Log lines: events with fields, one valid JSON object a line, whoever wrote them.

    log = structlog.stdlib.get_logger("inference")
    log.info("model loaded", model="iris", version="7")
    {"timestamp": "…", "level": "INFO", "logger": "inference", "message": "model loaded", "model": "iris", …}

Lines of third-party loggers, `warnings`, and tracebacks that nobody caught pass through the same renderer.
"""

import io
import logging
import sys
import threading
from types import TracebackType
from typing import Final, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from telemetry.correlation import correlation_id

__all__ = ["LogFormat", "configure_logging"]

LogFormat = Literal["json", "console"]

_FIRST_KEYS: Final = ("timestamp", "level", "logger", "correlation_id", "message")
_LEVELS: Final = {"exception": "ERROR", "warn": "WARNING", "fatal": "CRITICAL"}


def configure_logging(
    level: str = "INFO", log_format: LogFormat = "json", stream: TextIO | None = None
) -> None:
    """Send every log line of the process to `stream` (standard output when None).

    `level` is a name of the logging module. With `json` each line is one JSON object with the keys
    `timestamp` (UTC, ISO 8601), `level`, `logger`, `message`, `correlation_id` where there is one, and the
    fields of the event; with `console` it is text for people.
    """
    shared: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _add_level,
        _add_correlation_id,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    stream = stream or sys.stdout
    if isinstance(stream, io.TextIOWrapper):  # JSON is UTF-8, and no character may cost a line
        stream.reconfigure(encoding="utf-8" if log_format == "json" else None, errors="backslashreplace")
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_renderers(log_format),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    sys.unraisablehook = _log_unraisable


class _Handler(logging.StreamHandler[TextIO]):
    """Writes a line about every record, also about one that cannot be rendered."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record; logging's own answer to an error is a traceback of many lines."""
        try:
            return super().format(record)
        except Exception as error:  # noqa: BLE001  # arguments that do not fit, a __str__ that raises anything
            substitute = {
                "name": record.name,
                "levelname": record.levelname,
                "msg": "log line could not be rendered",
                "where": f"{record.pathname}:{record.lineno}",
                "error": type(error).__name__,
            }
            return super().format(logging.makeLogRecord(substitute))


def _renderers(log_format: LogFormat) -> list[Processor]:
    if log_format == "console":
        return [structlog.dev.ConsoleRenderer(colors=sys.stdout.isatty())]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(serializer=_to_json),
    ]


def _to_json(event: EventDict, **_: object) -> str:
    # The keys that people look for stand first; `default=str` lets no field break a line.
    line = {key: event[key] for key in _FIRST_KEYS if key in event}
    line.update(event)
    try:
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:  # lone surrogates, integers beyond 64 bits
        return orjson.dumps({_printable(key): _printable(value) for key, value in line.items()}).decode()


def _printable(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()


def _add_level(_: WrappedLogger, method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    event["level"] = record.levelname if record is not None else _LEVELS.get(method, method.upper())
    return event


def _add_correlation_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    identifier = correlation_id.get()
    if identifier:
        event.setdefault("correlation_id", identifier)
    return event


def _log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("uncaught").critical("uncaught exception", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is None or args.exc_type is SystemExit:  # sys.exit() ends a thread quietly
        return
    name = args.thread.name if args.thread else "unknown"
    logging.getLogger("uncaught").critical(
        "uncaught exception in thread %s", name, exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
    )


def _log_unraisable(args: "sys.UnraisableHookArgs") -> None:
    if args.exc_value is None:
        return
    logging.getLogger("uncaught").error(
        "exception ignored in %r", args.object, exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
    )
