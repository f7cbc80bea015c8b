"""What was found, as Markdown."""

import statistics
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.peers.calls import MODEL_INFER, SHAPES, Call
from benchmarks.peers.rounds import Findings, Sample
from benchmarks.peers.servers import ONNX, SKLEARN, Ours, Server
from benchmarks.report import table

__all__ = ["Versions", "aims", "environments", "factors", "latencies", "processes", "speeds"]

#: Aims of the server (issue 4): of the calls per second of the best peer with each runtime.
_AIMS: Final = {SKLEARN: 20.0, ONNX: 2.0}

#: By environment, then by package.
Versions = dict[str, dict[str, str]]

_HEAD: Final = [shape.name for shape in SHAPES]


def speeds(servers: Sequence[Server], found: Findings) -> str:
    """Show calls per second (least to most), and processor time a call."""
    return _by_shape(servers, found, _speed)


def latencies(servers: Sequence[Server], found: Findings) -> str:
    """Show the 50th and the 99th percentile."""
    return _by_shape(servers, found, _latency)


def factors(servers: Sequence[Server], found: Findings) -> str:
    """Show how many times the calls of each peer ours answers, and how many times its processor time they take."""
    ours = _ours(servers)
    rows = [
        [f"{call.name} beside {peer.name}"]
        + [_factor(found.of(ours, call, shape), found.of(peer, MODEL_INFER, shape)) for shape in SHAPES]
        for call in ours.calls
        for peer in servers
        if peer is not ours
    ]
    return table(["", *_HEAD], rows)


def aims(servers: Sequence[Server], found: Findings) -> str:
    """Show what was asked for, and what it came to: by the clock, and by processor time."""
    ours, rows = _ours(servers), []
    for runtime, aim in _AIMS.items():
        peers = [server for server in servers if server is not ours and server.runtime == runtime]
        for call in ours.calls if peers else ():
            cells = [
                _reached(
                    found.of(ours, call, shape), [found.of(peer, MODEL_INFER, shape) for peer in peers], aim
                )
                for shape in SHAPES
            ]
            rows.append([f"{call.name}: ≥ {aim:.0f} × the best with {runtime}", *cells])
    return table(["", *_HEAD], rows)


def processes(servers: Sequence[Server], found: Findings) -> str:
    """Show start, memory and agreement."""
    rows = [
        [
            server.name,
            f"{statistics.median(found.start_seconds[server.name]):.1f}",
            f"{statistics.median(found.resident_mb[server.name]):.0f}",
            f"{max(found.differences[server.name])}",
        ]
        for server in servers
    ]
    return table(["server", "first answer s", "RSS MB", "rows unlike scikit-learn's"], rows)


def environments(servers: Sequence[Server], versions: Versions) -> str:
    """Show what was run, and the versions of what it ran on."""
    commands = [f"- {server.name}: `{server.command}`" for server in servers]
    rows = [[name, ", ".join(map(" ".join, found.items()))] for name, found in versions.items()]
    return "\n".join([*commands, "", table(["environment", "versions"], rows)])


def _ours(servers: Sequence[Server]) -> Ours:
    return next(server for server in servers if isinstance(server, Ours))


def _by_shape(servers: Sequence[Server], found: Findings, cell: Callable[[list[Sample]], str]) -> str:
    rows = [
        [_line(server, call), *(cell(found.of(server, call, shape)) for shape in SHAPES)]
        for server in servers
        for call in server.calls
    ]
    return table(["server", *_HEAD], rows)


def _line(server: Server, call: Call) -> str:
    return f"**{server.name}, {call.name}**" if isinstance(server, Ours) else server.name


def _speed(samples: list[Sample]) -> str:
    rates = [sample.load.calls_per_second for sample in samples]
    cpu = statistics.median(sample.cpu_us for sample in samples)
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f}), {cpu:,.0f} µs"


def _latency(samples: list[Sample]) -> str:
    p50 = statistics.median(sample.load.p50_ms for sample in samples)
    p99 = statistics.median(sample.load.p99_ms for sample in samples)
    return f"{p50:.2f} / {p99:.2f}"


def _factor(ours: list[Sample], theirs: list[Sample]) -> str:
    rates = _rates(ours, theirs)
    cpu = statistics.median(_cpu_times(ours, theirs))
    return f"{statistics.median(rates):.3g} ({min(rates):.3g}–{max(rates):.3g}), CPU {cpu:.3g}"


def _reached(ours: list[Sample], peers: list[list[Sample]], aim: float) -> str:
    found = (
        min(statistics.median(ratios(ours, theirs)) for theirs in peers) for ratios in (_rates, _cpu_times)
    )
    return ", ".join(f"{times:.3g} {'✓' if times >= aim else '✗'}" for times in found)


def _rates(ours: list[Sample], theirs: list[Sample]) -> list[float]:
    """Divide round by round: what slowed the machine slowed both."""
    pairs = zip(ours, theirs, strict=True)
    return [mine.load.calls_per_second / other.load.calls_per_second for mine, other in pairs]


def _cpu_times(ours: list[Sample], theirs: list[Sample]) -> list[float]:
    return [other.cpu_us / mine.cpu_us for mine, other in zip(ours, theirs, strict=True)]
