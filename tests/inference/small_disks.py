"""File systems of a size of their own, for what happens when a disk is full or read-only."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["small_disk_at"]


@contextlib.contextmanager
def small_disk_at(place: Path, options: str) -> Iterator[None]:
    """Mount memory at `place` (which may not exist yet) with options of `mount`; skip where nobody may."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if mounted.returncode != 0:
        pytest.skip(f"this user may not mount: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        # Lazily: a server that a test has not ended yet may still hold files there.
        subprocess.run(["umount", "--lazy", str(place)], check=True)
