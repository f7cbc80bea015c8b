"""Measures all servers in rounds, cell by cell in turns, so that all have the same machine.

All of them run at one time; those that are not asked wait, and take no processor time.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from benchmarks.load import Measured
from benchmarks.peers.agreement import count_differences
from benchmarks.peers.calls import SHAPES, Call, Shape, offer
from benchmarks.peers.forest import Forest
from benchmarks.peers.servers import Server
from benchmarks.report import say
from benchmarks.targets import Running

__all__ = ["Findings", "Key", "Sample", "measure"]

_WARM_UP_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Sample:
    """One call in one shape at one server in one round."""

    load: Measured
    #: Processor time of the server a call, in microseconds.
    cpu_us: float


#: Names of server, call and shape.
Key = tuple[str, str, str]


@dataclass
class Findings:
    """What was seen; lists have an entry a round."""

    samples: dict[Key, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    #: Seconds from the start of the process to its first answer.
    start_seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    #: At the end of a round.
    resident_mb: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    #: Rows that got another class than from scikit-learn.
    differences: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def of(self, server: Server, call: Call, shape: Shape) -> list[Sample]:
        """Return the samples of one cell."""
        return self.samples[server.name, call.name, shape.name]


def measure(servers: Sequence[Server], forest: Forest, rounds: int, seconds: float) -> Findings:
    """Measure, and say so after each round."""
    findings = Findings()
    for number in range(rounds):
        shift = number % len(servers)
        order = (*servers[shift:], *servers[:shift])  # whoever comes first is no better off
        with ExitStack() as stack:
            started = [(server, stack.enter_context(server.start(forest))) for server in order]
            _ask_all(started, forest, findings, seconds)
            for server, running in started:
                findings.start_seconds[server.name].append(running.start_seconds)
                findings.resident_mb[server.name].append(running.memory())
        say(f"round {number + 1} of {rounds} is measured")
    return findings


def _ask_all(
    started: Sequence[tuple[Server, Running]], forest: Forest, findings: Findings, seconds: float
) -> None:
    rows = forest.rows[:150:2]  # every second flower: all classes are among the first 64
    turns = [(server, running, call) for server, running in started for call in server.calls]
    for server, running in started:
        findings.differences[server.name].append(count_differences(running, forest))
    for _, running, call in turns:
        offer(running.grpc_port, call, SHAPES[1], rows, _WARM_UP_SECONDS)
    for shape in SHAPES:
        for server, running, call in turns:
            before = running.cpu_seconds()
            load = offer(running.grpc_port, call, shape, rows, seconds)
            used = running.cpu_seconds() - before
            sample = Sample(load, used * 1e6 / load.answered)
            findings.samples[server.name, call.name, shape.name].append(sample)
