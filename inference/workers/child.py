"""One worker process as the supervisor holds it: started by exec, spoken to, ended."""

import os
import site
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Final

from inference.lines import LineWriter
from inference.workers.channel import Channel, Reply
from inference.workers.forwarding import Forwarder

__all__ = ["Child"]

#: The directory that holds the package `inference`.
_ROOT: Final = Path(__file__).parents[2]
#: Everything that a dead process wrote is in the pipe already.
_LAST_LINES_SECONDS: Final = 1.0


class Child:
    """A worker process, its channel, and what forwards its lines to `writer`; `hear` hears every reply."""

    def __init__(self, writer: LineWriter, hear: Callable[[Reply], None]) -> None:
        ours, its = socket.socketpair()
        lines, standard_output = os.pipe()
        try:
            # A session of its own: Ctrl-C is for the supervisor, which drains the workers in its own time.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "inference.workers.process", str(its.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=standard_output,
                pass_fds=(its.fileno(),),
                env=_environment(),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            os.close(lines)
            raise
        finally:
            its.close()
            os.close(standard_output)
        self._forwarder = Forwarder(lines, writer)
        self._channel = Channel(ours, hear)
        self.pid: Final = self._process.pid

    @property
    def lost(self) -> bool:
        """Whether it has died or hung up."""
        return self._channel.lost.is_set()

    def wait_lost(self, timeout_seconds: float) -> bool:
        """Wait until it has died or hung up, or the time is over; return whether it has."""
        return self._channel.lost.wait(timeout_seconds)

    def send(self, method: str, **fields: object) -> "Future[Reply]":
        """Ask without waiting."""
        return self._channel.send(method, **fields)

    def ask(self, method: str, timeout_seconds: float, **fields: object) -> Reply:
        """Ask and wait for the reply. Raises `WorkerError`."""
        return self._channel.ask(method, timeout_seconds, **fields)

    def kill(self) -> None:
        """Let the system end it; whoever waits for a reply learns of it."""
        self._process.kill()

    def end(self, timeout_seconds: float = 0.0) -> bool:
        """Wait for its end, kill it when the time is over, and collect what it left.

        Returns whether the last thing that it wrote was half a line.
        """
        try:
            self._process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._channel.close()
        return self._forwarder.end(_LAST_LINES_SECONDS)

    @property
    def how(self) -> str:
        """How it ended, as part of a sentence; empty while it runs."""
        code = self._process.poll()
        if code is None:
            return ""
        return f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"


def _environment() -> dict[str, str]:
    # Where packages are installed the child finds ours by itself; see `artifacts.child`.
    if str(_ROOT) in site.getsitepackages():
        return dict(os.environ)
    earlier = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{_ROOT}{os.pathsep}{earlier}" if earlier else str(_ROOT)}
