"""`python -m training.aliases`: show where aliases are, move one, or undo the last move."""

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from training.command_line import new_parser, run_command
from training.errors import ExitCode
from training.model_name import NAME_HELP, model_named
from training.registering.address import prepare_mlflow, tracking_uri_of
from training.registering.alias_name import CHAMPION, alias_name

if TYPE_CHECKING:
    from training.registering.alias_history import Act
    from training.registering.alias_moves import AliasMover, ModelAliases

__all__ = ["main"]

#: How the command line writes that an alias is nowhere.
_NOWHERE: Final = "none"

_EXAMPLES: Final = """\
examples:
  python -m training.aliases show
  python -m training.aliases move challenger 8
  python -m training.aliases move champion 8 --expect 7     refused when champion is not at 7 by now
  python -m training.aliases move challenger none           takes the alias away
  python -m training.aliases undo --why "complaints"        takes back the last act, all of its moves

`move champion` keeps the old champion as `previous` and takes `challenger` away when it was the new one.
It moves no traffic: servers that watch the alias follow it, rollouts are `invoke deploy-canary`.

exit codes: 0 done, 1 refused: the alias is not where it is expected, 2 wrong usage, 4 infrastructure
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (None: the process's own) and return its exit code."""
    arguments = _parser().parse_args(argv)
    return run_command("training.aliases", lambda: _run(arguments))


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(
        "training.aliases",
        "Show and move the aliases of a registered model, with compare-and-swap and undo.",
        _EXAMPLES,
    )
    acts = parser.add_subparsers(dest="act", required=True, metavar="show|move|undo")
    show = acts.add_parser("show", help="where the aliases are", allow_abbrev=False)
    move = acts.add_parser("move", help="move one alias", allow_abbrev=False)
    move.add_argument("alias", type=alias_name, metavar="ALIAS", help="such as champion or challenger")
    move.add_argument("to", type=_version, metavar="VERSION", help="version number, or none")
    move.add_argument(
        "--expect",
        type=_version,
        default=argparse.SUPPRESS,
        metavar="VERSION",
        help="where it must be now, or none (default: where it is when this command looks)",
    )
    undo = acts.add_parser("undo", help="take back the last act", allow_abbrev=False)
    undo.add_argument("--number", type=int, metavar="N", help="it must be this act of the history")
    for act in (show, move, undo):
        act.add_argument("--name", metavar="NAME", help=NAME_HELP)
        act.add_argument("--json", action="store_true", help="write JSON for machines")
    for act in (move, undo):
        act.add_argument("--why", default="", metavar="TEXT", help="reason, kept in the history")
    return parser


def _version(text: str) -> str | None:
    if text == _NOWHERE:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no version: write a number from 1, or {_NOWHERE}")
    return str(int(text))


def _run(arguments: argparse.Namespace) -> ExitCode:
    with contextlib.redirect_stdout(sys.stderr):  # of what libraries print
        mover = open_mover()
        name = model_named(arguments.name, mover, moves=arguments.act != "show")
        if arguments.act == "show":
            act = None
        elif arguments.act == "undo":
            act = mover.undo(name, why=_why(arguments, "undo"), expect=arguments.number)
        else:
            act = _move(mover, name, arguments)
        now = mover.read(name)
    sys.stdout.write(_as_json(now, act) if arguments.json else _as_text(now, act, asked=arguments.act))
    return ExitCode.OK


def open_mover() -> "AliasMover":
    """Connect to the registry that the environment names. Raises `ConfigError` when its file does not exist."""
    prepare_mlflow()
    from training.registering.alias_moves import AliasMover  # noqa: PLC0415  # MLflow takes two seconds to import
    from training.registering.database import require_existing  # noqa: PLC0415

    tracking_uri = tracking_uri_of(os.environ)
    require_existing(tracking_uri)
    return AliasMover(tracking_uri)


def _move(mover: "AliasMover", name: str, arguments: argparse.Namespace) -> "Act | None":
    alias, to = arguments.alias, arguments.to
    expect = arguments.expect if "expect" in arguments else mover.read(name).aliases.get(alias)
    why = _why(arguments, "move")
    if alias == CHAMPION and to is not None:
        return mover.promote(name, to, expect=expect, why=why)
    return mover.move(name, alias, to, expect=expect, why=why)


def _why(arguments: argparse.Namespace, act: str) -> str:
    command = f"python -m training.aliases {act}"
    return f"{arguments.why} ({command})" if arguments.why else command


def _as_json(now: "ModelAliases", act: "Act | None") -> str:
    moved = [] if act is None else [[c.alias, c.before, c.after] for c in act.changes]
    shown = {"model": now.name, "aliases": now.aliases, "act": act and act.number, "moved": moved}
    return json.dumps(shown) + "\n"


def _as_text(now: "ModelAliases", act: "Act | None", *, asked: str) -> str:
    lines = []
    if act is not None:
        lines.append(f"{now.name}: act {act.number}: {', '.join(map(str, act.changes))}")
    elif asked == "move":
        lines.append(f"{now.name}: nothing to do: it is there already")
    width = max(map(len, now.aliases), default=0)
    lines += [
        f"{alias:{width}}  models:/{now.name}/{version}" for alias, version in sorted(now.aliases.items())
    ]
    return "\n".join(lines or [f"{now.name} has no aliases"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
