"""With a public key, only what that key verifies is served."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from google.protobuf import json_format
from model_signing import hashing, signing

from inference.artifacts import LocalRepository, MlflowRepository
from inference.errors import BundleError
from protos.inference.v1.manifest_pb2 import ModelManifest
from tests.inference.artifacts.bundle_kit import Kit, digest_of, seal
from tests.inference.artifacts.faulty_server import FaultyServer, fail

VARIABLE = "MODEL_SIGNATURE_PUBLIC_KEY_FILE"
KEY = generate_private_key(SECP256R1())


def write_public(file: Path, key: EllipticCurvePrivateKey | Ed25519PrivateKey = KEY) -> Path:
    file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return file


def sign(bundle: Path, key: EllipticCurvePrivateKey = KEY, *left_out: str) -> None:
    """Sign as the tool of the standard does, which `python -m training.sign` calls too."""
    private = bundle.with_name(f"{bundle.name}.pem")
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    hashes = hashing.Config().set_ignored_paths(paths=["model.sig", *left_out])
    config = signing.Config().set_hashing_config(hashes)
    config.use_elliptic_key_signer(private_key=private).sign(bundle, bundle / "model.sig")


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
    """A bundle that the key verifies is given, again and again, until its key is another one."""
    repository = LocalRepository(signed, public_key_file=public)
    for _ in range(3):
        assert repository.fetch().bundle.digest == digest_of(signed)
    write_public(public, generate_private_key(SECP256R1()))
    with pytest.raises(BundleError, match="Key mismatch"):
        repository.fetch()


def test_unsigned(bundles: dict[str, Path], public: Path) -> None:
    """A bundle without a signature is refused, with the command that signs; without a key nobody asks."""
    assert "python -m training.sign" in refusal(bundles["forest"], public)
    LocalRepository(bundles["forest"]).fetch()


def test_other_signer(signed: Path, public: Path) -> None:
    """The signature of another key does not count, not even one that claims to be of the right key."""
    hint = (signed / "model.sig").read_text().partition('"hint":"')[2][:64]
    sign(signed, generate_private_key(SECP256R1()))
    assert "model.sig is not a signature of it by the key" in refusal(signed, public)
    other = (signed / "model.sig").read_text()
    (signed / "model.sig").write_text(other.replace(other.partition('"hint":"')[2][:64], hint))
    assert "InvalidSignature" in refusal(signed, public)


def test_changed_manifest(signed: Path, public: Path) -> None:
    """A manifest with one more blank is not what was signed, sound as it is."""
    manifest = signed / "manifest.json"
    manifest.write_bytes(manifest.read_bytes() + b" ")
    assert "Hash mismatch for 'manifest.json'" in refusal(signed, public)


def test_added_file(signed: Path, public: Path) -> None:
    """A file that was not there when it was signed is refused, also after the bundle was found good."""
    repository = LocalRepository(signed, public_key_file=public)
    repository.fetch()
    (signed / "extra.py").write_text("print('hello')\n")
    with pytest.raises(BundleError, match=r"Extra files found in model .*extra\.py"):
        repository.fetch()


def test_exchanged_model(signed: Path, public: Path) -> None:
    """Whoever changes a file and its digest in the manifest has not signed that."""
    (signed / "metrics.json").write_text('{"accuracy": 1.0, "train_rows": 1, "test_rows": 1}')
    signature = (signed / "model.sig").read_bytes()
    (signed / "model.sig").unlink()
    seal(signed, json_format.Parse((signed / "manifest.json").read_text(), ModelManifest()))
    (signed / "model.sig").write_bytes(signature)
    assert "Hash mismatch for 'manifest.json'" in refusal(signed, public)


def test_manifest_left_out(bundles: dict[str, Path], kit: Kit, public: Path) -> None:
    """A signature that leaves out the manifest says nothing of what is served."""
    copy = kit.copy(bundles["forest"])
    sign(copy, KEY, "manifest.json")
    assert "leaves out manifest.json" in refusal(copy, public)


@pytest.mark.parametrize(
    "content", [b"", b"no json!", b"\xff", b"{}", b"[]", b'{"dsseEnvelope": {}}', b"A" * (2 << 20)]
)
def test_broken_signature(signed: Path, public: Path, content: bytes) -> None:
    """What is no signature is refused as such."""
    (signed / "model.sig").write_bytes(content)
    assert "model.sig" in refusal(signed, public)


def test_unusable_keys(signed: Path, public: Path) -> None:
    """A key that is missing, broken or of another kind is said to be so."""
    assert "No such file" in refusal(signed, public.with_name("nowhere"))
    public.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    assert "holds no elliptic-curve public key" in refusal(signed, public)
    write_public(public, Ed25519PrivateKey.generate())
    assert "holds no elliptic-curve public key" in refusal(signed, public)


def test_without_the_package(
    signed: Path, public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where `model-signing` is missing, the refusal says what to install."""
    absent = tmp_path / "absent" / "model_signing"
    absent.mkdir(parents=True)
    (absent / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'model_signing'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(absent.parent))
    assert "install the extra `signing`" in refusal(signed, public)


def test_the_server_does_not_import_it(signed: Path, public: Path) -> None:
    """The process that serves gets a verdict, and none of the packages that it takes."""
    program = (
        "import sys, pathlib; from inference.artifacts import LocalRepository; "
        f"LocalRepository(pathlib.Path({str(signed)!r}), public_key_file=pathlib.Path({str(public)!r})).fetch(); "
        "print(sorted({'model_signing', 'cryptography', 'sigstore'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert done.stdout == "[]\n"


def test_registry(server: FaultyServer, cache_dir: Path, signed: Path, public: Path) -> None:
    """The signature comes from the registry together with the bundle, and serves from the cache too."""
    server.serve(signed)
    model = MlflowRepository("models:/iris/1", server.address, cache_dir, public_key_file=public).fetch()
    assert (model.bundle.path / "model.sig").is_file()
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
    newer = generate_private_key(SECP256R1())
    write_public(public, newer)
    assert "is not a signature" in str(fail(repository))
    sign(copy, newer)
    assert repository.fetch().bundle.digest == digest_of(copy)
