"""Signatures in the format of OpenSSF model signing v1.0: who made a bundle, for whoever is going to load it.

`model.sig` lists every file of the bundle with its SHA-256 and is signed by an elliptic-curve key; `model_signing
verify key` of the package `model-signing` checks it as a server of ours does. Nothing else of ours is in it.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

from training.errors import BundleError, ConfigError, StorageError
from training.storage import describe, storage_errors, write_atomically

__all__ = ["generate_key_pair", "key_problems", "require_signed", "sign_bundle", "signing_problems"]

#: What model-signing accepts (sigstore/model-transparency issue 385); we make the first.
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
#: MLflow adds it to each copy that is downloaded by name and version; nothing reads it.
_UNSIGNED: Final = ("registered_model_meta",)


def signing_problems() -> list[str]:
    """Return what keeps this environment from signing, one sentence at most."""
    try:
        import model_signing.signing  # noqa: F401, PLC0415  # half a second, and only who signs pays
    except ImportError as error:
        return [f"signatures need the extra `signing`, which is not installed: {error}"]
    return []


def key_problems(flag: str, file: Path) -> list[str]:
    """Return what is wrong with a private key, one sentence at most: asked before an hour of training."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        return [f"{flag}: {file} cannot be read: {describe(error)}"]
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return [f"{flag}: {file} is no private key in PEM without a password: {error}"]
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        return [f"{flag}: {file} holds another kind of key than {', '.join(_CURVES)}; say --generate-key"]
    return []


def generate_key_pair(file: Path) -> Path:
    """Write a new private key to `file`, which only its owner may read, and return the file of the public one.

    Raises `ConfigError` when either exists, and `StorageError`.
    """
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    public = file.with_name(f"{file.name}.pub")
    for path in (file, public):
        if path.exists():
            raise ConfigError([f"--key: {path} exists; a key is never overwritten"])
    key = generate_private_key(SECP256R1())
    with storage_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    content = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_atomically(public, content)
    return public


def sign_bundle(directory: Path, key_file: Path) -> Path:
    """Sign the bundle in `directory` and return the file of the signature.

    Every file is compared with the manifest first: nobody signs a damaged bundle. Raises `BundleError`,
    `ConfigError` when the key or the package cannot be used, `StorageError`.
    """
    problems = signing_problems() or key_problems("--key", key_file)
    if problems:
        raise ConfigError(problems)
    from model_signing import hashing, signing  # noqa: PLC0415  # half a second, and only here

    from training.bundling.bundle import SIGNATURE_FILE, read_bundle  # noqa: PLC0415  # MLflow takes a second to import

    try:
        read_bundle(directory)
        hashes = hashing.Config()  # type: ignore[no-untyped-call]
        hashes.set_ignored_paths(paths=[SIGNATURE_FILE, *_UNSIGNED])
        config = signing.Config()  # type: ignore[no-untyped-call]
        config.set_hashing_config(hashes).use_elliptic_key_signer(private_key=key_file)
        with tempfile.TemporaryDirectory() as aside:
            made = Path(aside) / SIGNATURE_FILE
            config.sign(directory, made)
            write_atomically(directory / SIGNATURE_FILE, made.read_bytes())
    except FileNotFoundError as error:
        raise BundleError(str(directory), f"{error.filename} vanished") from error
    except ValueError as error:  # such as a symbolic link among the files
        raise BundleError(
            str(directory), f"it cannot be signed: {error}", "sign a plain directory"
        ) from error
    except OSError as error:
        raise StorageError(str(error.filename or tempfile.gettempdir()), describe(error)) from error
    return directory / SIGNATURE_FILE


def require_signed(directory: Path, public_key_file: Path) -> None:
    """Raise `BundleError` unless the key verifies the signature of the bundle in `directory`."""
    problems = signing_problems()
    if problems:
        raise ConfigError(problems)
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415
    from model_signing import verifying  # noqa: PLC0415

    from training.bundling.bundle import SIGNATURE_FILE  # noqa: PLC0415

    config = verifying.Config()  # type: ignore[no-untyped-call]
    try:
        verifier = config.use_elliptic_key_verifier(public_key=public_key_file)
    except OSError as error:
        raise ConfigError([f"--public-key: {public_key_file} cannot be read: {describe(error)}"]) from None
    except (ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        problem = f"--public-key: {public_key_file} is no public elliptic-curve key in PEM: {error}"
        raise ConfigError([problem]) from None
    try:
        verifier.verify(directory, directory / SIGNATURE_FILE)
    except FileNotFoundError as error:
        raise BundleError(
            str(directory), f"it has no {SIGNATURE_FILE}", "sign it with training.sign"
        ) from error
    except (InvalidSignature, ValueError, KeyError, TypeError, IndexError) as error:
        # Up to the digests of the first file that differs, which are bytes in Python's form.
        text = "".join(c for c in str(error).partition(": Expected")[0] if c not in '[]"\\')
        reason = f"{SIGNATURE_FILE} is not a signature of it by this key: {text or type(error).__name__}"
        raise BundleError(
            str(directory), reason, "sign it anew, or use the key of whoever signed it"
        ) from error
