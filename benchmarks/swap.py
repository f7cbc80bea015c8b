"""Swaps under load: what calls notice of 50 changes of the model.

python -m benchmarks.swap [--swaps 50] [--callers 8] [--json DIR]

Each caller has a connection of its own and asks as fast as answers come. Swaps alternate between two bundles, so
a caller must see the model change at most once a swap, and a call begun after a swap was confirmed must be
answered by the new model. The p99 of the same load without swaps, before and after, is the limit.
"""

import argparse
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

import grpc
import httpx

from benchmarks.bundles import train
from benchmarks.report import say, table, write
from benchmarks.targets import OURS, running
from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub

_REQUEST: Final = pb.PredictRequest(rows=[pb.Row(values=[5.1, 3.5, 1.4, 0.2])])
_TOKEN: Final = "benchmark"  # noqa: S105  # of a server on loopback that lives for a minute
#: Seconds between swaps; long enough for the next fetch, load and warm-up to fall between measured calls too.
_PAUSE_SECONDS: Final = 0.2


@dataclass
class Caller:
    """One closed loop, and what it saw: when each call began, how long it took, which digest answered."""

    address: str
    calls: list[tuple[float, float, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        """Ask until `stop`."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(self.address, options=options) as channel:
            stub = InferenceServiceStub(channel)
            while not stop.is_set():
                began = time.perf_counter()
                try:
                    digest = stub.Predict(_REQUEST, timeout=10).model_digest
                except grpc.RpcError as error:
                    self.failures.append(str(error.code()))
                    continue
                self.calls.append((began, time.perf_counter() - began, digest))


@dataclass(frozen=True)
class Phase:
    """A stretch of load."""

    name: str
    calls: int
    failed: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def main() -> int:
    """Measure and show; exit 1 when a call failed or a version went back."""
    options = _parse()
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        bundles = [train(home, seed=seed) for seed in (0, 1)]
        link = home / "serving"
        link.symlink_to(bundles[0])
        with running(OURS, link, ADMIN_API_TOKEN=_TOKEN, PREDICTION_LOG_SAMPLE_RATE="1") as server:
            address = f"127.0.0.1:{server.grpc_port}"
            admin = httpx.Client(base_url=f"http://127.0.0.1:{server.http_port}", timeout=60, trust_env=False)
            seconds = options.swaps * (_PAUSE_SECONDS + 0.1)
            phases = [_quiet("before", address, options.callers, seconds)]
            swapped, confirmed, callers = _swapping(address, admin, link, bundles, options)
            phases += [swapped, _quiet("after", address, options.callers, seconds)]
    flips = max(_flips(caller) for caller in callers)
    late = sum(_answered_by_old(caller, confirmed) for caller in callers)
    limit = statistics.mean([phases[0].p99_ms, phases[2].p99_ms])
    head = ["phase", "calls", "failed", "p50 ms", "p99 ms", "max ms"]
    say(
        table(
            head,
            [
                [p.name, p.calls, p.failed, f"{p.p50_ms:.2f}", f"{p.p99_ms:.2f}", f"{p.max_ms:.1f}"]
                for p in phases
            ],
        )
    )
    say(
        f"\n{options.swaps} swaps; most changes of model that one connection saw: {flips}; answers by an older model "
        f"after a swap was confirmed: {late}; p99 during swaps / p99 without: {swapped.p99_ms / limit:.2f}"
    )
    results = {"phases": [vars(p) for p in phases], "flips": flips, "late": late}
    write(options.json, "swap", results)
    return int(bool(swapped.failed or late or flips > options.swaps))


def _quiet(name: str, address: str, callers: int, seconds: float) -> Phase:
    loops, stop, threads = _start(address, callers)
    time.sleep(seconds)
    return _end(name, loops, stop, threads)


def _swapping(
    address: str, admin: httpx.Client, link: Path, bundles: list[Path], options: argparse.Namespace
) -> tuple[Phase, list[tuple[float, str]], list[Caller]]:
    loops, stop, threads = _start(address, options.callers)
    confirmed = []
    for number in range(1, options.swaps + 1):
        time.sleep(_PAUSE_SECONDS)
        aside = link.with_name("next")
        aside.symlink_to(bundles[number % 2])
        aside.replace(link)
        reply = admin.post("/admin/reload", headers={"X-Admin-Token": _TOKEN}).raise_for_status().json()
        if reply["outcome"] != "swapped":
            raise RuntimeError(f"swap {number} came to {reply}")
        confirmed.append((time.perf_counter(), reply["model"]["digest"]))
    return _end(f"during {options.swaps} swaps", loops, stop, threads), confirmed, loops


def _start(address: str, callers: int) -> tuple[list[Caller], threading.Event, list[threading.Thread]]:
    stop = threading.Event()
    loops = [Caller(address) for _ in range(callers)]
    threads = [threading.Thread(target=loop.run, args=(stop,)) for loop in loops]
    for thread in threads:
        thread.start()
    return loops, stop, threads


def _end(name: str, loops: list[Caller], stop: threading.Event, threads: list[threading.Thread]) -> Phase:
    stop.set()
    for thread in threads:
        thread.join()
    taken = sorted(seconds * 1000 for loop in loops for _, seconds, _ in loop.calls)
    failed = sum(len(loop.failures) for loop in loops)
    return Phase(name, len(taken), failed, taken[len(taken) // 2], taken[int(len(taken) * 0.99)], taken[-1])


def _flips(caller: Caller) -> int:
    digests = [digest for _, _, digest in caller.calls]
    return sum(a != b for a, b in pairwise(digests))


def _answered_by_old(caller: Caller, confirmed: list[tuple[float, str]]) -> int:
    """Count calls begun after a swap was confirmed, and before the next began, that the old model answered."""
    late = 0
    for (moment, digest), following in zip(confirmed, [*confirmed[1:], (float("inf"), "")], strict=True):
        until = moment + _PAUSE_SECONDS / 2 if following[0] != float("inf") else following[0]
        late += sum(moment < began < until and found != digest for began, _, found in caller.calls)
    return late


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--swaps", type=int, default=50, help="changes of the model (default: 50)")
    parser.add_argument("--callers", type=int, default=8, help="closed loops (default: 8)")
    parser.add_argument("--json", type=Path, metavar="DIR", help="write the results there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
