"""Each point finds the defect that it is there for, and nothing in a server that has none."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from inference.conform import Outcome, Verdict, examine
from inference.conform.command import main
from inference.conform.subject import NoModelError, UndescribedError, learn
from inference.conform.target import Target, Tokens

ROOT = Path(__file__).parents[3]
ServerMaker = Callable[..., str]


def examined(address: str, admin: str = "", **options: object) -> dict[str, Verdict]:
    """Examine a server and return the verdicts by the id of their points."""
    with Target(address, tls=None, timeout_seconds=5, tokens=Tokens(admin=admin)) as target:
        subject = learn(target, "simple", **options)
        return {verdict.point.id: verdict for verdict in examine(subject)}


def with_outcome(verdicts: dict[str, Verdict], outcome: Outcome) -> set[str]:
    """Return the ids of the points that ended so."""
    return {name for name, verdict in verdicts.items() if verdict.outcome is outcome}


@pytest.mark.parametrize("datatype", ["INT32", "FP32", "FP16"])
@pytest.mark.parametrize("shape", [(1, 16), (-1, 3)])
def test_sound_server_passes(make_reference: ServerMaker, datatype: str, shape: tuple[int, ...]) -> None:
    """A sound server fails nothing but what grpcio itself answers to bytes that are no message."""
    verdicts = examined(make_reference(datatype=datatype, shape=shape), admin="secret")
    assert with_outcome(verdicts, Outcome.FAIL) == {"errors.garbage"}
    assert not any(verdict.breaks for verdict in verdicts.values())
    typed = {"infer.typed", "infer.same", "errors.elements", "errors.both"} if datatype == "FP16" else set()
    open_batch = {"infer.rows", "infer.large"} if shape[0] > 0 else set()
    assert with_outcome(verdicts, Outcome.SKIPPED) == typed | open_batch


@pytest.mark.parametrize(
    ("defect", "point", "required"),
    [
        ("dead", "server.live", True),
        ("never_ready", "server.ready", True),
        ("nameless", "server.metadata", True),
        ("no_repository", "server.extensions", False),
        ("always_ready", "model.ready.unknown", True),
        ("ready_crashes", "model.ready.unknown_version", True),
        ("metadata_unknown", "model.metadata.unknown", True),
        ("no_platform", "model.metadata", True),
        ("wrong_metadata", "infer.outputs", True),
        ("ignores_id", "infer.id", True),
        ("ignores_selection", "infer.selection", True),
        ("raw_differs", "infer.same", True),
        ("cut_outputs", "infer.typed", True),
        ("random", "infer.repeat", False),
        ("internal", "errors.shape", True),
        ("internal", "errors.bytes", True),
        ("internal", "errors.datatype", True),
        ("internal", "errors.no_input", True),
        ("ignores_extra_inputs", "errors.twice", True),
        ("wrong_code", "errors.model", True),
        ("wrong_code", "errors.version", True),
        ("lower_case_states", "repository.index.ready", False),
        ("unload_lies", "repository.unload", False),
        ("silent_health", "health.service", False),
        ("ends_streams", "health.watch", False),
        ("ends_streams", "reflection.services", False),
        ("ends_streams", "reflection.methods", False),
        ("unreflected", "reflection.services", False),
    ],
)
def test_defect_is_found(make_reference: ServerMaker, defect: str, point: str, required: bool) -> None:
    """A defect fails its point, which says what was sent, expected and found."""
    verdict = examined(make_reference(defect), admin="secret")[point]
    assert verdict.outcome is Outcome.FAIL
    assert verdict.breaks is required
    observation = verdict.observation
    assert observation.sent
    assert observation.expected
    assert observation.found


def test_what_is_not_offered_is_skipped(make_reference: ServerMaker) -> None:
    """Extensions that a server does not have are no failures, and each skipped point says why."""
    verdicts = examined(make_reference("no_extras", "no_repository"))
    skips = {name.partition(".")[0] for name in with_outcome(verdicts, Outcome.SKIPPED)}
    assert {"health", "reflection", "repository"} <= skips
    assert all(v.observation.found for v in verdicts.values() if v.outcome is Outcome.SKIPPED)


def test_nothing_is_unloaded_without_a_token(make_reference: ServerMaker) -> None:
    """Points that change the server are skipped unless the caller gives a token for them."""
    verdicts = examined(make_reference())
    changing = {"repository.load", "repository.unload", "repository.load.unknown"}
    assert changing <= with_outcome(verdicts, Outcome.SKIPPED)


def test_open_dimensions_can_be_fixed(make_reference: ServerMaker) -> None:
    """A shape from the caller wins over the metadata."""
    address = make_reference(shape=(-1, -1))
    shapes = {"INPUT0": (3, 5), "INPUT1": (3, 5)}
    verdicts = examined(address, shapes=shapes)
    assert "[3, 5]" in verdicts["infer.typed"].observation.found


def test_a_model_is_found_or_asked_for(make_reference: ServerMaker) -> None:
    """Without a name the index tells the model; when neither does, the sentence names the flag."""
    with Target(make_reference(), tls=None, timeout_seconds=5) as target:
        assert learn(target).model == "simple"
        with pytest.raises(NoModelError, match="--model"):
            learn(target, "other")
    with (
        Target(make_reference("no_repository"), tls=None, timeout_seconds=5) as target,
        pytest.raises(NoModelError, match="--model"),
    ):
        learn(target)
    with (
        Target(make_reference("metadata_unknown"), tls=None, timeout_seconds=5) as target,
        pytest.raises(UndescribedError),
    ):
        learn(target, "other")


def test_table_and_exit_code(make_reference: ServerMaker, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a line for each point, a failed one its reason, and the last line sums up."""
    assert main([make_reference(), "--timeout-seconds", "5"]) == 0
    sound = capsys.readouterr().out
    assert "pass  infer.raw" in sound
    assert sound.splitlines()[-1].endswith("the server conforms")
    assert main([make_reference("ignores_id", "internal"), "--model", "simple"]) == 1
    broken = capsys.readouterr().out
    assert "FAIL  infer.id" in broken
    assert "found     id ''" in broken
    assert "does not conform" in broken.splitlines()[-1]


