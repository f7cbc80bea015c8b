"""Detached signatures: who may hand a bundle to this server, when a public key says so.

`manifest.json.sig` holds the Ed25519 signature of the exact bytes of `manifest.json`, 64 bytes in base64. As
the manifest has the digest of every other file, it vouches for the whole bundle. `python -m training.sign`
writes it. The package `cryptography` is imported only when a key is configured.
"""

import base64
import hashlib
from pathlib import Path
from typing import Final

from inference.artifacts.bundle import Bundle
from inference.artifacts.manifest import MANIFEST_FILE
from inference.errors import BundleError

__all__ = ["SIGNATURE_FILE", "SIGNATURE_LIMIT_BYTES", "SIGNATURE_VARIABLE", "require_signature"]

SIGNATURE_FILE: Final = f"{MANIFEST_FILE}.sig"
#: 88 characters, and room for line ends.
SIGNATURE_LIMIT_BYTES: Final = 1024
SIGNATURE_VARIABLE: Final = "MODEL_SIGNATURE_PUBLIC_KEY_FILE"

_REMEDY_SIGN: Final = (
    "sign it with `python -m training.sign --key KEY BUNDLE_DIR` before it is stored, or serve it where "
    f"{SIGNATURE_VARIABLE} is not set"
)
_REMEDY_KEY: Final = f"set {SIGNATURE_VARIABLE} to a PEM file with an Ed25519 public key"


def require_signature(bundle: Bundle, public_key_file: Path, label: str = "") -> None:
    """Raise `BundleError` (naming `label`, or the directory) unless the key verifies the bundle's signature.

    The key is read each time, so that it can be replaced without a restart.
    """
    label = label or str(bundle.path)
    content = _read(bundle.path / MANIFEST_FILE, label)
    if hashlib.sha256(content).hexdigest() != bundle.digest:
        raise BundleError(label, f"{MANIFEST_FILE} changed after it was verified", "fetch the model again")
    try:
        signature = base64.b64decode(_read(bundle.path / SIGNATURE_FILE, label).strip(), validate=True)
    except ValueError:
        raise BundleError(label, f"{SIGNATURE_FILE} is not base64", _REMEDY_SIGN) from None
    if not _verifies(public_key_file, label, signature, content):
        reason = f"{SIGNATURE_FILE} is not a signature of {MANIFEST_FILE} by the key in {SIGNATURE_VARIABLE}"
        raise BundleError(label, reason, _REMEDY_SIGN)


def _read(file: Path, label: str) -> bytes:
    try:
        with file.open("rb") as stream:
            # Beyond the limit it verifies as nothing.
            return stream.read(SIGNATURE_LIMIT_BYTES if file.name == SIGNATURE_FILE else -1)
    except FileNotFoundError:
        reason = f"it has no {file.name}, which {SIGNATURE_VARIABLE} asks for"
        raise BundleError(label, reason, _REMEDY_SIGN) from None
    except OSError as error:
        raise BundleError(label, f"{file.name} cannot be read: {error.strerror or error}") from error


def _verifies(public_key_file: Path, label: str, signature: bytes, content: bytes) -> bool:
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415
    except ImportError as error:
        reason = f"{SIGNATURE_VARIABLE} is set and signatures cannot be verified here: {error}"
        raise BundleError(label, reason, "install the extra `signing` beside the server") from error
    try:
        key = load_pem_public_key(public_key_file.read_bytes())
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        reason = f"the key of {SIGNATURE_VARIABLE} cannot be read from {public_key_file}: {error}"
        raise BundleError(label, reason, _REMEDY_KEY) from error
    if not isinstance(key, Ed25519PublicKey):
        reason = f"{public_key_file} of {SIGNATURE_VARIABLE} holds another kind of key than Ed25519"
        raise BundleError(label, reason, _REMEDY_KEY)
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True
