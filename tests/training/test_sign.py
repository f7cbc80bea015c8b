"""The command that signs: what it writes verifies, and a key is never lost."""

import base64
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_public_key,
)

from training.bundle import Bundle, verify_bundle
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


def verify(bundle: Path) -> None:
    public = load_pem_public_key(Path("key.pem.pub").read_bytes())
    assert isinstance(public, Ed25519PublicKey)
    signature = base64.b64decode((bundle / "manifest.json.sig").read_bytes(), validate=False)
    assert len(signature) == 64
    public.verify(signature, (bundle / "manifest.json").read_bytes())


def test_sign(bundle: Path, key: Path) -> None:
    """The signature is of the bytes of the manifest; the bundle is as sound as before, and the same."""
    before = (bundle / "manifest.json").read_bytes()
    assert main(["--key", str(key), str(bundle)]) == 0
    verify(bundle)
    assert (bundle / "manifest.json").read_bytes() == before
    verify_bundle(bundle)
    (bundle / "manifest.json").write_bytes(before + b" ")
    with pytest.raises(InvalidSignature):
        verify(bundle)


def test_sign_again(bundle: Path, key: Path) -> None:
    """Signing twice gives the same signature."""
    assert main(["--key", str(key), str(bundle)]) == 0
    first = (bundle / "manifest.json.sig").read_bytes()
    assert main(["--key", str(key), str(bundle)]) == 0
    assert (bundle / "manifest.json.sig").read_bytes() == first


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
    """A bundle that differs from its manifest is not signed."""
    (bundle / "metrics.json").write_text("{}")
    assert main(["--key", str(key), str(bundle)]) == 4
    assert "metrics.json differs" in capsys.readouterr().err
    assert not (bundle / "manifest.json.sig").exists()


def test_unusable_keys(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is missing, broken or of another kind is wrong usage, said in one sentence."""
    assert main(["--key", "nowhere.pem", str(bundle)]) == 2
    assert "nowhere.pem cannot be read" in capsys.readouterr().err
    Path("broken.pem").write_text("no key")
    assert main(["--key", "broken.pem", str(bundle)]) == 2
    assert "no private key in PEM" in capsys.readouterr().err
    other = generate_private_key(SECP256R1())
    Path("other.pem").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert main(["--key", "other.pem", str(bundle)]) == 2
    assert "another kind of key than Ed25519" in capsys.readouterr().err


def test_nothing_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a bundle nor a new key is wrong usage."""
    assert main(["--key", "key.pem"]) == 2
    assert "BUNDLE_DIR" in capsys.readouterr().err


def test_as_a_command(run: Callable[..., object]) -> None:
    """`python -m training.sign --help` shows how it is used."""
    done = run("training.sign", "--help")
    assert "python -m training.sign --key model-key.pem out" in done.stdout  # type: ignore[attr-defined]
