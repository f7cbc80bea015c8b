"""Other people's servers beside ours.

python -m benchmarks.peers [--rounds 3] [--seconds 2] [--only WORD …] [--json DIR]
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks.bundles import train
from benchmarks.peers.environments import SHARED
from benchmarks.peers.forest import lay_down
from benchmarks.peers.rounds import Findings, measure
from benchmarks.peers.servers import SERVERS, Ours, Server
from benchmarks.peers.tables import Versions, aims, environments, factors, latencies, processes, speeds
from benchmarks.report import say, write


def main() -> int:
    """Measure and show."""
    options = _parse()
    servers = [server for server in SERVERS if isinstance(server, Ours) or _is_wanted(server, options.only)]
    versions = _versions(servers)
    with tempfile.TemporaryDirectory() as directory:
        forest = lay_down(train(Path(directory)), Path(directory))
        found = measure(servers, forest, options.rounds, options.seconds)
    for title, shown in _tables(servers, found, versions):
        say(f"\n{title}\n\n{shown}")
    write(options.json, "peers", _results(servers, found, versions))
    return int(any(map(any, found.differences.values())))


def _versions(servers: Sequence[Server]) -> Versions:
    """Make the environments of `servers`, and look what is in them."""
    found = {"ours": {name: version(name) for name in SHARED if name != "scikit-learn"}}
    for server in servers:
        if server.environment is not None and server.environment.name not in found:
            server.environment.make()
            found[server.environment.name] = server.environment.versions()
    return found


def _is_wanted(server: Server, words: Sequence[str]) -> bool:
    return not words or any(word.lower() in server.name.lower() for word in words)


def _tables(servers: Sequence[Server], found: Findings, versions: Versions) -> list[tuple[str, str]]:
    return [
        (
            "Calls per second, median (range) of the rounds, and CPU µs of the server a call",
            speeds(servers, found),
        ),
        (
            "Ours beside theirs: times the calls per second, median (range), and times the calls per CPU second",
            factors(servers, found),
        ),
        ("The aims of the server, by the clock and by CPU", aims(servers, found)),
        ("p50 / p99 in ms", latencies(servers, found)),
        ("Processes", processes(servers, found)),
        ("Commands and environments", environments(servers, versions)),
    ]


def _results(servers: Sequence[Server], found: Findings, versions: Versions) -> dict[str, object]:
    return {
        "samples": {" | ".join(key): list(map(asdict, each)) for key, each in found.samples.items()},
        "start_seconds": found.start_seconds,
        "resident_mb": found.resident_mb,
        "differences": found.differences,
        "versions": versions,
        "commands": {server.name: server.command for server in servers},
    }


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=_positive, default=3, help="rounds of all servers (default: 3)")
    parser.add_argument("--seconds", type=float, default=2, help="seconds a cell (default: 2)")
    parser.add_argument(
        "--only", nargs="+", default=(), metavar="WORD", help="peers whose name has one of these"
    )
    parser.add_argument("--json", type=Path, metavar="DIR", help="write the results there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
