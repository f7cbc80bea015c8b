"""A real Chromium, spoken to over a pipe in its own protocol (DevTools), without any library."""

import base64
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Message = dict[str, Any]

#: Chromium reads commands from descriptor 3 and writes answers to 4: puts them there, out of each other's way.
_START = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3]]
os.dup2(ends[0], 3), os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page of a browser. What it reports while it works is kept in `events`."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._ids, self._read, self._session = itertools.count(1), b"", ""
        self.events: list[Message] = []

    def attach(self) -> None:
        """Open an empty page and listen to it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> Message:
        """Give a command and return its result."""
        number = next(self._ids)
        command: Message = {"id": number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while (message := self._next()).get("id") != number:
            self.events.append(message)
        assert "result" in message, message
        result: Message = message["result"]
        return result

    def open(self, url: str, width: int = 1280, *, scheme: str = "light") -> None:
        """Load a page, as wide as said, in the scheme `light` or `dark`, and wait for all of it."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def ask(self, expression: str) -> Any:  # noqa: ANN401 - as JavaScript gives it
        """Return the value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self) -> bytes:
        """Return the whole page as PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    def _next(self) -> Message:
        while b"\0" not in self._read:
            piece = os.read(self._answers, 1 << 20)
            assert piece, "Chromium ended"
            self._read += piece
        message, _, self._read = self._read.partition(b"\0")
        decoded: Message = json.loads(message)
        return decoded


@contextmanager
def browsing(program: str) -> Iterator[Browser]:
    """Start Chromium, which may reach this machine alone, and end it whatever happens."""
    (to_read, commands), (answers, to_write) = os.pipe(), os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        arguments = [
            "--headless=new",
            "--hide-scrollbars",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--remote-debugging-pipe",
            f"--user-data-dir={profile}",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        ]
        process = subprocess.Popen(
            [sys.executable, "-c", _START, str(to_read), str(to_write), program, *arguments],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read), os.close(to_write)
        try:
            browser = Browser(commands, answers)
            browser.attach()
            yield browser
        finally:
            process.terminate()
            process.wait(20)
            os.close(commands)
            os.close(answers)
