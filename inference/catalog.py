"""The models of this server: which generation answers a request that names a model, a version, or neither.

A slot is one configured model URI. It holds the generation that serves and the one before it. The catalog keeps
an index over the slots that is replaced as a whole at each change, so that a request sees exactly one generation
from its first step to its last.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Final

from inference.artifacts import ModelUri, UriKind, parse_model_uri
from inference.errors import NotReadyError, UnknownModelError
from inference.generation import Generation
from inference.rows import quoted

__all__ = ["CHAMPION", "LOCAL", "Catalog", "Slot", "slot_of"]

#: The alias whose version answers when a request names a model and no version.
CHAMPION: Final = "champion"
#: The key of the one slot whose model comes from a directory.
LOCAL: Final = "local"

_NOT_READY: Final = "no model is loaded yet; try again when /health/ready answers 200"
_UNLOADED: Final = "the model was unloaded; load it again by its name, or ask another server"


class Slot:
    """One model that serves. Read `current` and `previous` freely; only the catalog changes them."""

    def __init__(self, key: str, uri: ModelUri | None = None) -> None:
        #: How people name this slot: its model URI as configured, or `local`.
        self.key: Final = key
        #: That URI in its parts; None when the model comes from a directory.
        self.uri: Final = uri
        #: The alias that the URI names, under which requests may ask for the version too.
        self.alias: Final = uri.selector if uri is not None and uri.kind is UriKind.ALIAS else ""
        self.current: Generation | None = None
        self.previous: Generation | None = None
        #: True after an operator took the model out of service.
        self.unloaded = False
        #: True for a slot that the server was started with, and that it is not ready without.
        self.configured = False

    @property
    def name(self) -> str:
        """Name of the model: as it calls itself, or before it was ever loaded as the URI calls it."""
        held = self.current or self.previous
        if held is not None:
            return held.name
        return self.uri.name if self.uri is not None and self.uri.kind is not UriKind.RUN else self.key


def slot_of(key: str) -> Slot:
    """Make the slot of a model URI, or of `local`. Raises `ModelNotFoundError` for what is neither."""
    return Slot(key) if key == LOCAL else Slot(key, parse_model_uri(key))


class Catalog:
    """The slots, in the order of their configuration: the first one answers requests that name no model."""

    def __init__(self, slots: Iterable[Slot] = ()) -> None:
        # Taken by every request; as a plain lock, since entering a condition costs several times as much.
        self._lock: Final = threading.Lock()
        self._changed: Final = threading.Condition(self._lock)
        self._draining = 0
        self._slots: tuple[Slot, ...] = tuple(slots)
        for slot in self._slots:
            slot.configured = True
        self._watcher: Callable[[], None] = lambda: None
        self._index: dict[tuple[str, str], Generation] = {}

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All slots."""
        return self._slots

    @property
    def ready(self) -> bool:
        """Whether every configured slot serves that nobody unloaded, and at least one slot at all."""
        # A model that an operator loads beside them, or fails to load, keeps no traffic from the others.
        missing = any(slot.configured and slot.current is None and not slot.unloaded for slot in self._slots)
        return not missing and any(slot.current is not None for slot in self._slots)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` from now on after each change of what serves, and before what served is drained."""
        self._watcher = watcher

    @property
    def default(self) -> Generation | None:
        """The generation that answers requests which name no model."""
        return self._index.get(("", ""))

    @property
    def generations(self) -> list[Generation]:
        """Every generation that serves, in the order of the slots."""
        return [slot.current for slot in self._slots if slot.current is not None]

    def find(self, name: str = "", version: str = "") -> Generation:
        """Return the generation that answers for `name` and `version`, each perhaps empty, without taking it.

        An alias of a slot stands for the version it leads to. Raises `NotReadyError` and `UnknownModelError`.
        """
        index = self._index
        found = index.get((name, version))
        if found is None:
            raise self._not_found(index, name, version)
        return found

    def acquire(self, name: str = "", version: str = "") -> Generation:
        """Take what `find` finds; give it back by `release`."""
        with self._lock:
            found = self._index.get((name, version))
            if found is not None:
                found._in_flight.count += 1
                return found
        raise self._not_found(self._index, name, version)

    def release(self, generation: Generation) -> None:
        """Give back what `acquire` gave."""
        with self._lock:
            generation._in_flight.count -= 1
            if self._draining and generation._in_flight.count == 0:
                self._changed.notify_all()

    def switch(self, slot: Slot, generation: Generation) -> Generation | None:
        """Let `generation` serve in `slot` from now on and return the one that it replaces."""
        with self._changed:
            forgotten, replaced = slot.previous, slot.current
            slot.previous, slot.current, slot.unloaded = replaced or slot.previous, generation, False
            self._index = _index_of(self._slots)
        if forgotten is not None and forgotten is not slot.previous and forgotten.digest != generation.digest:
            forgotten.release_bundle()
        self._watcher()
        return replaced

    def unload(self, slot: Slot) -> Generation | None:
        """Let `slot` serve nothing and return what it served."""
        with self._changed:
            replaced, slot.current, slot.unloaded = slot.current, None, True
            slot.previous = replaced or slot.previous
            self._index = _index_of(self._slots)
        self._watcher()
        return replaced

    def add(self, slot: Slot) -> None:
        """Add a slot, as the last one."""
        with self._changed:
            self._slots = (*self._slots, slot)

    def remove(self, slot: Slot) -> None:
        """Remove a slot that never served."""
        with self._changed:
            self._slots = tuple(kept for kept in self._slots if kept is not slot)

    def drain(self, generation: Generation, timeout_seconds: float) -> bool:
        """Wait until no request uses `generation`; return whether that came true in time."""
        with self._changed:
            self._draining += 1
            try:
                return generation.wait_unused(self._changed, timeout_seconds)
            finally:
                self._draining -= 1

    def _not_found(self, index: dict[tuple[str, str], Generation], name: str, version: str) -> Exception:
        held = {f"{found.name} version {found.version}": None for found in index.values()}
        if not held or (not (name or version) and not self._slots[0].unloaded):
            return NotReadyError(_UNLOADED if self._slots[0].unloaded else _NOT_READY)
        default = index.get(("", ""))
        shown = name or (default.name if default is not None else "")
        asked = " version ".join(quoted(part) for part in (shown, version) if part)
        return UnknownModelError(asked or "for requests that name none", ", ".join(held))


def _index_of(slots: tuple[Slot, ...]) -> dict[tuple[str, str], Generation]:
    index: dict[tuple[str, str], Generation] = {}
    serving = [(slot, slot.current) for slot in slots if slot.current is not None]
    for _, generation in serving:
        index.setdefault((generation.name, generation.version), generation)
    for slot, generation in serving:
        if slot.alias:
            index.setdefault((generation.name, slot.alias), generation)
    # Of several versions of one model the champion is the default, else the first that is configured.
    for _, generation in sorted(serving, key=lambda pair: pair[0].alias != CHAMPION):
        index.setdefault((generation.name, ""), generation)
    if slots and slots[0].current is not None:
        name = slots[0].current.name
        index.update({("", version): found for (of, version), found in index.items() if of == name})
        index["", ""] = slots[0].current
    return index
