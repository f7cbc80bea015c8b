"""A bundle is tried in another process first: what it does there harms nobody."""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from structlog.testing import capture_logs

from inference.artifacts import Cache, Limits, LocalRepository, Trial, read_bundle
from inference.errors import BundleError
from tests.inference.artifacts.bundle_kit import Kit, write_bundle
from tests.inference.artifacts.hostile_models import endless_graph, huge_graph, unknown_operator, with_file

MIB = 1 << 20


class Saying:
    """Runs a function when it is unpickled."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


def refusal(bundle: Path, **options: object) -> str:
    """Try a bundle and give the sentence of its refusal."""
    with pytest.raises(BundleError) as caught:
        Trial(**options).require(read_bundle(bundle), "iris version 7")
    assert str(caught.value).startswith("the bundle iris version 7 is refused: ")
    return str(caught.value)


def pickled(kit: Kit, bundles: dict[str, Path], *call: object) -> Path:
    """Make a bundle whose pickle calls a function."""
    model = RandomForestClassifier(3).fit(*load_iris(return_X_y=True))
    rows = load_iris().data[::30]
    bundle = write_bundle(kit.directory / "pickled", model, rows, onnx=False, sklearn_file="model.pkl")
    return with_file(kit, bundle, "model.pkl", pickle.dumps(Saying(*call)))


@pytest.mark.parametrize("name", ["forest", "regression", "boosting", "sklearn regression"])
def test_sound_bundles_pass(bundles: dict[str, Path], name: str) -> None:
    """What loads and predicts as it should passes within the default limits, whatever runs it."""
    Trial().require(read_bundle(bundles[name]))


def test_passed_trial_is_remembered(bundles: dict[str, Path], cache_dir: Path) -> None:
    """A second trial of a bundle that passed starts no process and takes no time."""
    bundle = read_bundle(bundles["forest"])
    with capture_logs() as logs:
        Trial(Cache(cache_dir)).require(bundle)
        begin = time.monotonic()
        Trial(Cache(cache_dir)).require(bundle)
    assert time.monotonic() - begin < 0.1
    assert [line["event"] for line in logs] == ["bundle passed its trial"]


@pytest.mark.parametrize(
    "options",
    [{"allow_pickle": True}, {"limits": Limits(seconds=50)}, {"limits": Limits(memory_bytes=1 << 30)}],
)
def test_other_circumstances(bundles: dict[str, Path], cache_dir: Path, options: dict[str, object]) -> None:
    """A verdict counts for the permission and the limits that it was given under."""
    bundle = read_bundle(bundles["forest"])
    Trial(Cache(cache_dir)).require(bundle)
    with capture_logs() as logs:
        Trial(Cache(cache_dir), **options).require(bundle)
    assert [line["event"] for line in logs] == ["bundle passed its trial"]


def test_cache_that_cannot_be_written(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Where nothing can be remembered the trial runs all the same, and the log says so."""
    (tmp_path / "file").write_text("")
    with capture_logs() as logs:
        Trial(Cache(tmp_path / "file" / "cache")).require(read_bundle(bundles["forest"]))
    assert logs[-1]["event"] == "passed trial not remembered, the next start tries again"


def test_endless_graph(bundles: dict[str, Path], kit: Kit) -> None:
    """A graph that never ends is refused when the time is over."""
    bundle = with_file(kit, bundles["forest"], "model.onnx", endless_graph())
    begin = time.monotonic()
    sentence = refusal(bundle, limits=Limits(seconds=1.5))
    assert "took more than 1.5 seconds" in sentence
    assert "MODEL_TRIAL_SECONDS" in sentence
    assert time.monotonic() - begin < 4


def test_huge_graph(bundles: dict[str, Path], kit: Kit) -> None:
    """A graph that asks for 12 GiB is refused by the limit of memory before it has them."""
    bundle = with_file(kit, bundles["forest"], "model.onnx", huge_graph())
    sentence = refusal(bundle)
    assert "needed more than 2048 MiB of memory" in sentence
    assert "MODEL_TRIAL_MEMORY_BYTES" in sentence


@pytest.mark.parametrize("size_mib", [60, 128, 192])
def test_limit_of_memory(bundles: dict[str, Path], size_mib: int) -> None:
    """A limit below what the libraries take refuses everything, and the sentence tells the limit."""
    limits = Limits(memory_bytes=size_mib * MIB)
    assert f"needed more than {size_mib} MiB" in refusal(bundles["boosting"], limits=limits)


def test_unknown_operator(bundles: dict[str, Path], kit: Kit) -> None:
    """An operator that the runtime does not have is refused by its name."""
    bundle = with_file(kit, bundles["forest"], "model.onnx", unknown_operator())
    assert "Nonsense" in refusal(bundle)


def test_golden_rows_differ(bundles: dict[str, Path], kit: Kit) -> None:
    """A sound model of other outputs is refused with the row that differs."""
    other = (bundles["other forest"] / "model.onnx").read_bytes()
    assert "golden row" in refusal(with_file(kit, bundles["forest"], "model.onnx", other))


