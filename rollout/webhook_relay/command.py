"""The local trigger: a command as a child process, which ends on its own terms, whatever becomes of the relay."""

import contextlib
import shlex
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from rollout.errors import ExitCode
from rollout.local.processes import python_environment, python_module
from rollout.webhook_relay.deployment import Deployment, Wanted
from rollout.webhook_relay.inbox import Inbox
from rollout.webhook_relay.trigger import Answer, Result

__all__ = ["CommandTrigger", "command_for"]

#: How often the wait for a command looks whether the relay is to end.
_LOOK_SECONDS: Final = 0.2
_TAIL_BYTES: Final = 2000
_TAIL_CHARACTERS: Final = 300

_ENDS: Final[Mapping[int, tuple[Answer, str]]] = {
    ExitCode.PROMOTED: (Answer.DONE, "promoted"),
    ExitCode.ABORTED: (Answer.DECLINED, "aborted and rolled back"),
    ExitCode.INCONCLUSIVE: (Answer.DECLINED, "inconclusive, rolled back"),
    # What the relay says is right by pattern, so this is the place: no stack runs, or another command has it.
    ExitCode.USAGE: (Answer.AGAIN, "refused"),
    ExitCode.INFRASTRUCTURE: (Answer.AGAIN, "infrastructure error"),
}


class CommandTrigger:
    """Runs the command of the settings, one at a time, with its output in `logs/` of the state directory."""

    def __init__(self, inbox: Inbox, command: str | None, stopping: threading.Event) -> None:
        self._inbox, self._command, self._stopping = inbox, command, stopping

    def fire(self, deployment: Deployment) -> Result:
        """Run the command to its end, or until the relay is to stop; then it goes on without us."""
        log = self._log(deployment)
        words = command_for(deployment.wanted, self._command)
        arguments = [str(self._inbox.directory), str(deployment.id), str(deployment.attempts), *words]
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as output:
                child = subprocess.Popen(
                    python_module("rollout.webhook_relay.child", *arguments),
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # a Ctrl-C in the relay's terminal is not for the rollout
                )
        except OSError as error:
            return Result(Answer.AGAIN, f"the command cannot be started with log {log}: {error.strerror}")
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_LOOK_SECONDS)
                break
            if self._stopping.is_set():
                child.returncode = 0  # we will not wait for it; without this Python warns that nobody does
                return Result(Answer.LEFT, f"process {child.pid} goes on; its output is in {log}")
        return self.result_of(self._inbox.get(deployment.id)) or Result(
            Answer.AGAIN, f"the command ended without a word{self._tail(deployment)}"
        )

    def result_of(self, deployment: Deployment) -> Result | None:
        """Say what the exit code of an attempt means; None when the command never got to its end."""
        code = deployment.exit_code
        if code is None:
            return None
        answer, words = _ENDS.get(code, (Answer.AGAIN, f"ended with exit code {code}"))
        tail = "" if answer is Answer.DONE else self._tail(deployment)
        return Result(answer, words + tail)

    def _log(self, deployment: Deployment) -> Path:
        return self._inbox.directory / "logs" / f"deployment-{deployment.id}-{deployment.attempts}.log"

    def _tail(self, deployment: Deployment) -> str:
        """Return the last line of the log, for people, with where the rest is."""
        log = self._log(deployment)
        with contextlib.suppress(OSError):
            lines = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip().splitlines()
            last = "".join(c for c in (lines or [""])[-1] if c.isprintable())[:_TAIL_CHARACTERS]
            return f": {last} ({log})" if last else f" ({log})"
        return ""


def command_for(wanted: Wanted, template: str | None) -> Sequence[str]:
    """Return the words of the command; values become parts of words, so that none is ever read by a shell."""
    if template is None:
        root = str(Path(__file__).resolve().parents[2])
        return python_module("invoke", "-r", root, "deploy-canary", "--model-uri", wanted.model_uri)
    values = {
        "model_uri": wanted.model_uri,
        "name": wanted.name,
        "version": wanted.version,
        "alias": wanted.alias,
    }
    return [word.format_map(values) for word in shlex.split(template)]


def _environment() -> dict[str, str]:
    """Return our environment without our own settings: secrets are not for the command."""
    return {name: value for name, value in python_environment().items() if not name.startswith("RELAY_")}
