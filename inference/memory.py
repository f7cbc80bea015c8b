"""Memory that large messages used goes back to the system when they are done."""

import contextlib
import ctypes
import sys
from typing import Final

__all__ = ["return_large_blocks"]

#: `M_MMAP_THRESHOLD` of glibc's malloc.h.
_M_MMAP_THRESHOLD: Final = -3
#: Blocks from this size on are mapped one by one. Left alone, glibc raises its own limit (128 KiB) to 32 MiB as
#: large blocks are freed, takes the next ones from heaps, and does not give those back: a minute of 16 MiB
#: messages then costs hundreds of MB for good.
LARGE_BLOCK_BYTES: Final = 512 * 1024


def return_large_blocks() -> None:
    """Let glibc give large blocks back as soon as they are freed; do nothing where there is another libc."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
