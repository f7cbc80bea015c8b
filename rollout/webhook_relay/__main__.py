"""`python -m rollout.webhook_relay`: a moved alias in the registry becomes exactly one rollout.

python -m rollout.webhook_relay                               receive webhooks until a signal says stop
python -m rollout.webhook_relay register --url URL            make the webhook at the MLflow server, or update it
python -m rollout.webhook_relay status [--json]               list what is pending and what was done last
python -m rollout.webhook_relay retry NAME                    roll out again what was last acted on for a model
python -m rollout.webhook_relay --settings-schema             print the JSON schema of the settings

Exit codes: 0 done, 1 a defect, 2 wrong usage or settings, 4 something outside failed.
"""

import argparse
import logging
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from prometheus_client import disable_created_metrics
from rich.console import Console

from rollout.console import fail, write_json
from rollout.errors import ExitCode, RolloutError
from rollout.webhook_relay.inbox import Inbox
from rollout.webhook_relay.registration import register
from rollout.webhook_relay.relay import Relay
from rollout.webhook_relay.settings import LinkSettings, Settings, StateSettings
from rollout.webhook_relay.status import report, table
from telemetry import PortInUseError, SettingsError, StopSignals, configure_logging, load_settings

_DONE: Final = 0
#: Exit code of a defect, as Python's own for an error that nobody caught.
_DEFECT: Final = 1
#: Of a count on the command line; SQLite takes no integer of more than 64 bits.
_MOST_DIGITS: Final = 18

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("webhook-relay")


def main(arguments: Sequence[str]) -> int:
    """Do what the command line asks and return the exit code."""
    options = _parser().parse_args(arguments)
    if options.settings_schema:
        write_json(Settings.model_json_schema())
        return _DONE
    commands: dict[str | None, Callable[[argparse.Namespace], int]] = {
        "register": _register,
        "status": _status,
        "retry": _retry,
    }
    if options.command is None:
        return _serve()
    try:
        return commands[options.command](options)
    except (RolloutError, SettingsError) as error:
        fail(str(error))
        return int(error.exit_code) if isinstance(error, RolloutError) else ExitCode.USAGE


def _register(options: argparse.Namespace) -> int:
    _say(register(load_settings(LinkSettings), options.url, options.name))
    return _DONE


def _status(options: argparse.Namespace) -> int:
    inbox = Inbox.existing(load_settings(StateSettings).relay_state_dir)
    try:
        deployments = inbox.newest(options.limit)
        pending = inbox.pending_count()
    finally:
        inbox.close()
    if options.json:
        write_json(report(deployments, pending))
    else:
        Console(highlight=False).print(table(deployments, pending))
    return _DONE


def _retry(options: argparse.Namespace) -> int:
    inbox = Inbox.existing(load_settings(StateSettings).relay_state_dir)
    try:
        again = inbox.retry(options.name)
    finally:
        inbox.close()
    _say(f"{again.wanted.model_uri} is wanted (deployment {again.id}); the relay acts on it within seconds")
    return _DONE


def _serve() -> int:
    try:
        settings = load_settings(Settings)
    except SettingsError as error:
        configure_logging()
        for problem in error.problems:
            _log.error(problem)
        return ExitCode.USAGE
    configure_logging(settings.log_level, settings.log_format)
    for noisy in ("uvicorn", "httpx", "httpcore"):  # our own lines say what happens
        logging.getLogger(noisy).setLevel("WARNING")
    disable_created_metrics()  # type: ignore[no-untyped-call]  # they double what is scraped, unread
    with StopSignals() as signals:
        defects: list[bool] = []

        def on_defect() -> None:
            defects.append(True)
            signals.stop()

        try:
            relay = Relay(settings, on_defect)
        except (RolloutError, PortInUseError, OSError) as error:
            _log.error(str(error))
            return int(error.exit_code) if isinstance(error, RolloutError) else ExitCode.USAGE
        relay.start()
        _log.info(
            "listening",
            http_port=relay.port,
            alias=settings.relay_alias,
            models=list(settings.relay_models) or "all",
            trigger=settings.relay_trigger,
            state=str(relay.inbox.directory),
        )
        signals.wait()
        finished = relay.stop()
        code = _DEFECT if defects else _DONE
        _log.info("stopped" if finished else "stopped, a call under way is abandoned")
        if not finished:
            logging.shutdown()
            os._exit(code)  # a thread cannot be ended from outside
    return code


def _say(sentence: str) -> None:
    Console(highlight=False, soft_wrap=True, markup=False).print(sentence)


def _parser() -> argparse.ArgumentParser:
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m rollout.webhook_relay",
        description=f"{first}\n\n{rest}",
        epilog=_variables(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--settings-schema", action="store_true", help="print the JSON schema of the settings"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    add: Any = commands.add_parser
    registering = add("register", help="make the webhook at the MLflow server, or update it")
    registering.add_argument(
        "--url", required=True, help="where MLflow reaches the relay: https://HOST:PORT/webhook"
    )
    registering.add_argument(
        "--name", default="coalmine-relay", help="name of the webhook (default: %(default)s)"
    )
    status = add("status", help="list what is pending and what was done last")
    status.add_argument("--json", action="store_true", help="write JSON for machines")
    status.add_argument(
        "--limit",
        type=_count,
        default=10,
        metavar="N",
        help="most deployments to list (default: %(default)s)",
    )
    add("retry", help="roll out again what was last acted on for a model").add_argument(
        "name", metavar="NAME"
    )
    return parser


def _count(text: str) -> int:
    # SQLite takes a negative limit for none at all.
    if not (text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS and int(text)):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no count: write a number from 1")
    return int(text)


def _variables() -> str:
    lines = ["Variables, each with its default:", ""]
    for name, field in Settings.model_fields.items():
        default = "required" if field.is_required() else field.default
        shown = "none" if default is None or default == () else default
        lines.append(f"  {name.upper()} ({shown})")
        lines += textwrap.wrap(
            field.description or "", 96, initial_indent="      ", subsequent_indent="      "
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
