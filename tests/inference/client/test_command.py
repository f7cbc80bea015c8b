"""`invoke predict`, as people and programs call it, against a real server."""

import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import psutil
import pytest

from rollout.prediction import PredictOptions, predict

ROOT = Path(__file__).parents[3]
NAMES = "sepal_length,sepal_width,petal_length,petal_width"
SETOSA, VIRGINICA = "5.1,3.5,1.4,0.2", "6.9,3.1,5.4,2.1"
MODEL = {"model": "iris", "version": "local", "track": "stable"}


def invoke(
    directory: Path, *arguments: str, stdin: str = "", **variables: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "invoke", "-r", str(ROOT), *arguments],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def run(running: object, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> object:
    """Run the command in this process: `run(**options)` gives (exit code, standard output, standard error)."""

    def call(**options: object) -> tuple[int, str, str]:
        code = predict(PredictOptions(**{"address": running.address, "home": tmp_path / "none", **options}))
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_rows_of_the_command_line_become_a_table(running: object, tmp_path: Path) -> None:
    """One line a row with label and probabilities, and who answered; nothing is cut in a pipe."""
    done = invoke(tmp_path, "predict", "--address", running.address, "--row", SETOSA, "--row", VIRGINICA)
    assert done.returncode == 0, done.stderr
    head, first, second, model = done.stdout.splitlines()
    assert head.split() == ["row", "label", "setosa", "versicolor", "virginica"]
    assert first.split()[:3] == ["row", "1", "setosa"]
    assert second.split()[:3] == ["row", "2", "virginica"]
    assert model.startswith("answered by iris version local (stable) · request id ")
    assert done.stderr == ""


def test_standard_input_becomes_json_lines(running: object, tmp_path: Path) -> None:
    """A CSV whose header names the features, in any order, and one object a row."""
    names = ",".join(reversed(NAMES.split(",")))
    row = ",".join(reversed(SETOSA.split(",")))
    text = f"{names}\n{row}\n\n{row}\n"
    done = invoke(tmp_path, "predict", "--address", running.address, "--csv", "-", "--json", stdin=text)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["row"], second["row"]) == ("line 2", "line 4")
    assert first["label"] == "setosa"
    assert set(first["probabilities"]) == {"setosa", "versicolor", "virginica"}
    assert first.items() >= MODEL.items()
    assert first["request_id"]
    assert first["event_id"]


def test_help_teaches(tmp_path: Path) -> None:
    """Every option has a sentence, and the exit codes are told."""
    done = invoke(tmp_path, "--help", "predict")
    assert done.returncode == 0
    for word in (
        "--row",
        "--csv",
        "--address",
        "--token-env",
        "--timeout-seconds",
        "5.1,3.5,1.4,0.2",
        "Exit codes",
    ):
        assert word in done.stdout


def test_a_negative_first_number_is_possible(running: object, tmp_path: Path) -> None:
    """As the help says, with an equals sign."""
    done = invoke(tmp_path, "predict", "--address", running.address, "--row=-1,3.5,1.4,0.2", "--json")
    assert done.returncode == 0, done.stderr


