"""Standard output: whole lines, from one thread, that nobody waits for."""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator

import pytest

from inference.lines import LineWriter


class _Entry:
    """A line that remembers what became of it."""

    numbers = 1

    def __init__(self, line: bytes) -> None:
        self._line = line
        self.written: bool | None = None

    def encode(self) -> bytes:
        return self._line

    def settle(self, *, written: bool) -> None:
        self.written = written


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe whose reader only reads when the test says so."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:  # the test closed it
            continue


def test_lines_of_many_threads_never_interleave(pipe: tuple[int, int]) -> None:
    """Log lines and events from several threads arrive as whole lines, all of them, after `close`."""
    reader, descriptor = pipe
    writer = LineWriter(descriptor)
    writer.start()
    logger = logging.Logger("test")
    handler = logging.StreamHandler(writer)  # type: ignore[type-var]  # it has what a handler needs
    logger.addHandler(handler)

    def work(number: int) -> None:
        for index in range(200):
            logger.info(json.dumps({"thread": number, "index": index, "text": "x" * 500}))
            writer.offer(_Entry(json.dumps({"thread": number, "event": "y" * 500}).encode() + b"\n"))

    received: list[bytes] = []

    def read() -> None:
        with os.fdopen(reader, "rb", closefd=False) as stream:
            received.extend(stream)

    reading = threading.Thread(target=read)
    reading.start()
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.close(5)
    os.close(descriptor)
    reading.join()
    assert len([json.loads(line) for line in received]) == 4 * 200 * 2


def test_a_reader_that_hangs_holds_nobody_up(pipe: tuple[int, int]) -> None:
    """With a full pipe entries are refused, logging goes on, and `close` gives up in time."""
    writer = LineWriter(pipe[1], max_entries=100)
    writer.start()
    started = time.monotonic()
    accepted = [writer.offer(_Entry(b"z" * 5000 + b"\n")) for _ in range(2000)]
    for _ in range(1000):
        writer.write("log line\n")
    assert time.monotonic() - started < 2
    assert not all(accepted)
    assert not writer.close(0.1)


def test_a_closed_reader_is_counted_not_raised(pipe: tuple[int, int]) -> None:
    """When nobody can read any more, entries learn that they were not written."""
    writer = LineWriter(pipe[1])
    os.close(pipe[0])
    entry = _Entry(b"lost\n")
    writer.start()
    assert writer.offer(entry)
    assert writer.close(5)
    assert entry.written is False


def test_memory_is_bounded_by_numbers_too(pipe: tuple[int, int]) -> None:
    """A few entries with very many numbers fill the queue as well."""
    writer = LineWriter(pipe[1])
    large = _Entry(b"")
    large.numbers = 5_000_000
    assert writer.offer(large)
    assert not writer.offer(large)


def test_text_is_written_at_once_before_start_and_after_close(pipe: tuple[int, int]) -> None:
    """The first and the last words of a process are not lost."""
    writer = LineWriter(pipe[1])
    writer.write("first\n")
    writer.start()
    writer.write("second\n")
    assert writer.close(5)
    writer.write("last\n")
    assert os.read(pipe[0], 100) == b"first\nsecond\nlast\n"
