"""`python -m training.sign`: the detached signature of a bundle, for servers that ask for one.

`manifest.json.sig` is the Ed25519 signature of the exact bytes of `manifest.json`, in base64. A server with
`MODEL_SIGNATURE_PUBLIC_KEY_FILE` serves nothing else than what that key verifies.
"""

import argparse
import base64
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from training.command_line import run_command
from training.errors import BundleError, ConfigError, ExitCode
from training.storage import describe, storage_errors, write_atomically

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["main"]

_MANIFEST_FILE: Final = "manifest.json"
_EXAMPLES: Final = """\
examples:
  python -m training.sign --generate-key --key model-key.pem
      makes model-key.pem (keep it secret) and model-key.pem.pub (for servers)
  python -m training.sign --key model-key.pem out
      signs the bundle in the directory out
  MODEL_SIGNATURE_PUBLIC_KEY_FILE=model-key.pem.pub MODEL_SOURCE=local MODEL_PATH=out python -m inference

exit codes: 0 done, 2 wrong usage, 4 the bundle is damaged or a file cannot be written
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (None: the process's own) and return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command("training.sign", lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.sign",
        description="Sign a bundle, so that a server can tell who made it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="private key, Ed25519 in PEM")
    parser.add_argument("--generate-key", action="store_true", help="make --key and FILE.pub, both new")
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE_DIR", help="directory of the bundle")
    return parser


def _run(arguments: argparse.Namespace) -> ExitCode:
    if arguments.generate_key:
        _generate(arguments.key)
    elif arguments.bundle is None:
        raise ConfigError(["BUNDLE_DIR: name the bundle to sign, or say --generate-key"])
    if arguments.bundle is not None:
        _sign(arguments.bundle, _read_key(arguments.key))
    return ExitCode.OK


def _generate(file: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
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
    key = Ed25519PrivateKey.generate()
    with storage_errors(file):
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    content = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_atomically(public, content)
    sys.stderr.write(f"{file} is the private key: keep it secret; {public} is for servers\n")


def _read_key(file: Path) -> "Ed25519PrivateKey":
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError([f"--key: {file} cannot be read: {describe(error)}"]) from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError([f"--key: {file} is no private key in PEM without a password: {error}"]) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError([f"--key: {file} holds another kind of key than Ed25519; say --generate-key"])
    return key


def _sign(directory: Path, key: "Ed25519PrivateKey") -> None:
    """Sign what the manifest says, after the files were compared with it: nobody signs a damaged bundle."""
    from training.bundle import SIGNATURE_FILE, read_bundle  # noqa: PLC0415  # MLflow takes a second to import

    try:
        bundle = read_bundle(directory)
        content = (directory / _MANIFEST_FILE).read_bytes()
    except FileNotFoundError as error:
        raise BundleError(str(directory), f"{error.filename} vanished") from error
    write_atomically(directory / SIGNATURE_FILE, base64.b64encode(key.sign(content)) + b"\n")
    sys.stderr.write(f"{directory / SIGNATURE_FILE} signs the bundle {bundle.digest}\n")


if __name__ == "__main__":
    sys.exit(main())
