"""The acts of Coalmine: `invoke --list` shows them, `invoke --help TASK` explains one.

Each task is a thin call of code that lives in a package; exit codes pass through unchanged.
"""

import os
import subprocess
import sys
from pathlib import Path

from invoke import Context, Exit, task

_HOME = "directory that holds the stack and its rollouts"
_JSON = "write JSON for machines"
_MODEL = (
    "registered model (default: MLFLOW_MODEL_NAME, else that of coalmine.toml, else the only one there is)"
)


def _end(code: int) -> None:
    if code:
        raise Exit(code=code)


def _module(module: str, *arguments: str) -> None:
    # So that tasks work from any directory below, as invoke itself does.
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", module, *arguments]
    if os.name == "nt":
        _end(subprocess.run(command, env=environment, check=False).returncode)
    sys.stdout.flush()
    # In place of this process, so that a signal to it reaches what it started.
    os.execve(sys.executable, command, environment)  # noqa: S606  # an argument list of our own


@task(
    help={
        "data": "CSV file to check; without it what the configuration names, or the built-in Iris table",
        "target": "name of its target column",
        "config": "configuration file (default: coalmine.toml when there is one)",
    }
)
def validate_data(_context: Context, data: str = "", target: str = "", config: str = "") -> None:
    """Check a table against its contract and write data/processed/. Exit codes: 0 valid, 5 violations."""
    _module(
        "training.validate",
        *_option("--data", data),
        *_option("--target", target),
        *_option("--config", config),
    )


@task(
    help={
        "config": "configuration file (default: coalmine.toml when there is one)",
        "data": "CSV file to train on instead of the configured one",
        "target": "name of its target column",
        "alias": "alias to give the new version, such as challenger",
        "output": "file that gets the MODEL_URI line as well",
    }
)
def train(
    _context: Context, config: str = "", data: str = "", target: str = "", alias: str = "", output: str = ""
) -> None:
    """Train, check and register a model; the last line of the output is MODEL_URI=models:/NAME/VERSION.

    `python -m training.train --help` has more flags: parameters of the estimator, seed, model name.
    """
    options = {"--config": config, "--data": data, "--target": target, "--alias": alias, "--output": output}
    _module("training.train", *(part for flag, value in options.items() for part in _option(flag, value)))


@task(help={"name": _MODEL, "alias": "only what moved this alias", "json": _JSON})
def model_history(_context: Context, name: str = "", alias: str = "", json: bool = False) -> None:
    """Show what was champion when and why, and the moves that nobody recorded."""
    _module("training.history", *_option("--name", name), *_option("--alias", alias), *["--json"] * json)


@task(
    help={
        "name": _MODEL,
        "why": "reason, kept in the history",
        "number": "it must be this act",
        "json": _JSON,
    }
)
def model_undo(
    _context: Context, name: str = "", why: str = "", number: str = "", json: bool = False
) -> None:
    """Take back the last move of a model's aliases; it moves no traffic. Exit code 1: an alias is elsewhere by now."""
    options = [*_option("--name", name), *_option("--why", why), *_option("--number", number)]
    _module("training.aliases", "undo", *options, *["--json"] * json)


@task(
    positional=["model"],
    help={
        "model": "directory of a bundle, or a model URI such as models:/iris/7 (required)",
        "public_key": "PEM file of the key that shall verify its signature",
        "json": _JSON,
    },
)
def model_inspect(_context: Context, model: str, public_key: str = "", json: bool = False) -> None:
    """Show what a bundle holds: features, metrics, parity, lineage, files checked, signature."""
    _module("training.inspect", model, *_option("--public-key", public_key), *["--json"] * json)


@task
def serve(_context: Context) -> None:
    """Serve a model over gRPC in this terminal; settings come from the environment (python -m inference --help)."""
    _module("inference")


