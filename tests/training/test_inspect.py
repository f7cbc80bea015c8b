"""Inspecting: everything a bundle holds, after every file was compared; a damaged one is a sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from training import inspect, sign
from training.bundling.bundle import Bundle
from training.data.columns import listed


@pytest.fixture
def bundle(iris_bundle: Bundle) -> Path:
    """A copy of a sound bundle."""
    return Path(shutil.copytree(iris_bundle.directory, "bundle"))


@pytest.fixture
def public_key(bundle: Path) -> str:
    """Sign the bundle; give the file of the public key."""
    assert sign.main(["--generate-key", "--key", "key.pem", str(bundle)]) == 0
    return "key.pem.pub"


def facts(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert inspect.main([*arguments, "--json"]) == 0
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def test_json_has_everything(bundle: Path, iris_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    """Manifest, features, metrics with intervals, parity, lineage, files, golden rows, sizes, signature."""
    shown = facts(capsys, str(bundle))
    assert shown["digest"] == iris_bundle.digest
    assert (shown["name"], shown["task"], shown["runtime"]) == ("iris", "classification", "onnx")
    assert shown["classes"] == ["setosa", "versicolor", "virginica"]
    assert shown["features"][0] == {"name": "sepal_length", "type": "number", "nullable": False}
    metrics = shown["metrics"]
    assert metrics["accuracy_low"] < metrics["accuracy"] <= metrics["accuracy_high"]
    assert shown["parity"]["passed"]
    assert shown["parity"]["mismatches"] == 0
    assert shown["lineage"]["data_source"] == "iris"
    assert shown["lineage"]["data_rows"] == 150
    assert shown["golden_rows"] == len(iris_bundle.manifest.golden_rows)
    assert shown["files_verified"]
    assert {file["path"] for file in shown["files"]} >= {"MLmodel", "model.onnx", "metrics.json"}
    assert shown["size_bytes"] == sum(file["size_bytes"] for file in shown["files"])
    assert shown["signature"] == {"state": "none"}


def test_page_is_for_people(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Titles and lines; an interval stands beside its figure."""
    assert inspect.main([str(bundle)]) == 0
    shown = capsys.readouterr()
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    for title in ("bundle", "features", "metrics", "parity", "lineage", "files, each as its digest says"):
        assert title in lines
    assert "sepal_length number" in lines
    assert any(line.startswith("accuracy ") and "(95 %: " in line for line in lines)
    assert "signature none" in lines
    assert shown.err == ""


def test_signature_is_shown_and_checked(
    bundle: Path, public_key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a key its claims are shown as unverified; with one it must verify."""
    signature = facts(capsys, str(bundle))["signature"]
    assert signature["state"] == "unverified"
    assert len(signature["key_sha256"]) == 64
    assert facts(capsys, str(bundle), "--public-key", public_key)["signature"]["state"] == "verified"
    assert sign.main(["--generate-key", "--key", "other.pem"]) == 0
    assert inspect.main([str(bundle), "--public-key", "other.pem.pub"]) == 4
    assert "model.sig is not a signature of it by this key" in capsys.readouterr().err
    (bundle / "model.sig").unlink()
    assert inspect.main([str(bundle), "--public-key", public_key]) == 4
    assert "it has no model.sig" in capsys.readouterr().err
    assert inspect.main([str(bundle), "--public-key", "nowhere.pub"]) == 2
    assert inspect.main([str(bundle), "--public-key", "key.pem"]) == 2


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda bundle: (bundle / "model.onnx").write_bytes(b"x"), "model.onnx differs from its SHA-256"),
        (lambda bundle: (bundle / "metrics.json").unlink(), "metrics.json is missing"),
        (lambda bundle: (bundle / "extra.py").write_text("x"), "extra.py is not in the manifest"),
        (lambda bundle: (bundle / "manifest.json").write_text("{"), "manifest.json is not a manifest"),
        (lambda bundle: (bundle / "manifest.json").unlink(), "it has no manifest.json"),
        (lambda bundle: (bundle / "model.sig").write_text("x"), "model.sig is no signature"),
    ],
)
def test_damaged_bundle_is_a_sentence(
    bundle: Path, damage: Callable[[Path], object], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 4, nothing on standard output, one line that names bundle and file."""
    damage(bundle)
    assert inspect.main([str(bundle)]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("training.inspect: the bundle bundle is refused: ")
    assert sentence in shown.err
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("nowhere", "nowhere does not exist"),
        ("models:/iris", "is no model URI; write models:/NAME/VERSION"),
        ("models:iris/1", "is no model URI"),
        ("models:/iris/1", "there is no registry at sqlite:///mlflow.db"),
    ],
)
def test_wrong_usage_is_told(model: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, with what can be named; no registry is made where there is none."""
    assert inspect.main([model]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("mlflow.db").exists()


@pytest.mark.slow
def test_registered_version_is_fetched(
    registry: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By number, alias and run path; what does not exist is wrong usage, and no copy stays behind."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.get_tracking_uri())
    by_number = facts(capsys, "models:/iris/1")
    assert by_number["source"] == "models:/iris/1"
    assert by_number["digest"] == registry.get_model_version("iris", "1").tags["coalmine.digest"]
    assert facts(capsys, "models:/iris@champion")["digest"] == by_number["digest"]
    for model_uri in ("models:/iris/99", "models:/iris@nobody", "models:/nothing/1"):
        assert inspect.main([model_uri]) == 2
        assert f"{model_uri} does not exist" in capsys.readouterr().err


def test_as_a_command(run: Callable[..., object]) -> None:
    """`python -m training.inspect --help` shows how it is used."""
    done = run("training.inspect", "--help")
    assert "python -m training.inspect models:/iris@champion --json" in done.stdout  # type: ignore[attr-defined]


def test_categories_that_would_read_as_two_stand_in_quotes() -> None:
    """A comma inside, an empty text or a space at an end; so many are listed."""
    assert listed(["plain", "a, b", "", " x", "more"], 4) == 'plain, "a, b", "", " x" and 1 more'
    assert listed(["é"], 4) == "é"
