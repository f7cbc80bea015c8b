"""What was champion when and why: one tag of the registered model for each act that moved aliases.

MLflow keeps no history of aliases, so whoever moves one by this package writes an entry, under a key of its
own: nobody rewrites what another one wrote, whatever happens at the same time. An entry is written before the
act and marked as done after it, so a process that is killed in between leaves what it was about to do.
Tags live with the registered model, in a database as on a tracking server, and outlive its versions.
"""

import getpass
import json
import os
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

__all__ = ["Act", "AliasChange", "next_number", "read_acts", "unrecorded_moves", "whoami"]

_PREFIX: Final = "coalmine.history."
#: MLflow took tags of registered models of 5,000 characters before 3.0; with at most four changes of aliases of
#: 255 characters (MLflow's limit) this stays below half of it.
_WHY_LENGTH: Final = 600
_WHO_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class AliasChange:
    """One alias that moved from the version `before` to the version `after`; None: it did not exist."""

    alias: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        return f"{self.alias} {self.before or 'none'} → {self.after or 'none'}"


@dataclass(frozen=True, slots=True)
class Act:
    """One act and the aliases that it moved, in this order.

    `number` counts the acts of one registered model from 1. `done` is False when the act was begun and never
    confirmed. `undoes` is the number of the act that this one took back.
    """

    number: int
    at: datetime
    changes: tuple[AliasChange, ...]
    who: str
    why: str
    done: bool = False
    undoes: int | None = None
    #: Tells apart two acts of one number, as two writers without a lock may make.
    token: str = field(default_factory=lambda: uuid.uuid4().hex[:8])

    @property
    def key(self) -> str:
        """The key of its tag: sorts by number."""
        return f"{_PREFIX}{self.number:06d}.{self.token}"

    def finished(self) -> "Act":
        """Return the act as done."""
        return replace(self, done=True)

    def to_text(self) -> str:
        """Write the value of its tag."""
        return json.dumps(
            {
                "at": self.at.isoformat(),
                "changes": [[change.alias, change.before, change.after] for change in self.changes],
                "who": self.who[:_WHO_LENGTH],
                "why": self.why[:_WHY_LENGTH],
                "done": self.done,
                **({} if self.undoes is None else {"undoes": self.undoes}),
            },
            ensure_ascii=False,
        )


def read_acts(tags: Mapping[str, str]) -> list[Act]:
    """Return the acts among the tags of a registered model, oldest first; what is no act is left out."""
    acts = []
    for key, text in tags.items():
        number, _, token = key.removeprefix(_PREFIX).partition(".")
        if key.startswith(_PREFIX) and number.isdecimal() and token:
            act = _read(int(number), token, text)
            acts += [act] if act is not None else []
    return sorted(acts, key=lambda act: (act.number, act.at, act.token))


def _read(number: int, token: str, text: str) -> Act | None:
    try:
        fields: dict[str, Any] = json.loads(text)
        at = datetime.fromisoformat(fields["at"])
        return Act(
            number,
            at if at.tzinfo else at.replace(tzinfo=UTC),
            tuple(
                AliasChange(str(alias), _version(old), _version(new)) for alias, old, new in fields["changes"]
            ),
            str(fields["who"]),
            str(fields["why"]),
            done=bool(fields["done"]),
            undoes=int(fields["undoes"]) if "undoes" in fields else None,
            token=token,
        )
    except (ValueError, KeyError, TypeError):  # somebody edited the tag by hand
        return None


def _version(value: object) -> str | None:
    return None if value is None else str(value)


def next_number(tags: Mapping[str, str]) -> int:
    """Return the number of the next act: one more than any key has, unreadable entries included."""
    numbers = (key.removeprefix(_PREFIX).partition(".")[0] for key in tags if key.startswith(_PREFIX))
    return 1 + max((int(number) for number in numbers if number.isdecimal()), default=0)


def unrecorded_moves(
    acts: Iterable[Act], aliases: Mapping[str, str]
) -> Iterator[tuple[int | None, AliasChange]]:
    """Find the moves that nobody recorded, each with the number of the act before which it came (None: after all).

    `aliases` are those of today. An alias that no act ever moved counts when it exists.
    """
    possible: dict[str, tuple[str | None, ...]] = {}
    for act in acts:
        for change in act.changes:
            known = possible.get(change.alias, (None,))
            if change.before not in known:
                yield act.number, AliasChange(change.alias, known[0], change.before)
            # What was begun and not confirmed may have happened or not: both agree with what follows.
            possible[change.alias] = (change.after,) if act.done else (change.after, change.before)
    for alias in sorted({*possible, *aliases}):
        known = possible.get(alias, (None,))
        if aliases.get(alias) not in known:
            yield None, AliasChange(alias, known[0], aliases.get(alias))


def whoami() -> str:
    """Return who acts: the person that GitHub names when it runs us, else user and host."""
    actor = os.environ.get("GITHUB_ACTOR")
    if actor:
        return f"{actor} by GitHub Actions"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container whose user number has no name
        user = str(os.getuid()) if hasattr(os, "getuid") else "somebody"
    return f"{user}@{socket.gethostname()}"