def test_a_file_with_and_without_names(run: object, tmp_path: Path) -> None:
    """Also as spreadsheets write it: byte order mark, spaces, CRLF."""
    path = tmp_path / "rows.csv"
    for text in (f"\ufeff{NAMES}\r\n{SETOSA}\r\n", f"{SETOSA}\n", NAMES.replace(",", ", ") + f"\n{SETOSA}"):
        path.write_text(text, encoding="utf-8", newline="")
        code, out, _ = run(csv=str(path), as_json=True)
        assert code == 0
        assert json.loads(out)["label"] == "setosa"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (NAMES + ",target", ["column 5: found 'target', expected one of sepal_length"]),
        ("sepal_length,sepal_width,petal_length", ["columns: misses petal_width"]),
        (NAMES.replace("petal_width", "width"), ["column 4: found 'width'", "columns: misses petal_width"]),
    ],
)
def test_other_columns_are_told(run: object, tmp_path: Path, header: str, words: list[str]) -> None:
    """A column too many or too few is wrong usage, in a sentence that names it."""
    path = tmp_path / "rows.csv"
    path.write_text(f"{header}\n" + ",".join(["1"] * len(header.split(","))) + "\n")
    code, out, err = run(csv=str(path))
    assert (code, out) == (2, "")
    assert all(word in err for word in words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"{NAMES}\n1,2,x,4\n", "line 2, column petal_length: found 'x', expected a number"),
        (f"{NAMES}\n1,2,,4\n", "line 2, column petal_length: found nothing, expected a number"),
        (f"{NAMES}\n{SETOSA}\n1,2,3\n", "line 3 has 3 values and the header has 4"),
        ("1,2,3,4\n1,2\n", "line 2 has 2 values and line 1 has 4"),
        (f"{NAMES}\n", "has no rows"),
        ("", "has no rows"),
        (f"{NAMES}\n{SETOSA}\n1,nan,3,inf\n", "line 3, column sepal_width: found nan"),
    ],
)
def test_a_wrong_file_is_told_by_line_and_column(run: object, tmp_path: Path, text: str, words: str) -> None:
    """Exit code 2, and the place as an editor shows it."""
    path = tmp_path / "rows.csv"
    path.write_text(text)
    code, out, err = run(csv=str(path))
    assert (code, out) == (2, "")
    assert words in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "which rows? say --row 5.1,3.5,1.4,0.2"),
        ({"rows": (SETOSA,), "csv": "x.csv"}, "not both"),
        (
            {"rows": ("5.1;3.5",)},
            "row 1, column 1: found '5.1;3.5', expected a number; one row is values with",
        ),
        ({"rows": (SETOSA, "1,2")}, "row 2 has 2 values and row 1 has 4"),
        ({"rows": ("1,2",)}, "number of columns: found 2, expected 4"),
        ({"rows": (SETOSA, "1,1e39,3,4")}, "row 2, column 2: found 1e+39"),
        ({"csv": "missing.csv"}, "missing.csv cannot be read"),
        ({"rows": (SETOSA,), "model_name": "wine"}, "wine"),
        ({"rows": (SETOSA,), "model_version": "99"}, "99"),
        ({"rows": (SETOSA,), "token_env": "NO_SUCH_VARIABLE"}, "NO_SUCH_VARIABLE, which is not set"),
        ({"rows": (SETOSA,), "tls_cert": "client.pem"}, "cert and key"),
        ({"rows": (SETOSA,), "tls_ca": "missing.pem"}, "missing.pem"),
        ({"rows": (SETOSA,), "timeout_seconds": 0.0}, "--timeout-seconds is 0"),
    ],
)
def test_wrong_usage_is_told(run: object, options: dict[str, object], words: str) -> None:
    """Exit code 2, nothing on standard output, and what to do."""
    code, out, err = run(**options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert words in err


def test_nobody_answers(run: object) -> None:
    """Exit code 4 names the address; so does a server that fails."""
    with socket.socket() as taken:  # bound and not listening
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = run(address=address, rows=(SETOSA,))
    assert (code, out) == (4, "")
    assert f"no predictions from {address}" in err


def test_a_token_is_sent_and_its_refusal_is_usage(
    run: object, serve: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token comes from the environment, so that no process list shows it."""
    monkeypatch.setenv("ASK_TOKEN", "t0k3n")
    backend = serve()
    code, out, _ = run(address=backend.address, rows=("5,6.5",), token_env="ASK_TOKEN")
    assert (code, backend.seen[0].metadata["authorization"]) == (0, "Bearer t0k3n")
    assert "high" in out
    assert "t0k3n" not in out
    refusing = serve(grpc.StatusCode.UNAUTHENTICATED)
    assert run(address=refusing.address, rows=("5,6.5",))[0] == 2


def test_texts_are_told_from_numbers_by_the_model(mixed: object, run: object, tmp_path: Path) -> None:
    """A category is text even when it looks like a number, an empty value is missing, and classes have names."""
    code, out, _ = run(address=mixed.address, rows=("basic,north,31.5,14", "zażółć,1,,12"))
    assert code == 0
    head, first, *_ = out.splitlines()
    assert head.split() == ["row", "label", "left", "stayed"]
    assert first.split()[2] in ("left", "stayed")
    path = tmp_path / "rows.csv"
    path.write_text("visits,region,plan,age\n14,north,basic,31.5\n0,1,,\n", encoding="utf-8")
    code, out, _ = run(address=mixed.address, csv=str(path), as_json=True)
    assert code == 0
    assert [set(json.loads(line)["probabilities"]) for line in out.splitlines()] == [{"left", "stayed"}] * 2


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("basic,west,1,1", "row 1, column 2: found 'west', expected one of 'north', 'south', '1'"),
        ("basic,,1,1", "row 1, column 2: found '', expected one of 'north', 'south', '1'"),
        ("basic,north,old,1", "row 1, column 3: found 'old', expected a number"),
        ("basic,north,1,", "row 1, column 4: found nothing, expected a number"),
        ("basic,north", "row 1: found 2 values, expected 4"),
        ("basic,north,1,1,more", "row 1: found 5 values, expected 4"),
    ],
)
def test_wrong_texts_are_told_by_row_and_column(mixed: object, run: object, row: str, words: str) -> None:
    """Exit code 2, and what would be right."""
    code, out, err = run(address=mixed.address, rows=(row,))
    assert (code, out) == (2, "")
    assert words in err


def test_a_regression_has_values(
    make_service: object, make_bundle: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """One column, in both forms of output."""
    running = make_service(make_bundle(regression=True, accuracy=None))
    capsys.readouterr()  # what the server said at its start
    for as_json in (False, True):
        assert predict(PredictOptions((SETOSA,), address=running.address, as_json=as_json)) == 0
    head, row, _, line = capsys.readouterr().out.splitlines()
    assert head.split() == ["row", "value"]
    assert float(row.split()[-1]) == pytest.approx(json.loads(line)["value"], rel=1e-5)


def test_without_a_stack_the_usual_port_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No address and no stack: 127.0.0.1:50051, and no directory is made."""
    predict(
        PredictOptions((SETOSA,), home=tmp_path / "none", model_name="no-such-model", timeout_seconds=0.5)
    )
    assert "127.0.0.1:50051" in (err := capsys.readouterr().err) or "no-such-model" in err
    assert not (tmp_path / "none").exists()


def test_a_running_stack_is_asked(
    running: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an address it is the one that the stack's record has, as long as its process runs."""
    from rollout.local.envoy import Envoy
    from rollout.local.inference_process import InferenceProcess, ServerOptions
    from rollout.local.processes import ProcessRecord, _start_of
    from rollout.local.stack import Stack
    from rollout.state import Home

    port = running.service.grpc_port
    process = ProcessRecord(pid=os.getpid(), started=_start_of(psutil.Process()))
    envoy = Envoy(process=process, directory=str(tmp_path), host="127.0.0.1", port=port, admin="")
    stable = InferenceProcess(
        process=process, track="stable", model_uri="m", grpc_port=port, http_port=1, log=""
    )
    options = ServerOptions(tracking_uri="", cache_dir="", admin_token="")
    home = Home(tmp_path / "home")
    home.directory.mkdir()
    Stack(options=options, envoy=envoy, stable=stable).save(home)
    assert predict(PredictOptions((SETOSA,), home=home.directory)) == 0
    assert "setosa" in capsys.readouterr().out


def test_a_reader_that_goes_away_is_no_defect(running: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """`| head` ends the command without a traceback."""

    class Closed(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    assert predict(PredictOptions((SETOSA,), address=running.address, as_json=True)) == 4
