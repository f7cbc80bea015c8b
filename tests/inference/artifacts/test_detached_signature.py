"""With a public key, only what that key verifies is served."""

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inference.artifacts import LocalRepository, MlflowRepository
from inference.errors import BundleError
from tests.inference.artifacts.bundle_kit import Kit, digest_of
from tests.inference.artifacts.faulty_server import FaultyServer, fail

VARIABLE = "MODEL_SIGNATURE_PUBLIC_KEY_FILE"
KEY = Ed25519PrivateKey.generate()


def write_public(file: Path, key: Ed25519PrivateKey = KEY) -> Path:
    file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return file


def sign(bundle: Path, key: Ed25519PrivateKey = KEY) -> None:
    content = (bundle / "manifest.json").read_bytes()
    (bundle / "manifest.json.sig").write_bytes(base64.b64encode(key.sign(content)) + b"\n")


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """The file of the public key."""
    return write_public(tmp_path / "key.pub")


@pytest.fixture
def signed(bundles: dict[str, Path], kit: Kit) -> Path:
    """A signed copy of a bundle."""
    copy = kit.copy(bundles["forest"])
    sign(copy)
    return copy


def refusal(bundle: Path, public: Path) -> str:
    with pytest.raises(BundleError) as caught:
        LocalRepository(bundle, public_key_file=public).fetch()
    assert VARIABLE in str(caught.value)
    return str(caught.value)


def test_signed(signed: Path, public: Path) -> None:
    """A bundle that the key verifies is given."""
    assert LocalRepository(signed, public_key_file=public).fetch().bundle.digest == digest_of(signed)


def test_unsigned(bundles: dict[str, Path], public: Path) -> None:
    """A bundle without a signature is refused, with the command that signs; without a key nobody asks."""
    assert "python -m training.sign" in refusal(bundles["forest"], public)
    LocalRepository(bundles["forest"]).fetch()


def test_other_signer(signed: Path, public: Path) -> None:
    """The signature of another key does not count."""
    sign(signed, Ed25519PrivateKey.generate())
    assert "is not a signature of manifest.json" in refusal(signed, public)


def test_changed_manifest(signed: Path, public: Path) -> None:
    """A manifest with one more blank is not what was signed, sound as it is."""
    manifest = signed / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert "is not a signature of manifest.json" in refusal(signed, public)


@pytest.mark.parametrize("content", [b"", b"no base64!", b"\xff", b"AAAA", b"A" * 5000])
def test_broken_signature(signed: Path, public: Path, content: bytes) -> None:
    """What is no signature is refused as such."""
    (signed / "manifest.json.sig").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json\.sig is not"):
        LocalRepository(signed, public_key_file=public).fetch()


def test_unusable_keys(signed: Path, public: Path) -> None:
    """A key that is missing, broken or of another kind is said to be so."""
    assert "No such file" in refusal(signed, public.with_name("nowhere"))
    public.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    assert "cannot be read" in refusal(signed, public)
    other = generate_private_key(SECP256R1()).public_key()
    public.write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert "another kind of key than Ed25519" in refusal(signed, public)


def test_without_the_package(signed: Path, public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `cryptography` is missing, the refusal says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "cryptography.exceptions", None)
    assert "install the extra `signing`" in refusal(signed, public)


def test_registry(server: FaultyServer, cache_dir: Path, signed: Path, public: Path) -> None:
    """The signature comes from the registry together with the bundle, and serves from the cache too."""
    server.serve(signed)
    model = MlflowRepository("models:/iris/1", server.address, cache_dir, public_key_file=public).fetch()
    assert (model.bundle.path / "manifest.json.sig").is_file()
    asked = len(server.asked)
    MlflowRepository("models:/iris/1", server.address, cache_dir, public_key_file=public).fetch()
    assert len(server.asked) == asked


@pytest.mark.slow
def test_signed_later(
    server: FaultyServer, cache_dir: Path, bundles: dict[str, Path], kit: Kit, public: Path
) -> None:
    """A bundle that is cached already and signed afterwards, or anew, needs no other cache."""
    copy = kit.copy(bundles["forest"])
    server.serve(copy)
    MlflowRepository("models:/iris/1", server.address, cache_dir).fetch()
    repository = MlflowRepository("models:/iris/1", server.address, cache_dir, public_key_file=public)
    assert VARIABLE in str(fail(repository))
    sign(copy)
    assert repository.fetch().bundle.digest == digest_of(copy)
    newer = Ed25519PrivateKey.generate()
    write_public(public, newer)
    assert "is not a signature" in str(fail(repository))
    sign(copy, newer)
    assert repository.fetch().bundle.digest == digest_of(copy)
