"""`python -m training.inspect`: what a bundle or a registered version holds, every file compared with its digest."""

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from training.command_line import new_parser, run_command
from training.errors import BundleError, ConfigError, ExitCode, RegistryError
from training.registering.address import prepare_mlflow, tracking_uri_of

__all__ = ["main"]

_FORMS: Final = "models:/NAME/VERSION, models:/NAME@ALIAS, models:/NAME/latest or runs:/RUN/PATH"
_MODEL_URI: Final = re.compile(r"models:/[^/@]+(?:/[^/@]+|@[^/@]+)|runs:/[^/]+/.+")
#: MLflow's words for what is not there.
_ABSENT: Final = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
_EXAMPLES: Final = """\
examples:
  python -m training.inspect out
  python -m training.inspect models:/iris@champion --json
  python -m training.inspect models:/iris/7 --public-key model-key.pem.pub

exit codes: 0 sound, 2 wrong usage or no such model, 4 the bundle is damaged, or the registry out of reach
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (None: the process's own) and return its exit code."""
    parser = new_parser(
        "training.inspect",
        "Check a bundle and show what it holds: features, metrics, parity, lineage, files, signature.",
        _EXAMPLES,
    )
    parser.add_argument("model", metavar="BUNDLE_DIR|MODEL_URI", help=f"a directory, or {_FORMS}")
    parser.add_argument("--public-key", type=Path, metavar="FILE", help="key that must verify its signature")
    parser.add_argument("--json", action="store_true", help="write JSON for machines")
    arguments = parser.parse_args(argv)
    return run_command("training.inspect", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> ExitCode:
    prepare_mlflow()
    stdout = sys.stdout
    with (
        contextlib.redirect_stdout(sys.stderr),
        _directory(arguments.model) as directory,
    ):  # of what libraries print
        from training.bundling.bundle_facts import read_facts  # noqa: PLC0415  # MLflow takes two seconds to import

        try:
            facts = read_facts(directory, public_key=arguments.public_key)
        except BundleError as error:
            raise BundleError(arguments.model, error.reason, error.remedy) from error
    facts = {"source": arguments.model, **facts}
    if arguments.json:
        stdout.write(json.dumps(facts) + "\n")
    else:
        from training.bundling.bundle_page import show_facts  # noqa: PLC0415  # --json needs none of it

        show_facts(facts, stdout)
    return ExitCode.OK


@contextlib.contextmanager
def _directory(model: str) -> Iterator[Path]:
    """Give the directory that is meant, or a copy of what the registry has, for the time of the block."""
    if not re.match(r"(models|runs):", model):
        path = Path(model)
        if not path.is_dir():
            state = "is no directory" if path.exists() else "does not exist"
            problem = f"BUNDLE_DIR: {model} {state}; name the directory of a bundle, or {_FORMS}"
            raise ConfigError([problem])
        yield path
        return
    if not _MODEL_URI.fullmatch(model):
        raise ConfigError([f"MODEL_URI: {model!r} is no model URI; write {_FORMS}"])
    with tempfile.TemporaryDirectory(prefix="coalmine-inspect-") as aside:
        yield _fetch(model, Path(aside))


def _fetch(model_uri: str, destination: Path) -> Path:
    import mlflow.artifacts  # noqa: PLC0415  # seconds

    from training.registering.calls import Calls  # noqa: PLC0415  # MLflow too
    from training.registering.database import require_existing  # noqa: PLC0415

    tracking_uri = tracking_uri_of(os.environ)
    require_existing(tracking_uri)
    try:
        return Path(
            Calls(tracking_uri).ask(
                lambda: mlflow.artifacts.download_artifacts(
                    artifact_uri=model_uri, dst_path=str(destination), tracking_uri=tracking_uri
                )
            )
        )
    except RegistryError as error:
        if error.code not in _ABSENT:
            raise
        remedy = "see `python -m training.aliases show` and MLflow's web interface for what there is"
        raise ConfigError([f"MODEL_URI: {model_uri} does not exist: {error.reason}; {remedy}"]) from None


if __name__ == "__main__":
    sys.exit(main())
