"""`python -m inference conform ADDRESS`."""

import argparse
import enum
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack

import httpx

from inference.client.channel import TlsFiles
from inference.conform.report import as_json, line_of, summary_of
from inference.conform.run import examine
from inference.conform.subject import NoModelError, UndescribedError, learn
from inference.conform.target import Target, Tokens

__all__ = ["ExitCode", "main"]

_EPILOG = """\
The model's inputs are learned from ModelMetadata, and valid requests are made of them, so any model will do. Required
points are the core of the protocol; optional ones are the repository extension, gRPC's health and reflection, and
what the protocol leaves open. A point that fails says what was sent, expected and found.

examples:
  python -m inference conform localhost:50051
  python -m inference conform triton:8001 --model simple --http http://triton:8000
  python -m inference conform localhost:50051 --admin-token-env ADMIN_API_TOKEN    also unloads and loads the model

exit codes: 0 every required point passed · 1 some did not · 2 wrong usage · 4 the server cannot be reached
"""


class ExitCode(enum.IntEnum):
    """How the command ends."""

    CONFORMS = 0
    BROKEN = 1
    USAGE = 2
    UNREACHABLE = 4


class _UsageError(Exception):
    """What was asked cannot be done."""


def main(arguments: Sequence[str]) -> int:
    """Examine the server that the arguments name, write the report, return the exit code."""
    asked = _parser().parse_args(arguments)
    try:
        return _examine(asked)
    except (_UsageError, NoModelError) as error:
        sys.stderr.write(f"error: {error}\n")
        return ExitCode.USAGE
    except UndescribedError as error:
        sys.stderr.write(f"{error}; the server does not conform\n")
        return ExitCode.BROKEN


def _examine(asked: argparse.Namespace) -> int:
    tokens = Tokens(_variable(asked.token_env), _variable(asked.admin_token_env))
    with ExitStack() as stack:
        target = stack.enter_context(
            Target(asked.address, tls=_tls(asked), timeout_seconds=asked.timeout_seconds, tokens=tokens)
        )
        if not target.connect():
            reason = f"no gRPC connection to {asked.address} within {asked.timeout_seconds:g} seconds"
            sys.stderr.write(f"error: {reason}; check address, TLS and that the server runs\n")
            return ExitCode.UNREACHABLE
        http = None
        if asked.http:
            http = stack.enter_context(httpx.Client(base_url=asked.http, timeout=asked.timeout_seconds))
        subject = learn(target, asked.model, asked.model_version, shapes=dict(asked.shape), http=http)
        verdicts = []
        for verdict in examine(subject):
            verdicts.append(verdict)
            if not asked.json:
                sys.stdout.write(line_of(verdict) + "\n")
                sys.stdout.flush()
    if asked.json:
        version = subject.listed_version
        sys.stdout.write(as_json(verdicts, address=asked.address, model=subject.model, version=version))
    else:
        sys.stdout.write(f"\n{asked.address}, model {subject.model}: {summary_of(verdicts)}\n")
    return ExitCode.BROKEN if any(verdict.breaks for verdict in verdicts) else ExitCode.CONFORMS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m inference conform",
        description="Check a server of the Open Inference Protocol v2 over gRPC, point by point.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("address", metavar="ADDRESS", help="host:port of the server's gRPC")
    add("--http", metavar="URL", help="also check the REST form there, such as http://localhost:8000")
    add(
        "--model",
        default="",
        metavar="NAME",
        help="model to ask; by default the first READY one of the index",
    )
    add("--model-version", default="", metavar="VERSION", help="version to ask; by default whatever serves")
    add(
        "--shape",
        action="append",
        default=[],
        type=_shape,
        metavar="INPUT=2,4",
        help="shape of an input whose metadata leave it open; by default 2 for the first dimension, else 1",
    )
    add("--json", action="store_true", help="write one JSON object instead of the table")
    add("--timeout-seconds", type=_seconds, default=10.0, metavar="S", help="time for one call (default: 10)")
    add("--token-env", metavar="VAR", help="variable with the bearer token that predictions need")
    add(
        "--admin-token-env",
        metavar="VAR",
        help="variable with the token to load and unload; the model is away briefly",
    )
    add("--tls-ca", metavar="FILE", help="PEM file of the authorities to trust; the connection then uses TLS")
    return parser


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    shape = tuple(int(size) for size in sizes.split(","))
    if not name or min(shape) < 0:
        raise ValueError(text)
    return name, shape


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 86_400:
        raise ValueError(text)
    return seconds


def _variable(name: str | None) -> str:
    if name is None:
        return ""
    if not os.environ.get(name):
        raise _UsageError(f"the variable {name} is not set, and a token is expected in it")
    return os.environ[name]


def _tls(asked: argparse.Namespace) -> TlsFiles | None:
    if asked.tls_ca is None:
        return None
    tls = TlsFiles(ca=asked.tls_ca)
    try:
        tls.credentials()
    except OSError as error:
        raise _UsageError(f"{asked.tls_ca} cannot be read: {error.strerror}") from None
    return tls
