"""The cache stays within its quota, and never loses what somebody uses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from inference.artifacts import Cache, FetchedModel, MlflowRepository
from inference.artifacts.cache import Record
from inference.errors import CacheError
from tests.inference.artifacts.bundle_kit import Kit, digest_of, install
from tests.inference.artifacts.faulty_server import FaultyServer, fail

ROOT = Path(__file__).parents[3]


def variants(kit: Kit, bundle: Path, count: int) -> list[Path]:
    """Make bundles of one model that differ in their name."""
    return [kit.change(bundle, lambda fields, n=n: fields.update(name=f"iris{n}")) for n in range(count)]


def size_of(bundle: Path) -> int:
    return sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())


def resident(cache_dir: Path) -> set[str]:
    return {path.name for path in (cache_dir / "bundles").iterdir()}


def set_age(cache_dir: Path, digest: str, seconds: float) -> None:
    """Make the last use of a bundle so long ago."""
    then = time.time() - seconds
    for path in (cache_dir / "bundles" / digest, cache_dir / "locks" / f"{digest}.used"):
        if path.exists():
            os.utime(path, (then, then))


def test_least_recently_used_goes_first(bundles: dict[str, Path], kit: Kit, cache_dir: Path) -> None:
    """Bundles go in the order of their last use until the rest fits; their verdicts go with them."""
    made = variants(kit, bundles["forest"], 4)
    cache = Cache(cache_dir, max_bytes=2 * size_of(made[0]) + 1000)
    digests = [install(cache, bundle) for bundle in made]
    cache.remember_pass(digests[1], "here")
    for age, digest in enumerate(digests):
        set_age(cache_dir, digest, 1000 - age)
    cache.hold(digests[0]).release()  # used a moment ago
    assert cache.evict(frozenset()) == ""
    assert resident(cache_dir) == {digests[0], digests[3]}
    assert not list((cache_dir / "trials").iterdir())
    assert not list(cache_dir.glob("tmp-*"))


def test_what_is_held_or_kept_stays(bundles: dict[str, Path], kit: Kit, cache_dir: Path) -> None:
    """A bundle in use and one to keep stay even beyond the quota, with a warning; later they may go."""
    made = variants(kit, bundles["forest"], 3)
    cache = Cache(cache_dir, max_bytes=1000)
    digests = [install(cache, bundle) for bundle in made]
    with cache.hold(digests[0]) as hold:
        assert hold.held
        assert "all of them are in use" in cache.evict(frozenset({digests[1]}))
        assert resident(cache_dir) == set(digests[:2])
        assert cache.find(digests[0]) is not None
    assert not hold.held
    assert cache.evict(frozenset()) == ""
    assert resident(cache_dir) == set()


def test_hold_ends_with_its_last_reference(bundles: dict[str, Path], cache_dir: Path) -> None:
    """Nobody has to release a mark: it goes with the model that it came with."""
    cache = Cache(cache_dir, max_bytes=10)
    digest = install(cache, bundles["forest"])
    bundle = cache.find(digest)
    assert bundle is not None
    model = FetchedModel("iris", "1", bundle, hold=cache.hold(digest))
    assert cache.evict(frozenset())
    del model
    assert cache.evict(frozenset()) == ""


_HOLD = """
import sys, time
from pathlib import Path
from inference.artifacts import Cache
hold = Cache(Path(sys.argv[1])).hold(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


def test_hold_of_another_process(bundles: dict[str, Path], cache_dir: Path) -> None:
    """The mark of another process counts, and a kill takes it back."""
    cache = Cache(cache_dir, max_bytes=10)
    digest = install(cache, bundles["forest"])
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(cache_dir), digest],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        assert cache.evict(frozenset())
        assert resident(cache_dir) == {digest}
        process.kill()
        process.wait()
    assert cache.evict(frozenset()) == ""
    assert resident(cache_dir) == set()


def test_hold_in_a_read_only_cache(bundles: dict[str, Path], small_disk: Path) -> None:
    """Where nothing can be evicted a mark is empty and harmless."""
    digest = install(Cache(small_disk), bundles["forest"])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with Cache(small_disk).hold(digest) as hold:
        assert not hold.held


