"""Log lines: whatever is logged, each line is one valid JSON object."""

import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from telemetry import LogFormat, configure_logging, correlation_id

ROOT = Path(__file__).resolve().parents[2]

#: Names that structlog's own calling convention takes; a field cannot have them.
RESERVED = {
    "event",
    "exc_info",
    "stack_info",
    "positional_args",
    "_record",
    "_from_structlog",
    "stacklevel",
    "self",
    "extra",
}

TEXT = st.text(st.characters(exclude_categories=[]))  # lone surrogates and control characters included
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.binary() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.integers(), inner, max_size=3),
    max_leaves=8,
)

Log = structlog.stdlib.BoundLogger


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Log lines as JSON in a buffer; the logging of the test process is as before afterwards."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level, sys.excepthook, threading.excepthook, sys.unraisablehook)
    buffer = io.StringIO()
    configure_logging("DEBUG", "json", buffer)
    yield buffer
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:], level, sys.excepthook, threading.excepthook, sys.unraisablehook = before
    root.setLevel(level)


def taken(stream: io.StringIO) -> list[dict[str, Any]]:
    """Parse what was logged since the last call, strictly."""
    lines = stream.getvalue().split("\n")
    stream.seek(0)
    stream.truncate()
    assert lines.pop() == ""
    return [json.loads(line, parse_constant=pytest.fail) for line in lines]


def only_here(stream: io.StringIO) -> None:
    """Drop the handlers that pytest adds for the length of a test: they refuse what ours must bear."""
    configure_logging("DEBUG", "json", stream)


def logger() -> Log:
    log: Log = structlog.stdlib.get_logger("inference")
    return log


def test_an_event_carries_its_fields_and_where_it_came_from(stream: io.StringIO) -> None:
    """A line has time, level, logger and message first, then the fields of the event."""
    logger().info("model loaded", model="iris", version="7", rows=3)
    (line,) = taken(stream)
    assert list(line)[:4] == ["timestamp", "level", "logger", "message"]
    assert line["timestamp"].endswith("Z")
    del line["timestamp"]
    assert line == {
        "level": "INFO",
        "logger": "inference",
        "message": "model loaded",
        "model": "iris",
        "version": "7",
        "rows": 3,
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=TEXT, fields=st.dictionaries(TEXT.filter(lambda key: key not in RESERVED), VALUES, max_size=4))
def test_any_text_in_any_field_gives_one_parseable_line(
    stream: io.StringIO, message: str, fields: dict[str, Any]
) -> None:
    """No text, key or value, valid Unicode or not, breaks a line or loses one."""
    logger().warning(message, **fields)
    (line,) = taken(stream)
    assert line["level"] == "WARNING"
    assert line["message"] == message.encode("utf-8", "backslashreplace").decode()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(message=TEXT, argument=VALUES)
def test_third_party_loggers_pass_through_the_same_renderer(
    stream: io.StringIO, message: str, argument: object
) -> None:
    """The standard library's loggers give the same lines, also when template and arguments do not fit."""
    only_here(stream)
    logging.getLogger("third.party").error(message, argument)
    logging.getLogger("third.party").error("%s", message)
    unfit, fit = taken(stream)
    assert unfit["logger"] == fit["logger"] == "third.party"
    assert fit["message"] == message.encode("utf-8", "backslashreplace").decode()


def test_a_line_that_cannot_be_rendered_is_replaced_by_one_that_says_where(stream: io.StringIO) -> None:
    """An object whose `str` raises costs its text, not the line, and nothing reaches standard error."""

    only_here(stream)

    class Hostile:
        def __str__(self) -> str:
            raise ZeroDivisionError

        __repr__ = __str__

    logger().info("asked", who=Hostile())
    logging.getLogger("third.party").info("%d", "no number")
    first, second = taken(stream)
    assert (first["error"], second["error"]) == ("ZeroDivisionError", "TypeError")
    assert first["message"] == second["message"] == "log line could not be rendered"
    assert "test_logs.py" in second["where"]


def test_a_value_nested_beyond_every_limit_costs_no_line(stream: io.StringIO) -> None:
    """Neither a cycle nor 100,000 nested lists break a line."""
    only_here(stream)
    cycle: list[object] = []
    cycle.append(cycle)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    logger().info("cycle", value=cycle)
    logger().info("deep", value=deep)
    assert len(taken(stream)) == 2