@task(
    iterable=["row"],
    help={
        "row": "numbers with commas, in the model's order, such as 5.1,3.5,1.4,0.2; once for each row "
        "(--row=-1,2 when the first is negative)",
        "csv": "file of rows, - for standard input; a first line of feature names allows any order",
        "address": "gRPC address (default: Envoy of the local stack when it runs, else 127.0.0.1:50051)",
        "model": "model name that must answer (default: whatever serves)",
        "model_version": "model version that must answer (default: whatever serves)",
        "token_env": "environment variable that holds a bearer token",
        "tls": "speak TLS and trust the public authorities",
        "tls_ca": "speak TLS and trust the authorities of this PEM file",
        "tls_cert": "PEM file of the client's own certificate, for servers that ask for one (mTLS)",
        "tls_key": "PEM file of its key",
        "timeout_seconds": "deadline of a call, retries included",
        "home": _HOME,
        "json": "write one JSON object for each row, for machines",
    },
)
def predict(
    _context: Context,
    row: list[str],
    csv: str = "",
    address: str = "",
    model: str = "",
    model_version: str = "",
    token_env: str = "",
    tls: bool = False,
    tls_ca: str = "",
    tls_cert: str = "",
    tls_key: str = "",
    timeout_seconds: float = 5.0,
    home: str = ".coalmine",
    json: bool = False,
) -> None:
    """Ask a server for predictions: of --row, or of the lines of a CSV file. `--row` or `--csv` is required.

    Exit codes: 0 answered, 2 wrong usage or rows that the model cannot take (each place is named),
    4 no server answers.
    """
    from rollout.prediction import PredictOptions, predict

    options = PredictOptions(
        rows=tuple(row),
        csv=csv,
        address=address,
        model_name=model,
        model_version=model_version,
        token_env=token_env,
        tls=tls,
        tls_ca=tls_ca,
        tls_cert=tls_cert,
        tls_key=tls_key,
        timeout_seconds=timeout_seconds,
        home=Path(home),
        as_json=json,
    )
    _end(predict(options))


@task(help={"home": _HOME})
def drift(_context: Context, home: str = ".coalmine") -> None:
    """Run the drift monitor in this terminal, on http://127.0.0.1:9000.

    It watches the local stack: its prediction log against the reference rows of the model that stable
    serves. Variables that are set win; `python -m drift --help` lists them.
    """
    from rollout import commands

    _end(commands.watch_drift(Path(home)))


@task(
    help={
        "model_uri": "what stable serves: models:/NAME/VERSION or models:/NAME@ALIAS (default: iris@champion)",
        "port": "Envoy's gRPC port on 127.0.0.1; 0 lets the system choose",
        "home": _HOME,
        "json": _JSON,
    }
)
def stack_up(
    _context: Context,
    model_uri: str = "models:/iris@champion",
    port: int = 50051,
    home: str = ".coalmine",
    json: bool = False,
) -> None:
    """Start stable behind a real Envoy. The first model ever served becomes champion."""
    from rollout import commands

    _end(commands.start_stack(model_uri, Path(home), port, as_json=json))


@task(help={"home": _HOME})
def stack_down(_context: Context, home: str = ".coalmine") -> None:
    """End every process of the local stack."""
    from rollout import commands

    _end(commands.stop_stack(Path(home)))


@task(
    help={
        "model_uri": "version to roll out (required): models:/NAME/VERSION, or an alias, which is resolved once",
        "plan": "plan file (TOML); a careful default plan when it is not given",
        "target": "where: local",
        "dry_run": "show what would happen, touch nothing",
        "home": _HOME,
        "json": _JSON,
    }
)
def deploy_canary(
    _context: Context,
    model_uri: str = "",
    plan: str = "",
    target: str = "local",
    dry_run: bool = False,
    home: str = ".coalmine",
    json: bool = False,
) -> None:
    """Roll out a model under live traffic: promote it or roll it back by evidence.

    Exit codes: 0 promoted, 1 aborted and rolled back (by the judge, or by Ctrl-C), 2 wrong usage,
    3 inconclusive (rolled back), 4 infrastructure error (stable left serving). Run the same command again
    after a kill.
    """
    from rollout import commands

    options = commands.DeployOptions(
        model_uri, Path(plan) if plan else None, target, Path(home), dry_run=dry_run, as_json=json
    )
    _end(commands.deploy_canary(options))


@task(help={"home": _HOME, "json": _JSON})
def canary_status(_context: Context, home: str = ".coalmine", json: bool = False) -> None:
    """Say what the local stack serves and how the last rollout stands."""
    from rollout import commands

    _end(commands.status(Path(home), as_json=json))


@task(help={"report": "where the HTML report is written"})
def demo(_context: Context, report: str = "demo-report.html") -> None:
    """Run the whole story on embedded defaults: train, serve, promote, roll back, watch drift."""
    _module("rollout.demo", "--report", report)


@task
def webhook_relay(_context: Context) -> None:
    """Receive the registry's webhooks in this terminal: a moved alias becomes a rollout.

    Settings come from the environment; `python -m rollout.webhook_relay --help` lists them and explains
    `register`, `status` and `retry`.
    """
    _module("rollout.webhook_relay")


@task(help={"port": "port of the web interface on 127.0.0.1"})
def mlflow_ui(_context: Context, port: int = 5000) -> None:
    """Open MLflow's web interface on the registry in the working directory."""
    arguments = ["server", "--backend-store-uri", "sqlite:///mlflow.db", "--host", "127.0.0.1"]
    _module("mlflow", *arguments, "--port", str(port))


def _option(flag: str, value: str) -> list[str]:
    return [flag, value] if value else []