def test_newer_library(bundles: dict[str, Path], kit: Kit) -> None:
    """A model of a newer scikit-learn than the server's is refused with both versions."""
    newer = kit.change(
        bundles["boosting"],
        lambda fields: fields.update(lineage={"library_versions": {"scikit-learn": "99.1.0"}}),
    )
    sentence = refusal(newer)
    assert "trained with scikit-learn 99.1.0 and this server has 1." in sentence


def test_pickle_needs_its_permission(bundles: dict[str, Path], kit: Kit, tmp_path: Path) -> None:
    """Without the permission a pickle runs nothing, in the child neither."""
    bundle = pickled(kit, bundles, os.mkdir, str(tmp_path / "made"))
    assert "MODEL_ALLOW_PICKLE=true" in refusal(bundle)
    assert not (tmp_path / "made").exists()


def test_pickle_that_kills_itself(bundles: dict[str, Path], kit: Kit) -> None:
    """A model that crashes its process is refused with the signal; this process lives."""
    bundle = pickled(kit, bundles, os.kill, 0, signal.SIGSEGV)
    assert "ended by signal 11 (SIGSEGV)" in refusal(bundle, allow_pickle=True)


def test_pickle_bomb(bundles: dict[str, Path], kit: Kit) -> None:
    """A pickle that allocates without end meets the limit of memory."""
    bundle = pickled(kit, bundles, np.ones, (1 << 33,))
    assert "needed more than 2048 MiB" in refusal(bundle, allow_pickle=True)


def test_pickle_that_holds_the_interpreter(bundles: dict[str, Path], kit: Kit) -> None:
    """A computation during which no thread of the child runs is ended from outside."""
    bundle = pickled(kit, bundles, pow, 7, 1 << 40)
    limits = Limits(seconds=2)
    assert "took more than 2 seconds" in refusal(bundle, allow_pickle=True, limits=limits)


def test_flood(bundles: dict[str, Path], kit: Kit) -> None:
    """A model that writes without end fills neither pipe nor memory, and is ended in time."""
    code = "import sys\nwhile True: sys.stderr.write('x' * 1000000)"
    bundle = pickled(kit, bundles, exec, code)
    limits = Limits(seconds=2)
    assert "took more than 2 seconds" in refusal(bundle, allow_pickle=True, limits=limits)


def test_no_secrets(bundles: dict[str, Path], kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of a trial does not know the secrets of the server."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pass-word")
    monkeypatch.setenv("ADMIN_API_TOKEN", "to-ken")
    code = "import os; raise RuntimeError(sorted(n for n in os.environ if 'MLFLOW' in n or 'ADMIN' in n))"
    sentence = refusal(pickled(kit, bundles, exec, code), allow_pickle=True)
    assert "failed with RuntimeError: []" in sentence


def test_refusal_is_not_tried_again_at_once(bundles: dict[str, Path], kit: Kit) -> None:
    """A server that asks again and again for a refused bundle pays once."""
    bundle = read_bundle(with_file(kit, bundles["forest"], "model.onnx", unknown_operator()))
    trial = Trial()
    with pytest.raises(BundleError) as first:
        trial.require(bundle, "a")
    begin = time.monotonic()
    with pytest.raises(BundleError) as second:
        trial.require(bundle, "b")
    assert time.monotonic() - begin < 0.1
    assert (first.value.reason, second.value.bundle) == (second.value.reason, "b")


def test_local_repository(bundles: dict[str, Path], kit: Kit, cache_dir: Path) -> None:
    """A directory is tried like anything else; a refusal shows in the diagnostics with its time."""
    good = LocalRepository(bundles["forest"], trial=Trial(Cache(cache_dir)))
    assert good.fetch().bundle.path == bundles["forest"]
    assert good.diagnostics().failing_since is None
    bad = with_file(kit, bundles["forest"], "model.onnx", unknown_operator())
    repository = LocalRepository(bad, trial=Trial(Cache(cache_dir)))
    with pytest.raises(BundleError):
        repository.fetch()
    first = repository.diagnostics().failing_since
    assert first is not None
    with pytest.raises(BundleError):
        repository.fetch()
    assert repository.diagnostics().failing_since == first


_TRY = """
import sys
from pathlib import Path
from inference.artifacts import Trial, read_bundle
Trial().require(read_bundle(Path(sys.argv[1])))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are listed by Linux only")
def test_child_ends_with_its_parent(bundles: dict[str, Path], kit: Kit) -> None:
    """When the server is killed, nothing goes on trying a model that never ends."""
    bundle = with_file(kit, bundles["forest"], "model.onnx", endless_graph())
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen([sys.executable, "-c", _TRY, str(bundle)], env=environment) as parent:
        child = wait_for(lambda: children_of(parent.pid))
        # It is at work when its memory is limited and the libraries are there.
        wait_for(lambda: "onnxruntime" in Path(f"/proc/{child}/maps").read_text())
        assert Path(f"/proc/{child}/oom_score_adj").read_text() == "1000\n"
        assert os.getsid(int(child)) == int(child)
        parent.kill()
    wait_for(lambda: not Path(f"/proc/{child}").exists())


def children_of(pid: int) -> str:
    """Return the process id of a child, empty as long as there is none."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()


def wait_for(found: Callable[[], object]) -> str:
    """Ask until there is an answer, for at most ten seconds."""
    until = time.monotonic() + 10
    while not (answer := found()):
        assert time.monotonic() < until
        time.sleep(0.02)
    return str(answer)
