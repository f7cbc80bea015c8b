"""`python -m training.history`: what was champion when, and why.

MLflow keeps no such record; see `training.registering.alias_history` for where ours lies. Moves that were made
behind our back, as in MLflow's web interface, leave no entry and are noted where they show.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from training.aliases import open_mover
from training.command_line import new_parser, run_command
from training.errors import ExitCode
from training.model_name import NAME_HELP, model_named

if TYPE_CHECKING:
    from training.registering.alias_history import Act, AliasChange
    from training.registering.alias_moves import ModelAliases

__all__ = ["main"]

_BEHIND: Final = "moved by nobody who keeps this history"
_UNCONFIRMED: Final = "begun, not confirmed"
#: Where there is no terminal, lines are for `grep`: as long as the longest that we write.
_PIPED_WIDTH: Final = 1200
_EXAMPLES: Final = """\
examples:
  python -m training.history
  python -m training.history --name churn --alias champion --json
  MLFLOW_TRACKING_URI=http://mlflow:5000 python -m training.history

exit codes: 0 shown, 2 wrong usage or no such model, 4 infrastructure
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (None: the process's own) and return its exit code."""
    parser = new_parser(
        "training.history", "Show the recorded moves of a model's aliases, oldest first.", _EXAMPLES
    )
    parser.add_argument("--name", metavar="NAME", help=NAME_HELP)
    parser.add_argument("--alias", metavar="ALIAS", help="only what moved this alias")
    parser.add_argument("--json", action="store_true", help="write JSON for machines")
    arguments = parser.parse_args(argv)
    return run_command("training.history", lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> ExitCode:
    with contextlib.redirect_stdout(sys.stderr):  # of what libraries print
        mover = open_mover()
        now = mover.read(model_named(arguments.name, mover, moves=False))
    moves = [move for move in list_moves(now) if arguments.alias in {None, move["alias"]}]
    if arguments.json:
        sys.stdout.write(json.dumps({"model": now.name, "aliases": now.aliases, "moves": moves}) + "\n")
    else:
        _show(now.name, moves)
    return ExitCode.OK


def list_moves(now: "ModelAliases") -> list[dict[str, Any]]:
    """Return one entry a move, oldest first, unrecorded ones where they show."""
    from training.registering.alias_history import unrecorded_moves  # noqa: PLC0415

    unrecorded: dict[int | None, list[AliasChange]] = {}
    for number, change in unrecorded_moves(now.acts, now.aliases):
        unrecorded.setdefault(number, []).append(change)
    moves = []
    for act in now.acts:
        moves += [_unrecorded(change) for change in unrecorded.pop(act.number, [])]
        moves += [_recorded(act, change) for change in act.changes]
    return moves + [_unrecorded(change) for change in unrecorded.pop(None, [])]


def _recorded(act: "Act", change: "AliasChange") -> dict[str, Any]:
    move = {
        "act": act.number,
        "at": act.at.isoformat(timespec="seconds"),
        "alias": change.alias,
        "from": change.before,
        "to": change.after,
        "who": act.who,
        "why": act.why,
    }
    if act.undoes is not None:
        move["undoes"] = act.undoes
    return move | ({} if act.done else {"note": _UNCONFIRMED})


def _unrecorded(change: "AliasChange") -> dict[str, Any]:
    move = {"act": None, "at": None, "alias": change.alias, "from": change.before, "to": change.after}
    return {**move, "who": None, "why": None, "note": _BEHIND}


def _show(name: str, moves: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console  # noqa: PLC0415  # --json and --help need none of it
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _PIPED_WIDTH)
    if not moves:
        console.print(Text(f"no alias of {name} was ever moved"))
        return
    console.print(Text(f"{name}: moves of its aliases"))
    table = Table("act", "when (UTC)", "alias", "from", "to", "who", "why", box=None, pad_edge=False)
    for move in moves:
        undoes = f"undoes act {move['undoes']}" if "undoes" in move else None
        why = "; ".join(part for part in (undoes, move["why"], move.get("note")) if part)
        when = (move["at"] or "?").replace("+00:00", "").replace("T", " ")
        cells = [
            move["act"],
            when,
            move["alias"],
            move["from"] or "–",
            move["to"] or "–",
            move["who"] or "?",
            why,
        ]
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in cells))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
