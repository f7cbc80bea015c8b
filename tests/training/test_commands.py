"""The two commands as a user meets them: help, results, and one clear sentence for each bad input."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from training import train, validate
from training.errors import ExitCode

Csv = Callable[[str], Path]


def rows(label: str = "{0}", count: int = 30) -> str:
    return "a,b,y\n" + "".join(f"{i},{i / 8},{label.format('uv'[i % 2])}\n" for i in range(count))


@pytest.mark.parametrize(
    ("text", "target", "sentence"),
    [
        ("", "y", "the file is empty"),
        ("a,y\n", "y", "at least 20 rows are needed (found 0)"),
        (rows(), "label", "label: the column is missing; the table has a, b, y"),
        (rows("only"), "y", "at least two different labels are needed (found 'only' only)"),
        (rows().replace("3,0.375", "3,"), "y", "row 4, b: must not be missing"),
        (rows().replace("3,0.375", "3,oops"), "y", "row 4, b: must be a number (found 'oops')"),
        (rows().replace("3,0.375", "3,inf"), "y", "row 4, b: must be a finite number"),
        (rows().replace(",", ";"), "y", "between its fields stands a semicolon"),
        (rows() + "9,9,w\n", "y", "class 'w' needs at least 2 rows (found 1)"),
        (rows().replace("3,0.375,v", "3,0.375,"), "y", "row 4, y: must not be missing"),
        (rows() + "9\n", "y", "row 31 has 1 field and the header has 3"),
    ],
    ids=[
        *("empty", "header", "target", "one class", "missing", "text", "infinite"),
        *("delimiter", "one row", "no label", "narrow"),
    ],
)
def test_bad_table_is_one_sentence_for_both_commands(
    csv: Csv, capsys: pytest.CaptureFixture[str], text: str, target: str, sentence: str
) -> None:
    """Exit 5 with the place and the remedy; nothing is written, registered or printed as a result."""
    arguments = ["--data", str(csv(text)), "--target", target]
    assert validate.main([*arguments, "--json"]) == ExitCode.CONTRACT
    assert sentence in capsys.readouterr().err
    assert train.main([*arguments, "--quiet"]) == ExitCode.CONTRACT
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = [line for line in shown.err.splitlines() if not line.startswith("note:")]
    assert line.startswith("training.train: the table ")
    assert sentence in line
    assert [path.name for path in Path().iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ["--data", "nowhere.csv", "--target", "y"],
            2,
            "nowhere.csv cannot be read: the file does not exist",
        ),
        (["--config", "nowhere.toml"], 2, "nowhere.toml: 1 setting is wrong"),
        (
            ["--config", "bad.toml"],
            2,
            "bad.toml:2: [split] sed: there is no such key; did you mean seed? keys of [split] are kind,",
        ),
        (["--config", "class.toml"], 2, "did you mean sklearn.ensemble.RandomForestClassifier"),
        (["--param", "n_estimatorz=3"], 2, "did you mean n_estimators?"),
        (["--model-name", "a/b"], 2, "[model] name: string should match pattern"),
        (["--no-register"], 2, "say --bundle-dir DIR as well"),
        (["--no-register", "--bundle-dir", "b", "--alias", "x"], 2, "an alias needs a registered version"),
        (["--no-register", "--bundle-dir", "full"], 2, "it exists and is not empty"),
        (["--output", "full"], 2, "--output: full is a directory; name a file"),
        (["--config", "twice.toml"], 2, "each name may stand there once, and a stands there more often"),
        (["--config", "deep.toml"], 2, "the file is not TOML: "),
        (["--config", "digits.toml"], 2, "the file is not TOML: "),
        (["--param", "n_jobs=100000"], 2, "n_jobs = 100000 is more than a machine has processors"),
        (
            ["--config", "ridge.toml"],
            2,
            "[gates] accuracy: Ridge is a regressor, which has none; take it out",
        ),
        (
            ["--config", "forest.toml"],
            2,
            "[gates] r2: RandomForestClassifier is a classifier, which has none",
        ),
        (["--no-register", "--bundle-dir", "bad.toml/b"], 4, "cannot be written: "),
        (["--no-register", "--bundle-dir", "/proc/nowhere/b"], 4, "cannot be written: "),
    ],
)
def test_wrong_usage_is_a_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, sentence: str
) -> None:
    """What was asked, what exists, what to do; never a traceback."""
    Path("bad.toml").write_text("[split]\nsed = 1\n")
    Path("class.toml").write_text('[estimator]\nclass = "sklearn.ensemble.RandomForrestClassifier"\n')
    Path("twice.toml").write_text('[dataset]\nfeatures = ["a", "b", "a"]\n')
    Path("deep.toml").write_text("a = " + "[" * 100_000)
    Path("digits.toml").write_text("a = " + "1" * 5000)
    Path("ridge.toml").write_text(
        '[estimator]\nclass = "sklearn.linear_model.Ridge"\n[gates]\naccuracy = 0.9\n'
    )
    Path("forest.toml").write_text("[gates]\nr2 = 0.9\n")
    Path("full").mkdir()
    Path("full/file").touch()
    assert train.main([*arguments, "--quiet"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert sentence in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    "text",
    [
        *("n_estimators", "=3", "criterion=gini", "a b=3", "a=1\nb=2", "a="),
        *("n_estimators=" + "[" * 50_000, "n_estimators=" + "1" * 5000),
    ],
    ids=lambda text: text[:20],
)
def test_parameter_that_is_not_toml_is_refused(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """argparse exits 2 and shows how to write a parameter, quotes included, without repeating all of it."""
    with pytest.raises(SystemExit, match="2"):
        train.main(["--param", text])
    error = capsys.readouterr().err
    assert "write NAME=VALUE, as in n_estimators=50" in error
    assert len(error) < 3000


def test_label_that_is_no_name_is_a_violation(csv: Csv, capsys: pytest.CaptureFixture[str]) -> None:
    """Each label goes into the manifest, the metrics and every answer: megabytes of text are refused, shortened."""
    table = str(csv(rows().replace("3,0.375,v", "3,0.375," + "v" * 3_000_000)))
    assert train.main(["--data", table, "--target", "y", "--quiet"]) == ExitCode.CONTRACT
    error = capsys.readouterr().err
    assert "row 4, y: a label may have at most 256 characters (found 'vvv" in error
    assert "(3000000 characters)" in error
    assert len(error) < 1000


def test_output_that_is_a_directory_is_found_before_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    """By both commands: nothing is read for nothing. A directory is right where tables go, and a page is a file."""
    assert train.main(["--output", "."]) == ExitCode.USAGE
    assert "--output: . is a directory; name a file" in capsys.readouterr().err
    assert validate.main(["--sample", "--html", "."]) == ExitCode.USAGE
    assert "--html: . is a directory; name a file" in capsys.readouterr().err
    Path("file").touch()
    assert validate.main(["--sample", "--output", "file"]) == ExitCode.USAGE
    assert (
        "--output: file: it is a file; name a directory, or a file that ends in .csv"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize("alias", ["latest", "v3", "a b", ""])
def test_alias_that_mlflow_refuses_is_refused_first(capsys: pytest.CaptureFixture[str], alias: str) -> None:
    """Not after the training."""
    with pytest.raises(SystemExit, match="2"):
        train.main(["--alias", alias])
    assert "cannot be an alias" in capsys.readouterr().err


@pytest.mark.parametrize("command", [train, validate])
def test_help_teaches(capsys: pytest.CaptureFixture[str], command: object) -> None:
    """Examples and exit codes are in the help."""
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])  # type: ignore[attr-defined]
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "exit codes: 0" in shown
    assert "champion" not in shown  # that alias moves by a rollout, which no example should bypass


def test_sample_is_validated_and_written(capsys: pytest.CaptureFixture[str]) -> None:
    """--sample writes the canonical Iris table, whatever a coalmine.toml beside it says, and prints its digest."""
    Path("coalmine.toml").write_text('[dataset]\nsource = "other.csv"\ntarget = "y"\n')
    assert validate.main(["--sample"]) == ExitCode.OK
    shown = capsys.readouterr().out
    written = pd.read_csv("data/processed/iris.csv")
    assert list(written.columns)[-1] == "species"
    assert shown.splitlines()[-1].startswith("valid: data/processed/iris.csv (sha256 ")
    assert validate.main(["--sample", "--target", "y"]) == ExitCode.USAGE
    assert "leave out --target" in capsys.readouterr().err


def test_json_report_is_one_object_on_standard_output(csv: Csv, capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read validity, counts and places; an old valid table is not overwritten by a broken one."""
    path = str(csv(rows()))
    assert validate.main(["--data", path, "--target", "y", "--json", "--output", "ok.csv"]) == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert (report["valid"], report["rows"], report["output"]) == (True, 30, "ok.csv")
    before = Path("ok.csv").read_bytes()
    csv(rows().replace("3,0.375", "3,"))
    assert (
        validate.main(["--data", path, "--target", "y", "--json", "--output", "ok.csv"]) == ExitCode.CONTRACT
    )
    report = json.loads(capsys.readouterr().out)
    rule = 'must not be missing, unless [contract.columns] says "b" = { nullable = true }'
    expected = {"row": 4, "column": "b", "value": None, "rule": rule}
    assert report["violations"] == [expected]
    assert Path("ok.csv").read_bytes() == before


