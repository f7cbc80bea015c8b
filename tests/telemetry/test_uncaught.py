"""What nobody caught, in a real process: one JSON object a line, whatever the error is made of."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

START = """
import asyncio, logging, os, sys, threading, warnings
from telemetry import configure_logging, correlation_id
configure_logging()

class Hostile(Exception):
    def __str__(self):
        raise ZeroDivisionError("even its text fails")
    __repr__ = __str__

def in_thread(work):
    thread = threading.Thread(target=work, name="worker-7")
    thread.start()
    thread.join()
"""


def _lines(script: str, *, code: int = 0) -> list[dict[str, str]]:
    done = subprocess.run(
        [sys.executable, "-c", START + script],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_error_without_a_text() -> None:
    """An exception whose own `str` raises ends thread and process with a line each all the same."""
    script = "def die(): raise Hostile\nin_thread(die)\ndie()\n"
    in_thread, at_the_end = _lines(script, code=1)
    assert in_thread["logger"] == at_the_end["logger"] == "uncaught"
    assert in_thread["level"] == "CRITICAL"


def test_chains_and_groups_stay_in_their_line() -> None:
    """Causes, contexts and groups of exceptions are one line, with all of their texts in it."""
    script = (
        "try:\n"
        "    1 / 0\n"
        "except ZeroDivisionError as error:\n"
        "    raise ExceptionGroup('both\\nof them', [ValueError('first'), KeyError('second')]) from error\n"
    )
    (line,) = _lines(script, code=1)
    assert all(
        text in line["exception"] for text in ("ZeroDivisionError", "both", "of them", "first", "second")
    )


def test_an_error_in_a_task_that_nobody_awaits() -> None:
    """asyncio's complaints pass through the same renderer."""
    script = (
        "async def main():\n"
        "    async def die(): raise ValueError('alone')\n"
        "    task = asyncio.ensure_future(die())\n"
        "    await asyncio.sleep(0)\n"
        "    del task\n"
        "    import gc; gc.collect()\n"
        "asyncio.run(main())\n"
    )
    (line,) = _lines(script)
    assert line["logger"] == "asyncio"
    assert "alone" in line["exception"]


def test_warnings_and_errors_carry_the_request_they_happened_in() -> None:
    """The correlation id of the thread is on the line of a warning, and on that of the error that ends it."""
    script = (
        "def work():\n"
        "    correlation_id.set('r-7')\n"
        "    warnings.simplefilter('always')\n"
        "    warnings.warn('old')\n"
        "    raise RuntimeError('and over')\n"
        "in_thread(work)\n"
    )
    warned, died = _lines(script)
    assert (warned["logger"], warned["correlation_id"]) == ("py.warnings", "r-7")
    assert (died["logger"], died["correlation_id"]) == ("uncaught", "r-7")


@pytest.mark.parametrize("end", ["sys.exit(3)", "raise SystemExit(3)", "in_thread(sys.exit); sys.exit(3)"])
def test_an_orderly_end_says_nothing(end: str) -> None:
    """`sys.exit` is no error, in a thread or outside."""
    assert _lines(end, code=3) == []
