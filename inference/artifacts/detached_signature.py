"""Detached signatures: who may hand a bundle to this server, when a public key says so.

`model.sig` is a signature in the format of OpenSSF model signing v1.0, over every file of the bundle.
`python -m training.sign` writes it, and so does the tool of the standard. It is checked by a child process
(`inference.artifacts.signature_process`), as the package `model-signing` brings 40 others that have no business
in a server; what passed is remembered, as long as bundle, signature and key stay what they were.
"""

import hashlib
import threading
from pathlib import Path
from typing import Final

from inference.artifacts.bundle import Bundle
from inference.artifacts.child import ChildTimeoutError, Limits, run_child
from inference.artifacts.refusal import read_verdict
from inference.artifacts.signature_process import (
    REMEDY_SIGN,
    SIGNATURE_FILE,
    SIGNATURE_VARIABLE,
    SignatureRequest,
)
from inference.errors import BundleError

__all__ = ["SIGNATURE_FILE", "SIGNATURE_LIMIT_BYTES", "SIGNATURE_VARIABLE", "SignatureCheck"]

#: About 250 bytes for each file of the bundle and 1 KiB beside them: room for four thousand files.
SIGNATURE_LIMIT_BYTES: Final = 1 << 20
_REMEDY_KEY: Final = f"set {SIGNATURE_VARIABLE} to a PEM file with an elliptic-curve public key"


class SignatureCheck:
    """Asks for signatures of the key in `public_key_file`; any number of threads may share it.

    The key is read each time, so that it can be replaced without a restart.
    """

    def __init__(self, public_key_file: Path, limits: Limits | None = None) -> None:
        self._public_key_file = public_key_file
        self._limits = limits or Limits()
        self._passed: str | None = None
        self._one_at_a_time = threading.Lock()

    def require(self, bundle: Bundle, label: str = "") -> None:
        """Raise `BundleError` (naming `label`, or the directory) unless the key verifies the signature."""
        label = label or str(bundle.path)
        with self._one_at_a_time:
            state = self._state(bundle, label)
            if state == self._passed:
                return
            self._check(bundle, label)
            # Of what changed while it was looked at, nobody knows what was looked at.
            self._passed = state if self._state(bundle, label) == state else None

    def _state(self, bundle: Bundle, label: str) -> str:
        """Return a digest of all that the verdict depends on; the files that are listed have one already."""
        names = sorted(path.relative_to(bundle.path).as_posix() for path in bundle.path.rglob("*"))
        parts = [bundle.digest.encode(), "\n".join(names).encode()]
        parts += [_read_signature(bundle.path, label), self._read_key(label)]
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()

    def _read_key(self, label: str) -> bytes:
        try:
            return self._public_key_file.read_bytes()
        except OSError as error:
            reason = f"the key of {SIGNATURE_VARIABLE} cannot be read from {self._public_key_file}: {error}"
            raise BundleError(label, reason, _REMEDY_KEY) from error

    def _check(self, bundle: Bundle, label: str) -> None:
        request = SignatureRequest(
            str(bundle.path.absolute()), bundle.digest, str(self._public_key_file.absolute())
        )
        limits = self._limits
        try:
            ended = run_child(
                "inference.artifacts.signature_process",
                request.to_json(),
                seconds=limits.seconds,
                memory_bytes=limits.memory_bytes,
            )
        except ChildTimeoutError:
            reason = f"checking {SIGNATURE_FILE}, which {SIGNATURE_VARIABLE} asks for, took more than "
            reason += f"{limits.seconds:g} seconds"
            raise BundleError(label, reason, "try again on a machine that is less busy") from None
        verdict = read_verdict(ended.stdout)
        if verdict:
            raise BundleError(label, verdict["reason"], verdict["remedy"])
        if verdict is None or ended.returncode != 0:
            reason = f"the process that checks {SIGNATURE_FILE} for {SIGNATURE_VARIABLE} {ended.how}"
            raise BundleError(label, reason, REMEDY_SIGN)


def _read_signature(directory: Path, label: str) -> bytes:
    try:
        with (directory / SIGNATURE_FILE).open("rb") as stream:
            content = stream.read(SIGNATURE_LIMIT_BYTES + 1)
    except FileNotFoundError:
        reason = f"it has no {SIGNATURE_FILE}, which {SIGNATURE_VARIABLE} asks for"
        raise BundleError(label, reason, REMEDY_SIGN) from None
    except OSError as error:
        raise BundleError(label, f"{SIGNATURE_FILE} cannot be read: {error.strerror or error}") from error
    if len(content) > SIGNATURE_LIMIT_BYTES:
        reason = f"{SIGNATURE_FILE} has more than {SIGNATURE_LIMIT_BYTES} bytes, and {SIGNATURE_VARIABLE} asks for it"
        raise BundleError(label, reason, REMEDY_SIGN)
    return content
