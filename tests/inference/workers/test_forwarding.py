"""From the pipe of a worker to our standard output."""

import os
from pathlib import Path

from inference.lines import LineWriter
from inference.workers.forwarding import Forwarder


def _writer(output: Path, **options: int) -> tuple[int, LineWriter]:
    descriptor = os.open(output, os.O_CREAT | os.O_WRONLY)
    return descriptor, LineWriter(descriptor, **options)


def test_half_a_line_is_dropped_and_told(tmp_path: Path) -> None:
    """Lines come through however the pipe cuts them; what a killed worker began does not."""
    descriptor, writer = _writer(tmp_path / "out")
    writer.start()
    ours, its = os.pipe()
    forwarder = Forwarder(ours, writer)
    for part in (b'{"a":', b"1}\n{", b'"b":2}\n', b'{"c"'):
        os.write(its, part)
    os.close(its)
    assert forwarder.end(5)
    assert writer.close(5)
    assert (tmp_path / "out").read_bytes() == b'{"a":1}\n{"b":2}\n'
    os.close(descriptor)


def test_a_full_queue_holds_up_the_worker_and_loses_nothing(tmp_path: Path) -> None:
    """The pipe is read on when there is room again."""
    descriptor, writer = _writer(tmp_path / "out", max_entries=1)
    ours, its = os.pipe()
    lines = [b"%d" % number + b"x" * 1000 + b"\n" for number in range(40)]  # less than a pipe holds
    forwarder = Forwarder(ours, writer)
    for line in lines:
        os.write(its, line)
    os.close(its)
    assert not forwarder.end(0.2)  # it waits: nobody takes from the queue yet
    writer.start()
    assert not forwarder.end(5)
    assert writer.close(5)
    assert (tmp_path / "out").read_bytes() == b"".join(lines)
    os.close(descriptor)
