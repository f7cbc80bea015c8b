"""Signals: the first drains, the second ends at once, whenever they arrive."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from telemetry import StopSignals

ROOT = Path(__file__).resolve().parents[2]

PROCESS = """
import threading
from telemetry import StopSignals
with StopSignals() as signals:
    print("ready", flush=True)
    signals.wait()
    print("draining", signals.received, flush=True)
    {drain}
print("drained", flush=True)
"""


def start(drain: str) -> "subprocess.Popen[str]":
    """Start a process and return once it waits for signals."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS.format(drain=drain)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains(number: signal.Signals) -> None:
    """A process that was asked to stop finishes what it does and ends with 0."""
    with start("pass") as process:
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)
        assert output == "draining True\ndrained\n"
        assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_ends_at_once(number: signal.Signals) -> None:
    """A process that hangs in its drain ends with 128 + signal number."""
    with start("threading.Event().wait()") as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "draining True\n"
        process.send_signal(number)
        assert process.wait(20) == 128 + number


def test_stop_from_within_wakes_the_waiter() -> None:
    """Another thread may ask to stop as a signal does, and every later wait returns at once."""
    with StopSignals() as signals:
        assert not signals.wait(0)
        assert not signals.wait(-1)
        thread = threading.Thread(target=signals.stop)
        thread.start()
        assert signals.wait(20)
        assert signals.wait(20)
        assert signals.received
        thread.join()


SIGNAL_AT_EVERY_LINE = """
import os, signal, sys
from telemetry import StopSignals
at = 0
while True:
    seen = 0
    def trace(frame, event, _argument):
        global seen
        if frame.f_code.co_filename.endswith(("lifecycle.py", "threading.py", "queue.py")):
            seen += 1
            if seen == at:
                os.kill(os.getpid(), signal.SIGTERM)
        return trace
    with StopSignals() as signals:
        sys.settrace(trace)
        signals.wait(0.01)
        sys.settrace(None)
    if seen < at:
        break
    at += 1
print("lines", at)
"""


def test_a_signal_may_arrive_at_any_moment_of_the_wait() -> None:
    """A signal is sent at each line that a wait executes, one after the other; none hangs the process.

    With an Event it does: its lock is held when the handler runs, and the handler needs it.
    """
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL_AT_EVERY_LINE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert int(done.stdout.split()[1]) >= 3


def test_the_handlers_of_before_come_back() -> None:
    """Outside the context the process reacts to signals as it did."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


SIGNAL_IN_ANOTHER_THREAD = """
import signal, threading, time
from telemetry import StopSignals
with StopSignals() as signals:
    # Blocked in the main thread, so the kernel has to choose one of the others.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("ready", flush=True)
    signals.wait()
    print("draining", signals.received, flush=True)
    time.sleep(60)
"""


def test_a_signal_may_reach_any_thread() -> None:
    """Both signals work when the kernel gives them to a thread that is not the main one, which sleeps."""
    process = subprocess.Popen(
        [sys.executable, "-c", SIGNAL_IN_ANOTHER_THREAD], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "draining True\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 128 + signal.SIGTERM
