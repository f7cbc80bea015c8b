"""The command that signs: what it writes verifies with the tool of the standard, and a key is never lost."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from training import train
from training.bundling import signing
from training.bundling.bundle import Bundle, verify_bundle
from training.errors import BundleError
from training.sign import main


@pytest.fixture
def bundle(iris_bundle: Bundle) -> Path:
    """A copy of a sound bundle."""
    return Path(shutil.copytree(iris_bundle.directory, "bundle"))


@pytest.fixture
def key() -> Path:
    """A new private key."""
    assert main(["--generate-key", "--key", "key.pem"]) == 0
    return Path("key.pem")


def stock_verify(bundle: Path, public: str = "key.pem.pub") -> int:
    """Ask the command of model-signing itself."""
    flags = ["--signature", str(bundle / "model.sig"), "--public_key", public]
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(bundle), *flags]
    return subprocess.run(command, capture_output=True, check=False).returncode


@pytest.mark.slow
def test_sign(bundle: Path, key: Path) -> None:
    """The tool of the standard verifies it, as long as no file changes, is added or is taken away."""
    before = (bundle / "manifest.json").read_bytes()
    assert main(["--key", str(key), str(bundle)]) == 0
    assert stock_verify(bundle) == 0
    verify_bundle(bundle)
    assert (bundle / "manifest.json").read_bytes() == before
    (bundle / "registered_model_meta").write_text("model_name: iris\n")  # as MLflow adds to a download
    assert stock_verify(bundle) == 0
    (bundle / "added").write_text("x")
    assert stock_verify(bundle) != 0
    (bundle / "added").unlink()
    (bundle / "metrics.json").write_text("{}")
    assert stock_verify(bundle) != 0


def test_our_own_check_agrees(bundle: Path, key: Path) -> None:
    """Sound, signed again, changed, unsigned: `require_signed` says which."""
    public = Path("key.pem.pub")
    for _ in range(2):
        assert main(["--key", str(key), str(bundle)]) == 0
        signing.require_signed(bundle, public)
    (bundle / "added").write_text("x")
    with pytest.raises(BundleError, match="Extra files found in model"):
        signing.require_signed(bundle, public)
    (bundle / "model.sig").unlink()
    with pytest.raises(BundleError, match=r"it has no model\.sig"):
        signing.require_signed(bundle, public)


def test_a_bundle_that_does_not_exist_is_wrong_usage(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 and the path, not a damaged bundle."""
    assert main(["--key", str(key), "out"]) == 2
    assert "BUNDLE_DIR: out does not exist" in capsys.readouterr().err


def test_secret_key(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only its owner reads the private key, and no key is overwritten."""
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    content = key.read_bytes()
    assert main(["--generate-key", "--key", str(key)]) == 2
    assert "never overwritten" in capsys.readouterr().err
    key.unlink()
    assert main(["--generate-key", "--key", str(key)]) == 2  # the public one is still there
    assert not key.exists()
    assert content.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_damaged_bundle(bundle: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bundle that differs from its manifest is not signed, nor one whose files are links elsewhere."""
    content = (bundle / "metrics.json").read_bytes()
    (bundle / "metrics.json").write_text("{}")
    assert main(["--key", str(key), str(bundle)]) == 4
    assert "metrics.json differs" in capsys.readouterr().err
    (bundle / "metrics.json").unlink()
    Path("elsewhere.json").write_bytes(content)
    (bundle / "metrics.json").symlink_to(Path("elsewhere.json").absolute())
    assert main(["--key", str(key), str(bundle)]) == 4
    assert "sign a plain directory" in capsys.readouterr().err
    assert not (bundle / "model.sig").exists()


def test_unusable_keys(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is missing, broken, secret or of another kind is wrong usage, said in one sentence."""
    assert main(["--key", "nowhere.pem", str(bundle)]) == 2
    assert "nowhere.pem cannot be read" in capsys.readouterr().err
    Path("broken.pem").write_text("no key")
    assert main(["--key", "broken.pem", str(bundle)]) == 2
    assert "no private key in PEM" in capsys.readouterr().err
    curve = generate_private_key(SECP256K1())
    secret = BestAvailableEncryption(b"secret")
    for other, hidden, sentence in (
        (Ed25519PrivateKey.generate(), NoEncryption(), "another kind of key than secp256r1"),
        (curve, NoEncryption(), "another kind of key than secp256r1"),
        (curve, secret, "no private key in PEM without a password"),
    ):
        Path("other.pem").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
        assert main(["--key", "other.pem", str(bundle)]) == 2
        assert sentence in capsys.readouterr().err


def test_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a bundle nor a new key is wrong usage."""
    assert main(["--key", "key.pem"]) == 2
    assert "BUNDLE_DIR" in capsys.readouterr().err


def test_without_the_extra(bundle: Path, key: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    """Where `model-signing` is missing, signing and checking end with 2 and say what to install."""
    absent = tmp_path / "absent" / "model_signing"
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'model_signing'\")\n")
    path = os.pathsep.join([str(absent.parent), str(Path(__file__).parents[2])])
    for module, arguments in (
        ("training.sign", ["--key", str(key), str(bundle)]),
        ("training.train", ["--sign-key", str(key)]),
        ("training.inspect", [str(bundle), "--public-key", "key.pem.pub"]),
    ):
        done = run(module, *arguments, PYTHONPATH=path)
        assert done.code == 2, done.stderr
        assert "extra `signing`" in done.stderr


@pytest.mark.slow
def test_training_signs_what_it_registers(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--sign-key`: what stock MLflow downloads carries a signature that the tool of the standard verifies."""
    import mlflow.artifacts

    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{Path('mlflow.db').absolute()}")
    arguments = ["--quiet", "--param", "n_estimators=3", "--sign-key", str(key), "--bundle-dir", "out"]
    assert train.main(arguments) == 0
    fetched = Path(mlflow.artifacts.download_artifacts(artifact_uri="models:/iris/1", dst_path="fetched"))
    assert stock_verify(fetched) == 0
    assert stock_verify(Path("out")) == 0


def test_a_wrong_key_is_told_before_the_training(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 before anything is read or fitted."""
    assert train.main(["--sign-key", "nowhere.pem"]) == 2
    shown = capsys.readouterr()
    assert "nowhere.pem cannot be read" in shown.err
    assert " fit " not in shown.err


def test_as_a_command(run: Callable[..., object]) -> None:
    """`python -m training.sign --help` shows how it is used."""
    done = run("training.sign", "--help")
    assert "python -m training.sign --key model-key.pem out" in done.stdout  # type: ignore[attr-defined]