def test_exceptions_are_a_field_of_their_line(stream: io.StringIO) -> None:
    """A traceback of many lines, with a text in any encoding, stays inside one line."""
    try:
        raise ValueError('line one\nline "two" \ud800')
    except ValueError:
        logger().exception("failed", step=3)
        logging.getLogger("third.party").exception("failed too")
    for line in taken(stream):
        assert line["level"] == "ERROR"
        assert "Traceback" in line["exception"]
        assert 'line "two"' in line["exception"]


def test_warnings_are_lines(stream: io.StringIO) -> None:
    """`warnings.warn` gives a line of level WARNING."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)  # catch_warnings put the original function back
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
    (line,) = taken(stream)
    assert line["level"] == "WARNING"
    assert line["logger"] == "py.warnings"
    assert "old way" in line["message"]


def test_an_exception_that_ends_a_thread_is_a_line(stream: io.StringIO) -> None:
    """A thread that dies says so in one line with its name; one that calls sys.exit() ends quietly."""

    def die() -> None:
        raise RuntimeError("dead")

    for target in (die, sys.exit):
        thread = threading.Thread(target=target, name="worker-7")
        thread.start()
        thread.join()
    (line,) = taken(stream)
    assert line["level"] == "CRITICAL"
    assert "worker-7" in line["message"]
    assert "RuntimeError: dead" in line["exception"]


def test_the_correlation_id_is_on_every_line_of_its_request(stream: io.StringIO) -> None:
    """Lines inside a request carry its id, third-party ones too; lines outside carry none."""
    token = correlation_id.set("request-7")
    logger().info("inside")
    logging.getLogger("third.party").info("inside too")
    correlation_id.reset(token)
    logger().info("outside")
    first, second, third = taken(stream)
    assert first["correlation_id"] == second["correlation_id"] == "request-7"
    assert "correlation_id" not in third


def test_lines_below_the_level_are_not_written(stream: io.StringIO) -> None:
    """`level` holds for our loggers and for others."""
    configure_logging("WARNING", "json", stream)
    logger().info("quiet")
    logging.getLogger("third.party").info("quiet")
    logger().error("loud")
    assert [line["message"] for line in taken(stream)] == ["loud"]


def test_fields_cannot_pretend_to_be_what_a_line_is_found_by(stream: io.StringIO) -> None:
    """Fields named level, logger, timestamp and message do not replace the real ones."""
    logger().error("real", level="DEBUG", logger="other", timestamp="1970", message="forged")
    (line,) = taken(stream)
    assert (line["level"], line["logger"], line["message"]) == ("ERROR", "inference", "real")
    assert line["timestamp"] != "1970"


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_no_character_costs_a_line_whatever_the_encoding_of_the_stream(
    log_format: LogFormat, encoding: str, stream: io.StringIO
) -> None:
    """A terminal or pipe that is not UTF-8 loses nothing."""
    raw = io.BytesIO()
    configure_logging("INFO", log_format, io.TextIOWrapper(raw, encoding=encoding, line_buffering=True))
    logger().info("Grüße 猫 \ud800")
    text = raw.getvalue().decode("utf-8" if log_format == "json" else encoding)
    assert "Gr" in text
    assert text.count("\n") == 1
    if log_format == "json":
        assert json.loads(text)["message"] == "Grüße 猫 \\ud800"


PROCESS = """
import gc, logging, threading, warnings
from telemetry import configure_logging
configure_logging()
class Odd:
    def __del__(self): raise ValueError("ignored by Python")
Odd()
gc.collect()
warnings.warn("old")
logging.getLogger("third").error("%d", "x")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise RuntimeError("the end\\nof it")
"""


def test_every_line_of_a_process_is_json_to_its_last(tmp_path: Path) -> None:
    """Uncaught, unraisable and ill-formatted: one JSON object each on standard output, standard error empty."""
    done = subprocess.run(
        [sys.executable, "-c", PROCESS],
        cwd=ROOT,
        env={"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert done.stderr == ""
    assert [line["logger"] for line in lines] == ["uncaught", "py.warnings", "third", "uncaught", "uncaught"]
    assert "the end\nof it" in lines[-1]["exception"]
