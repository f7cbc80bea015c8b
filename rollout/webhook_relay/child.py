"""`python -m rollout.webhook_relay.child DIRECTORY DEPLOYMENT ATTEMPT COMMAND…`: run it and write down how it ended.

The relay starts this process and may be killed while the command runs: the exit code is then in the inbox all the
same. Its lock is the kernel's, so it is free as soon as this process is gone, however it went.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from rollout.console import fail
from rollout.errors import RolloutError
from rollout.webhook_relay.inbox import Inbox

__all__ = ["command_lock", "main"]

#: sysexits.h: a temporary failure, the caller may try again.
_NOT_OUR_TURN: Final = 75
#: The shell's exit codes for a command that does not exist and one that cannot be run.
_NOT_FOUND: Final = 127
_NOT_RUNNABLE: Final = 126


def command_lock(directory: Path) -> FileLock:
    """Return the lock that whoever runs a command holds."""
    return FileLock(directory / "command.lock", timeout=0)


def main(arguments: Sequence[str]) -> int:
    """Run the command, if it is the turn of this attempt, and return its exit code."""
    place, deployment, attempt, *command = arguments
    try:
        with command_lock(Path(place)):
            inbox = Inbox.existing(Path(place))
            try:
                if not inbox.claim(int(deployment), int(attempt)):
                    fail(f"attempt {attempt} of deployment {deployment} was given up before it began")
                    return _NOT_OUR_TURN
                code = _run(command)
                inbox.finish(int(deployment), int(attempt), code)
                return code
            finally:
                inbox.close()
    except Timeout:
        fail(f"another command runs for the relay in {place}: there is one at a time")
        return _NOT_OUR_TURN
    except RolloutError as error:
        fail(str(error))
        return int(error.exit_code)


def _run(command: Sequence[str]) -> int:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    except FileNotFoundError:
        fail(f"the command {command[0]} does not exist; correct RELAY_COMMAND")
        return _NOT_FOUND
    except OSError as error:
        fail(f"the command {command[0]} cannot be run: {error.strerror}; correct RELAY_COMMAND")
        return _NOT_RUNNABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
