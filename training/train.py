"""`python -m training.train`: a table becomes a verified bundle and a registered version."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from training.command_line import (
    add_config_flags,
    file_problems,
    new_parser,
    parse_parameter,
    read_config,
    run_as_process,
    run_command,
)
from training.configuration.sections import Config
from training.errors import ConfigError, ExitCode
from training.registering.address import DEFAULT_TRACKING_URI, prepare_mlflow, tracking_uri_of
from training.registering.alias_name import alias_name
from training.storage import storage_errors, write_atomically

if TYPE_CHECKING:
    from training.pipeline import TrainingOutcome

__all__ = ["main"]

_EXAMPLES: Final = """\
examples:
  python -m training.train                                  Iris, a random forest, ./mlflow.db
  python -m training.train --data flowers.csv --target species --param n_estimators=50
  python -m training.train --param 'criterion="entropy"' --seed 1 --alias challenger
  python -m training.train --no-register --bundle-dir out   no MLflow tracking; serve it from out
  python -m training.train --config docs/examples/churn/coalmine.toml --folds 5 --json
  MLFLOW_TRACKING_URI=http://mlflow:5000 python -m training.train --output uri.env

The last line on standard output is MODEL_URI=models:/NAME/VERSION (with --no-register MODEL_PATH=DIR);
everything else goes to standard error. With --json it is one object instead: model_uri, bundle_dir, digest,
metrics, and comparison, the verdict of the paired test (null where there was nothing to compare with). Under
GitHub Actions model_uri (or model_path), accuracy and digest become outputs of the step.

exit codes: 0 registered, 1 refused by a gate, 2 wrong usage or configuration, 4 infrastructure,
5 the table breaks its data contract
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (None: the process's own) and return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command("training.train", lambda: _run(arguments, os.environ))


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "training.train",
        "Train a scikit-learn model on a validated table, judge it by its gates, compile it to "
        "ONNX, and register the verified bundle as a version in MLflow.",
        _EXAMPLES,
    )
    add_config_flags(parser)
    add = parser.add_argument
    add("--model-name", metavar="NAME", help="registered model name (default: the name of the dataset)")
    add("--seed", type=int, metavar="N", help="seed of split and estimator (default: 7)")
    add("--folds", type=int, metavar="N", help="cross-validate in N folds as well (default: 0, not at all)")
    add(
        "--param",
        type=parse_parameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="parameter of the estimator, VALUE in TOML syntax; may be repeated",
    )
    add("--bundle-dir", type=Path, metavar="DIR", help="leave the bundle in DIR, which must be new or empty")
    add("--no-register", action="store_true", help="only make the bundle; needs --bundle-dir")
    add(
        "--alias",
        type=alias_name,
        metavar="NAME",
        help="point this alias at the new version, as the last step",
    )
    add("--output", type=Path, metavar="FILE", help="write the last line to FILE as well")
    add(
        "--sign-key",
        type=Path,
        metavar="FILE",
        help="sign the bundle with this private key (see training.sign)",
    )
    add("--json", action="store_true", help="print the result as one JSON object, not as NAME=VALUE")
    add("--quiet", action="store_true", help="show nothing but errors and the result")
    return parser


def _run(arguments: argparse.Namespace, environment: Mapping[str, str]) -> ExitCode:
    registered: list[str] = []
    try:
        return _train(arguments, environment, registered)
    except KeyboardInterrupt as interrupt:
        state = str(interrupt) or "nothing was registered"
        if registered:
            state = f"{registered[0]} is registered"
            if arguments.alias is not None:
                state += f", and the alias {arguments.alias} points at it or is unchanged"
        raise KeyboardInterrupt(state) from None


def _train(arguments: argparse.Namespace, environment: Mapping[str, str], registered: list[str]) -> ExitCode:
    """Train, and append the model URI to `registered` as soon as the version exists."""
    config = _config(arguments)
    prepare_mlflow()
    # After the flags are known to be right: pandas and scikit-learn take two seconds to import.
    from training import pipeline, report  # noqa: PLC0415

    tracking_uri = None if arguments.no_register else tracking_uri_of(environment)
    if tracking_uri == DEFAULT_TRACKING_URI and not arguments.quiet:
        report.show_note(f"MLFLOW_TRACKING_URI is not set; using {tracking_uri} and ./mlruns here")
    stdout = sys.stdout

    def announce(model_uri: str) -> None:
        registered.append(model_uri)
        with contextlib.redirect_stdout(stdout):
            if not arguments.json:
                report.write_result(f"MODEL_URI={model_uri}")

    with contextlib.redirect_stdout(sys.stderr):
        outcome = pipeline.run_training(
            config,
            tracking_uri=tracking_uri,
            bundle_dir=arguments.bundle_dir,
            alias=arguments.alias,
            progress=report.Progress(quiet=arguments.quiet),
            announce=announce,
            sign_key=arguments.sign_key,
        )
    name, value = _result(outcome)
    if arguments.json:
        report.write_result(_json(outcome))
    elif not registered:
        report.write_result(f"{name}={value}")
    if arguments.output is not None:
        write_atomically(arguments.output, f"{name}={value}\n".encode())
    if environment.get("GITHUB_OUTPUT"):
        _append_step_outputs(Path(environment["GITHUB_OUTPUT"]), {name.lower(): value}, outcome)
    return ExitCode.OK


def _config(arguments: argparse.Namespace) -> Config:
    problems = file_problems("--output", arguments.output)
    if arguments.no_register and arguments.bundle_dir is None:
        problems.append("--no-register: the bundle needs a place; say --bundle-dir DIR as well")
    if arguments.no_register and arguments.alias is not None:
        problems.append("--alias: an alias needs a registered version; leave out --no-register")
    if arguments.sign_key is not None:
        from training.bundling.signing import key_problems, signing_problems  # noqa: PLC0415  # needed by few

        problems += [*signing_problems(), *key_problems("--sign-key", arguments.sign_key)]
    if problems:
        raise ConfigError(problems)
    sections: dict[str, Mapping[str, Any]] = {
        "model": {"name": arguments.model_name},
        "split": {"seed": arguments.seed, "folds": arguments.folds},
        "estimator": {"parameters": dict(arguments.param)},
    }
    return read_config(arguments, **sections)


def _result(outcome: "TrainingOutcome") -> tuple[str, str]:
    if outcome.model_uri is not None:
        return "MODEL_URI", outcome.model_uri
    assert outcome.bundle_dir is not None
    return "MODEL_PATH", str(outcome.bundle_dir)


def _json(outcome: "TrainingOutcome") -> str:
    bundle_dir = None if outcome.bundle_dir is None else str(outcome.bundle_dir)
    return json.dumps(
        {
            "model_uri": outcome.model_uri,
            "bundle_dir": bundle_dir,
            "digest": outcome.digest,
            "metrics": outcome.metrics,
            "comparison": outcome.comparison,
        }
    )


def _append_step_outputs(path: Path, result: Mapping[str, str], outcome: "TrainingOutcome") -> None:
    values = {**result, "digest": outcome.digest}
    if outcome.accuracy is not None:
        values["accuracy"] = f"{outcome.accuracy:.6f}"
    with storage_errors(path), path.open("a", encoding="utf-8") as stream:
        stream.writelines(f"{name}={value}\n" for name, value in values.items())


if __name__ == "__main__":
    run_as_process(main)
