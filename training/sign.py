"""`python -m training.sign`: the signature of a bundle, for servers that ask for one.

`model.sig` is a signature in the format of OpenSSF model signing v1.0 over every file of the bundle. A server
with `MODEL_SIGNATURE_PUBLIC_KEY_FILE` serves nothing else than what that key verifies.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from training.bundling.signing import generate_key_pair, sign_bundle
from training.command_line import new_parser, run_command
from training.errors import ConfigError, ExitCode

__all__ = ["main"]

_EXAMPLES: Final = """\
examples:
  python -m training.sign --generate-key --key model-key.pem
      makes model-key.pem (keep it secret) and model-key.pem.pub (for servers)
  python -m training.sign --key model-key.pem out
      signs the bundle in the directory out: writes out/model.sig
  python -m training.train --sign-key model-key.pem
      signs what it registers
  MODEL_SIGNATURE_PUBLIC_KEY_FILE=model-key.pem.pub MODEL_SOURCE=local MODEL_PATH=out python -m inference
  model_signing verify key out --signature out/model.sig --public_key model-key.pem.pub
      checks it with the tool of the standard

exit codes: 0 done, 2 wrong usage, 4 the bundle is damaged or a file cannot be written
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (None: the process's own) and return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command("training.sign", lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("training.sign", "Sign a bundle, so that a server can tell who made it.", _EXAMPLES)
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="private key: EC P-256, P-384 or P-521 in PEM"
    )
    parser.add_argument(
        "--generate-key", action="store_true", help="make --key (P-256) and FILE.pub, both new"
    )
    parser.add_argument("bundle", type=Path, nargs="?", metavar="BUNDLE_DIR", help="directory of the bundle")
    return parser


def _run(arguments: argparse.Namespace) -> ExitCode:
    if arguments.generate_key:
        public = generate_key_pair(arguments.key)
        sys.stderr.write(f"{arguments.key} is the private key: keep it secret; {public} is for servers\n")
    elif arguments.bundle is None:
        raise ConfigError(["BUNDLE_DIR: name the bundle to sign, or say --generate-key"])
    elif not arguments.bundle.exists():
        raise ConfigError([f"BUNDLE_DIR: {arguments.bundle} does not exist"])
    if arguments.bundle is not None:
        signature = sign_bundle(arguments.bundle, arguments.key)
        sys.stderr.write(f"{signature} signs the bundle in {arguments.bundle}\n")
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
