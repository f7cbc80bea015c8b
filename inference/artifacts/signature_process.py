"""The process that checks a signature: `python -m inference.artifacts.signature_process`, a request, a line back.

The answer is `{}`, or why the bundle is refused. The server imports this module for its names only; what it
needs of the extra `signing` is imported in the child.
"""

import base64
import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from inference.artifacts.childhood import end_with, take_stdout
from inference.artifacts.manifest import MANIFEST_FILE

__all__ = ["REMEDY_SIGN", "SIGNATURE_FILE", "SIGNATURE_VARIABLE", "SignatureRequest", "main"]

#: Where the tool of the standard puts a signature by default.
SIGNATURE_FILE: Final = "model.sig"
SIGNATURE_VARIABLE: Final = "MODEL_SIGNATURE_PUBLIC_KEY_FILE"
REMEDY_SIGN: Final = (
    "sign it with `python -m training.sign --key KEY BUNDLE_DIR` before it is stored, or serve it where "
    f"{SIGNATURE_VARIABLE} is not set"
)
_REMEDY_KEY: Final = f"set {SIGNATURE_VARIABLE} to a PEM file with an elliptic-curve public key"
_REASON_LENGTH: Final = 500


@dataclass(frozen=True, slots=True)
class SignatureRequest:
    """The bundle of this digest in the directory `path`, and the key that shall verify it."""

    path: str
    digest: str
    public_key_file: str

    def to_json(self) -> str:
        """Write the request as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "SignatureRequest":
        """Read a request that `to_json` wrote."""
        return cls(**json.loads(text))


class _RefusedError(Exception):
    """Why the bundle is refused, and what to do."""

    def __init__(self, reason: str, remedy: str = REMEDY_SIGN) -> None:
        self.verdict = {"reason": reason, "remedy": remedy}
        super().__init__(reason)


def main(parent: int) -> int:
    """Answer the request on standard input with one line on standard output; end when `parent` does."""
    end_with(parent)
    answers = take_stdout()
    request = SignatureRequest.from_json(sys.stdin.read())
    verdict: dict[str, str] = {}
    try:
        _verify(Path(request.path), request.digest, Path(request.public_key_file))
    except _RefusedError as refusal:
        verdict = refusal.verdict
    except Exception as error:  # noqa: BLE001  # whatever a forged file makes a library raise refuses it
        reason = (
            f"{SIGNATURE_FILE} is not a signature of it by the key in {SIGNATURE_VARIABLE}: {_plain(error)}"
        )
        verdict = {"reason": reason, "remedy": REMEDY_SIGN}
    answers.write(f"{json.dumps(verdict)}\n")
    answers.flush()
    return 0


def _plain(error: Exception) -> str:
    """Return what is wrong, up to the digests of the first file that differs, which are bytes in Python's form."""
    text = " ".join(str(error).partition(": Expected")[0].split())
    return "".join(c for c in text if c not in '[]"\\')[:_REASON_LENGTH] or type(error).__name__


def _verify(directory: Path, digest: str, public_key_file: Path) -> None:
    if hashlib.sha256((directory / MANIFEST_FILE).read_bytes()).hexdigest() != digest:
        reason = (
            f"{MANIFEST_FILE} changed before its signature, which {SIGNATURE_VARIABLE} asks for, was checked"
        )
        raise _RefusedError(reason, "fetch the model again")
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
        from model_signing import verifying  # noqa: PLC0415
    except ImportError as error:
        reason = f"{SIGNATURE_VARIABLE} is set and signatures cannot be verified here: {error}"
        raise _RefusedError(reason, "install the extra `signing` beside the server") from error
    config = verifying.Config()  # type: ignore[no-untyped-call]
    try:
        verifier = config.use_elliptic_key_verifier(public_key=public_key_file)
    except (OSError, ValueError, TypeError, AttributeError, UnsupportedAlgorithm) as error:
        reason = (
            f"{public_key_file} of {SIGNATURE_VARIABLE} holds no elliptic-curve public key in PEM: {error}"
        )
        raise _RefusedError(reason, _REMEDY_KEY) from error
    signature = directory / SIGNATURE_FILE
    verifier.verify(directory, signature)
    # A signer may leave files out; of the manifest, which vouches for all that is ever read, nobody may.
    envelope = json.loads(signature.read_bytes())["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    if MANIFEST_FILE not in {resource["name"] for resource in statement["predicate"]["resources"]}:
        raise _RefusedError(
            f"{SIGNATURE_FILE}, which {SIGNATURE_VARIABLE} asks for, leaves out {MANIFEST_FILE}"
        )


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