def test_output_of_validate_trains_the_same_model(csv: Csv, capsys: pytest.CaptureFixture[str]) -> None:
    """The written table is the one that the lineage names: validating it again changes nothing."""
    source = str(csv(rows()))
    assert validate.main(["--data", source, "--target", "y", "--json", "--output", "1.csv"]) == ExitCode.OK
    first = json.loads(capsys.readouterr().out)["sha256"]
    assert validate.main(["--data", "1.csv", "--target", "y", "--json", "--output", "2.csv"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["sha256"] == first


@pytest.mark.slow
def test_full_disk_is_a_sentence(run: Callable[..., Any], tmp_path: Path) -> None:
    """A file that cannot grow ends the command with exit 4; the bundle directory does not appear."""
    # A real limit on the size of files, set by the shell: what a full disk does to write(2).
    script = tmp_path / "limited.py"
    script.write_text(
        "import resource, runpy, sys\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))\n"
        "sys.argv = ['train', '--no-register', '--bundle-dir', 'out', '--quiet']\n"
        "runpy.run_module('training.train', run_name='__main__')\n"
    )
    done = run("limited")
    assert (done.code, done.stdout) == (4, "")
    assert "cannot be written: File too large; free space there" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["limited.py"]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize(
    ("directory", "size", "named"),
    [("registry", "400k", "sqlite:///mlflow.db"), ("registry/mlruns", "100k", "/registry/mlruns/")],
    ids=["tables", "files"],
)
def test_full_disk_under_the_registry_is_a_sentence(
    run: Callable[..., Any], tmp_path: Path, directory: str, size: str, named: str
) -> None:
    """Whether tables or files find no space: exit 4, one line that names the registry's place, no traceback."""
    full = tmp_path / directory
    full.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(full)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("this system does not let us mount a small disk")
    try:
        (tmp_path / "there.py").write_text(
            "import os, runpy, sys\nos.chdir('registry')\nsys.argv = ['train', '--quiet']\n"
            "runpy.run_module('training.train', run_name='__main__')\n"
        )
        done = run("there")
    finally:
        subprocess.run(["umount", str(full)], check=True)
    assert (done.code, done.stdout) == (4, "")
    (line,) = done.stderr.splitlines()
    assert named in line.partition(" cannot be written: ")[0]
    assert "full" in line.partition(" cannot be written: ")[2] or "No space left" in line


@pytest.mark.slow
def test_model_uri_is_printed_even_when_its_file_cannot_be_written(
    registry: mlflow.MlflowClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/full has no space: the version that exists is told on standard output, then the error."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    monkeypatch.setenv("GITHUB_OUTPUT", "/dev/full")
    assert (
        train.main(["--quiet", "--param", "n_estimators=3", "--model-name", "full"])
        == ExitCode.INFRASTRUCTURE
    )
    shown = capsys.readouterr()
    assert shown.out == "MODEL_URI=models:/full/1\n"
    assert "/dev/full cannot be written: No space left on device" in shown.err


@pytest.mark.slow
def test_somebody_elses_table_becomes_a_version(
    registry: mlflow.MlflowClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CSV with whole numbers and odd labels, end to end, under its own name."""
    frame = pd.DataFrame({"n": np.arange(60) % 9, "x": np.arange(60) / 7})
    frame["kind"] = np.where(frame["n"] > 4, 'the "big" ones', "klein, ü")
    frame.to_csv("my table.csv", index=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    arguments = ["--data", "my table.csv", "--target", "kind", "--bundle-dir", "out", "--quiet"]
    assert train.main(arguments) == ExitCode.OK
    assert capsys.readouterr().out == "MODEL_URI=models:/my-table/1\n"
    manifest = json.loads(Path("out/manifest.json").read_bytes())
    assert manifest["classes"] == ["klein, ü", 'the "big" ones']
    types = [feature["type"] for feature in manifest["features"]]
    assert types == ["FEATURE_TYPE_INTEGER", "FEATURE_TYPE_FLOAT"]
    assert registry.get_registered_model("my-table").name == "my-table"