def test_bundle_larger_than_the_quota(
    server: FaultyServer, cache_dir: Path, bundles: dict[str, Path]
) -> None:
    """A single bundle beyond the quota is refused with both numbers, before it is downloaded."""
    server.serve(bundles["forest"])
    error = fail(MlflowRepository("models:/iris@champion", server.address, cache_dir, max_cache_bytes=5000))
    assert isinstance(error, CacheError)
    assert "MODEL_CACHE_MAX_BYTES allows 5000" in error.reason
    assert not [path for path, _ in server.asked if path.endswith("model.onnx")]
    assert not list(cache_dir.glob("bundles/*"))


def test_fetch_evicts(server: FaultyServer, cache_dir: Path, bundles: dict[str, Path], kit: Kit) -> None:
    """A fetch makes room after it installed: others go, but not the last good bundle of the same URI."""
    made = variants(kit, bundles["forest"], 3)
    room = size_of(made[0]) + 1000
    stranger = install(Cache(cache_dir), made[0])
    set_age(cache_dir, stranger, 1)
    repository = MlflowRepository("models:/iris@champion", server.address, cache_dir, max_cache_bytes=room)
    server.serve(made[1])
    first = repository.fetch()
    assert resident(cache_dir) == {first.bundle.digest}
    assert first.hold is not None
    first.hold.release()
    server.serve(made[2], version="2")
    with capture_logs() as logs:
        second = repository.fetch()
    assert resident(cache_dir) == {first.bundle.digest, second.bundle.digest}
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["cache beyond its quota"]


_FETCH = """
import json, sys
from pathlib import Path
from inference.artifacts import Cache, MlflowRepository
address, directory, limit, uris = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
for uri in uris:
    model = MlflowRepository(uri, address, directory, max_cache_bytes=limit, allow_stale=False).fetch()
    for file in model.bundle.manifest.files:
        assert (model.bundle.path / file.path).stat().st_size == file.size_bytes, file.path
    print("digest", model.bundle.digest, flush=True)
"""


@pytest.mark.slow
def test_many_processes_in_a_small_cache(
    server: FaultyServer, cache_dir: Path, bundles: dict[str, Path], kit: Kit
) -> None:
    """Processes that fetch into a cache with room for two, one killed in the middle: each gets whole bundles,
    nobody waits for ever, and what is left is sound and within the quota.
    """
    made = variants(kit, bundles["forest"], 4)
    server.serve_all({str(number): bundle for number, bundle in enumerate(made)})
    uris = [f"models:/iris/{number}" for number in range(len(made))]
    limit = 2 * size_of(made[0]) + 2000
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    processes = []
    for turn in range(4):
        order = uris[turn:] + uris[:turn]
        command = [
            sys.executable,
            "-c",
            _FETCH,
            server.address,
            str(cache_dir),
            str(limit),
            json.dumps(order),
        ]
        processes.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        )
    victim = processes.pop()
    assert victim.stdout is not None
    while not victim.stdout.readline().startswith(b"digest"):
        assert victim.poll() is None
    # It has one bundle, and is in the middle of the next
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    ended = [(process, *process.communicate(timeout=120)) for process in processes]
    for process, output, errors in ended:
        assert process.returncode == 0, errors.decode()
        lines = [line.split() for line in output.decode().splitlines()]
        found = [words[1] for words in lines if words[0] == "digest"]  # beside the log
        assert set(found) == {digest_of(bundle) for bundle in made}
    cache = Cache(cache_dir, limit)
    assert all(cache.find(digest) is not None for digest in resident(cache_dir))
    assert cache.evict(frozenset()) == ""
    assert sum(size_of(path) for path in (cache_dir / "bundles").iterdir()) <= limit


def test_last_good_is_what_passed(
    server: FaultyServer, cache_dir: Path, bundles: dict[str, Path], kit: Kit
) -> None:
    """A bundle that cannot be signed for does not become the last good model of its URI."""
    server.serve(bundles["forest"])
    uri = "models:/iris@champion"
    MlflowRepository(uri, server.address, cache_dir).fetch()
    server.serve(bundles["other forest"], version="2")
    fail(MlflowRepository(uri, server.address, cache_dir, public_key_file=kit.directory / "no.pem"))
    good = Record("iris", "1", digest_of(bundles["forest"]))
    assert Cache(cache_dir).read_record(server.address, uri) == good