def test_json_has_everything(make_reference: ServerMaker, capsys: pytest.CaptureFixture[str]) -> None:
    """--json writes one object with every point, its outcome and what was observed."""
    assert main([make_reference("ignores_id"), "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert (content["model"], content["conforms"]) == ("simple", False)
    outcomes = {point["id"]: point["outcome"] for point in content["points"]}
    assert (outcomes["infer.id"], outcomes["infer.raw"]) == ("fail", "pass")
    assert len(outcomes) == len(content["points"])
    assert set(content["points"][0]) == {"id", "sentence", "required", "outcome", "sent", "expected", "found"}


def test_admin_token_comes_from_a_variable(
    make_reference: ServerMaker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens are named by their variable; one that is not set is wrong usage."""
    monkeypatch.setenv("REFERENCE_TOKEN", "secret")
    address = make_reference()
    assert main([address, "--admin-token-env", "REFERENCE_TOKEN"]) == 0
    assert "pass  repository.unload" in capsys.readouterr().out
    assert main([address, "--admin-token-env", "NO_SUCH_VARIABLE"]) == 2
    assert "NO_SUCH_VARIABLE" in capsys.readouterr().err


def test_unreachable_server_and_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """A port where nobody listens is exit code 4; flags that do not parse are 2."""
    server = grpc.server(None, options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")  # bound and never started: nobody else can listen there
    assert main([f"127.0.0.1:{port}", "--timeout-seconds", "0.3"]) == 4
    assert "no gRPC connection" in capsys.readouterr().err
    server.stop(None)
    for wrong in ([], ["a:1", "--shape", "x"], ["a:1", "--timeout-seconds", "0"]):
        with pytest.raises(SystemExit) as ended:
            main(wrong)
        assert ended.value.code == 2
    assert main(["a:1", "--tls-ca", "/no/such/file"]) == 2


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """--help shows examples and every exit code."""
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "examples:" in shown
    for code in ("0 every", "1 some", "2 wrong", "4 the server"):
        assert code in shown


def test_judge_shares_nothing_with_the_server() -> None:
    """The package imports neither a model runtime, nor numpy, nor the server."""
    script = (
        "import inference.conform.command, sys;"
        "print([m for m in sys.modules if m in ('onnxruntime', 'numpy', 'inference.service', 'inference.core')"
        " or m.startswith(('inference.rpc', 'inference.gateway', 'inference.artifacts'))])"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=os.environ, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"
