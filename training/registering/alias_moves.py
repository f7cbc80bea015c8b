"""Moving aliases: only from where the mover expects them, one mover at a time, and with a line of history.

`champion` is the version that serves by default, `challenger` its contender, `previous` the champion before.
MLflow overwrites an alias without asking, so each act here takes the lock of the model, compares, writes what
it is about to do, moves, looks at what came of it, and marks the entry as done.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from mlflow import MlflowClient

from training.errors import AliasConflictError, ConfigError, RegistryError
from training.registering.alias_history import Act, AliasChange, next_number, read_acts, whoami
from training.registering.alias_lock import AliasLock, alias_lock
from training.registering.alias_name import CHALLENGER, CHAMPION, PREVIOUS
from training.registering.calls import Calls
from training.storage import public_uri

__all__ = ["AliasMover", "ModelAliases"]

#: MLflow lists so many at once.
_LISTED_MODELS: Final = 1000
#: MLflow's word for what does not exist.
_NOT_THERE: Final = "RESOURCE_DOES_NOT_EXIST"
_SAME_MOMENT: Final = (
    "somebody who takes no lock, such as MLflow's web interface, moved it in the same moment"
)


@dataclass(frozen=True, slots=True)
class ModelAliases:
    """The aliases of one registered model, each with its version, and the acts that are recorded of them."""

    name: str
    aliases: dict[str, str]
    acts: list[Act]
    next_number: int


class AliasMover:
    """Moves the aliases of registered models in the registry at `tracking_uri`."""

    def __init__(self, tracking_uri: str, client: MlflowClient | None = None) -> None:
        self._calls = Calls(tracking_uri)
        self._client = client or self._calls.ask(lambda: MlflowClient(tracking_uri, tracking_uri))

    def names(self) -> list[str]:
        """Return the names of all registered models, in their order. Raises `RegistryError`."""
        found = self._calls.ask(lambda: self._client.search_registered_models(max_results=_LISTED_MODELS))
        return sorted(model.name for model in found)

    def read(self, name: str) -> ModelAliases:
        """Return where the aliases are and what is recorded of them.

        Raises `ConfigError` when the registry has no such model, and `RegistryError`.
        """
        try:
            model = self._calls.ask(lambda: self._client.get_registered_model(name))
        except RegistryError as error:
            if error.code != _NOT_THERE:
                raise
            raise self._unknown(name) from None
        aliases = {alias: str(version) for alias, version in model.aliases.items()}
        return ModelAliases(name, aliases, read_acts(model.tags), next_number(model.tags))

    def move(self, name: str, alias: str, to: str | None, *, expect: str | None, why: str) -> Act | None:
        """Move `alias` from the version `expect` to `to`; None stands for no alias at all.

        Of `champion` use `promote`. Returns the act, or None when the alias is at `to` already. Raises
        `AliasConflictError` when it is at neither, `ConfigError` when there is no version `to`, and
        `RegistryError`.
        """

        def plan(now: ModelAliases) -> list[AliasChange]:
            found = now.aliases.get(alias)
            if found == to:
                return []
            _require(now, alias, expect)
            return [AliasChange(alias, found, to)]

        return self._act(name, plan, why)

    def promote(self, name: str, to: str, *, expect: str | None, why: str) -> Act | None:
        """Make `to` champion if `expect` still is: `previous` first, `champion` then, `challenger` goes.

        A `challenger` at another version stays. Calling it again after it succeeded, or was killed at any
        point, ends in the same state. Returns and raises as `move` does.
        """

        def plan(now: ModelAliases) -> list[AliasChange]:
            found = now.aliases.get(CHAMPION)
            changes = []
            if found != to:
                _require(now, CHAMPION, expect)
                if found is not None:
                    changes.append(AliasChange(PREVIOUS, now.aliases.get(PREVIOUS), found))
                changes.append(AliasChange(CHAMPION, found, to))
            if now.aliases.get(CHALLENGER) == to:
                changes.append(AliasChange(CHALLENGER, to, None))
            return [change for change in changes if change.before != change.after]

        return self._act(name, plan, why)

    def undo(self, name: str, *, why: str, expect: int | None = None) -> Act:
        """Take back the last act that was not taken back yet, all of its moves in reverse order.

        With `expect` it must be the act of that number, else the one that is the last when this is called:
        of two who undo at once, the second does not take back the act before. Raises `ConfigError` when
        there is none, `AliasConflictError` when an alias was moved since, and `RegistryError`.
        """
        undone = 0
        seen = _last_standing(self.read(name), None) if expect is None else None

        def plan(now: ModelAliases) -> list[AliasChange]:
            nonlocal undone
            if seen is not None:
                _require_last(now, seen)
            act = _last_standing(now, expect)
            undone = act.number
            changes = [_reverse(now, change) for change in reversed(act.changes)]
            return [change for change in changes if change.before != change.after]

        made = self._act(name, plan, why, undoes=lambda: undone)
        if made is None:
            problem = (
                f"its aliases are where they were before the act {undone} already; nothing is to be undone"
            )
            raise ConfigError([f"{name}: {problem}"], source="the history")
        return made

    def _act(
        self,
        name: str,
        plan: Callable[[ModelAliases], Sequence[AliasChange]],
        why: str,
        undoes: Callable[[], int] | None = None,
    ) -> Act | None:
        who = whoami()
        with alias_lock(self._calls, self._client, name, who) as lock:
            now = self.read(name)
            self._confirm(now)
            changes = tuple(plan(now))
            if not changes:
                return None
            for version in {change.after for change in changes} - {None}:
                self._require_version(name, str(version))
            number = undoes() if undoes is not None else None
            act = Act(now.next_number, datetime.now(UTC), changes, who, why, undoes=number)
            self._record(name, act, lock)
            for change in changes:
                self._set(name, change, lock)
            self._require_moved(name, act)
            self._record(name, act.finished(), lock)
        return act.finished()

    def _confirm(self, now: ModelAliases) -> None:
        """Mark acts as done whose process was killed after the last move: under the lock nobody is at it."""
        for act in now.acts:
            if not act.done and all(now.aliases.get(change.alias) == change.after for change in act.changes):
                self._calls.ask(_tag(self._client, now.name, act.finished()))

    def _unknown(self, name: str) -> ConfigError:
        known = ", ".join(self.names()) or "none"
        problem = f"there is no registered model {name!r}; there are: {known}"
        return ConfigError(
            [f"{problem}; choose one, or train it"], source=public_uri(self._calls.tracking_uri)
        )

    def _require_version(self, name: str, version: str) -> None:
        try:
            self._calls.ask(lambda: self._client.get_model_version(name, version))
        except RegistryError as error:
            if error.code != _NOT_THERE:
                raise
            found = self._calls.ask(lambda: self._client.search_model_versions(f"name = '{name}'"))
            known = ", ".join(sorted((str(one.version) for one in found), key=int)) or "none"
            problem = f"{name} has no version {version}; it has: {known}; choose one of them"
            raise ConfigError([problem], source=public_uri(self._calls.tracking_uri)) from None

    def _record(self, name: str, act: Act, lock: AliasLock) -> None:
        lock.require_held()
        self._calls.ask(_tag(self._client, name, act))

    def _set(self, name: str, change: AliasChange, lock: AliasLock) -> None:
        lock.require_held()
        alias, to = change.alias, change.after
        if to is None:
            self._calls.ask(lambda: self._client.delete_registered_model_alias(name, alias))
        else:
            self._calls.ask(lambda: self._client.set_registered_model_alias(name, alias, to))

    def _require_moved(self, name: str, act: Act) -> None:
        """Look at what came of it: who takes no lock may have moved an alias right after us."""
        aliases = self.read(name).aliases
        for change in act.changes:
            found = aliases.get(change.alias)
            if found != change.after:
                raise AliasConflictError(
                    name, change.alias, expected=change.after, found=found, reason=_SAME_MOMENT
                )


def _tag(client: MlflowClient, name: str, act: Act) -> Callable[[], None]:
    return lambda: client.set_registered_model_tag(name, act.key, act.to_text())


def _require(now: ModelAliases, alias: str, expect: str | None) -> None:
    found = now.aliases.get(alias)
    if found != expect:
        last = next((act for act in reversed(now.acts) if alias in {c.alias for c in act.changes}), None)
        reason = "no act is recorded that moved it there"
        if last is not None and any(c.alias == alias and c.after == found for c in last.changes):
            reason = f"{last.who} moved it at {last.at:%Y-%m-%d %H:%M:%S} UTC ({last.why})"
        raise AliasConflictError(now.name, alias, expected=expect, found=found, reason=reason)


def _last_standing(now: ModelAliases, expect: int | None) -> Act:
    standing = _standing(now)
    if not standing:
        raise ConfigError([f"{now.name}: no act is recorded that could be undone"], source="the history")
    if expect is not None and standing[-1].number != expect:
        problem = f"the last act that can be undone is {standing[-1].number}, not {expect}; look at it first"
        raise ConfigError([f"{now.name}: {problem}"], source="the history")
    return standing[-1]


def _require_last(now: ModelAliases, seen: Act) -> None:
    """Raise `AliasConflictError` when `seen` is not the last act any more: somebody acted, or undid, meanwhile."""
    if [act.number for act in _standing(now)][-1:] == [seen.number]:
        return
    newest = now.acts[-1]
    change = newest.changes[0]
    reason = (
        f"{newest.who} moved it at {newest.at:%Y-%m-%d %H:%M:%S} UTC ({newest.why}), while this undo waited "
        f"to take back act {seen.number}"
    )
    found = now.aliases.get(change.alias)
    raise AliasConflictError(now.name, change.alias, expected=change.before, found=found, reason=reason)


def _standing(now: ModelAliases) -> list[Act]:
    """Return the acts that can be undone, oldest first: an undo is none of them."""
    undone = {act.undoes for act in now.acts}
    return [
        act for act in now.acts if act.undoes is None and act.number not in undone and _happened(now, act)
    ]


def _happened(now: ModelAliases, act: Act) -> bool:
    """Tell whether an act moved anything: a killed process may have written what it never did."""
    return act.done or any(now.aliases.get(change.alias) == change.after for change in act.changes)


def _reverse(now: ModelAliases, change: AliasChange) -> AliasChange:
    found = now.aliases.get(change.alias)
    if found not in {change.before, change.after}:
        _require(now, change.alias, change.after)
    return AliasChange(change.alias, found, change.before)
