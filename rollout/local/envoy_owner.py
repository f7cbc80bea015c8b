"""Owns one Envoy: `python -m rollout.local.envoy_owner ENVOY ARGUMENT…`.

The Envoy of the PyPI wheel is ended by the kernel as soon as the process that started it ends, so it needs a
parent that lives as long as the stack. This is that parent and nothing else: it passes signals on and ends
with Envoy's exit code.
"""

import signal
import subprocess
import sys
from types import FrameType

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Run Envoy until it ends; SIGTERM and SIGINT are passed on."""
    with subprocess.Popen(arguments) as envoy:

        def forward(number: int, _frame: FrameType | None) -> None:
            envoy.send_signal(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, forward)
        return envoy.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
