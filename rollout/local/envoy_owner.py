"""Owns one Envoy: `python envoy_owner.py ENVOY ARGUMENT…`; needs nothing but the standard library.

The stack records one process for Envoy, and Envoy must not outlive it. This is that process and nothing else:
it passes signals on, ends with Envoy's exit code, and when it is killed the kernel ends Envoy (on Linux).
"""

import ctypes
import os
import signal
import subprocess
import sys
from types import FrameType
from typing import Final

__all__ = ["main"]

#: From linux/prctl.h: the signal that a process gets when its parent ends.
_PR_SET_PDEATHSIG: Final = 1


def main(arguments: list[str]) -> int:
    """Run Envoy until it ends; SIGTERM and SIGINT are passed on."""
    # Held back until there is an Envoy to pass them on to: an owner that ends before would leave it alone.
    held_back = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, held_back)
    owner = os.getpid()
    libc = ctypes.CDLL(None)

    def prepare() -> None:
        if sys.platform == "linux":
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() != owner:  # it was killed before this process asked to be told
                os._exit(1)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held_back)

    with subprocess.Popen(arguments, preexec_fn=prepare) as envoy:  # noqa: PLW1509  # there are no threads

        def forward(number: int, _frame: FrameType | None) -> None:
            envoy.send_signal(number)

        for number in held_back:
            signal.signal(number, forward)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, held_back)
        return envoy.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
