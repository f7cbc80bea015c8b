"""All models of this server as an operator sees them: listed, reloaded, rolled back, loaded and unloaded."""

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from inference.artifacts import UriKind, parse_model_uri
from inference.catalog import Catalog, Slot
from inference.errors import InferenceError, InvalidRequestError, UnknownModelError, Violation
from inference.rows import quoted
from inference.swap import Swapper, SwapRecord

__all__ = ["IndexEntry", "Roster", "entry_of"]


class IndexEntry(NamedTuple):
    """One line of the index, in the words of the model repository extension."""

    name: str
    version: str
    #: `READY` or `UNAVAILABLE`.
    state: str
    #: Why it is unavailable; empty when it is ready.
    reason: str


class Roster:
    """The swappers of all slots, the default first.

    `open_swapper` makes the swapper of a model URI that was not configured; None when nothing but the configured
    models can be served. `reload_shadow` is called after each reload or refresh of everything.
    """

    def __init__(
        self,
        catalog: Catalog,
        swappers: Iterable[Swapper],
        open_swapper: Callable[[str], Swapper] | None = None,
        *,
        reload_shadow: Callable[[], None] = lambda: None,
    ) -> None:
        self._catalog: Final = catalog
        self._swappers = list(swappers)
        self._open_swapper = open_swapper
        self._reload_shadow = reload_shadow
        self._closed = False

    @property
    def swappers(self) -> list[Swapper]:
        """The swapper of each slot, the default first."""
        return list(self._swappers)

    @property
    def default(self) -> Swapper:
        """The swapper of the default model."""
        return self._swappers[0]

    def reload(self, model_uri: str | None = None) -> SwapRecord:
        """Serve what the configured URIs name now, or let `model_uri` take the place of the one it succeeds.

        That is the slot with the same URI, else the first one of the same registered model, else the only slot.
        Returns the record of that slot, of the default one without a URI. What was unloaded stays so unless
        `model_uri` asks for it. Raises what `Swapper.reload` raises, and `InvalidRequestError` when no slot is
        the natural one.
        """
        if model_uri is not None:
            return self._succeeded_by(model_uri).reload(model_uri)
        return self._each(Swapper.reload)

    def refresh(self) -> SwapRecord:
        """Serve what the configured URIs name now where they led elsewhere before, as `Swapper.refresh` does."""
        return self._each(Swapper.refresh)

    def _each(self, change: Callable[[Swapper], SwapRecord]) -> SwapRecord:
        """Try every slot that nobody unloaded, then raise the first error if there was one."""
        errors = []
        records = {}
        for swapper in [swapper for swapper in self._swappers if not swapper.slot.unloaded]:
            try:
                records[swapper] = change(swapper)
            except InferenceError as error:  # one broken model is no reason to leave the others stale
                errors.append(error)
        self._reload_shadow()
        if errors:
            raise errors[0]
        record = records.get(self.default, self.default.last)
        assert record is not None, "it was tried, or unloaded"
        return record

    def rollback(self, name: str = "") -> SwapRecord:
        """Serve the previous generation of a model again, of the default one without a name."""
        return (self._named(name)[0] if name else self.default).rollback()

    def load(self, name: str) -> None:
        """Load or reload a model: every slot of that name, or a new one with the champion of that name.

        Raises what `Swapper.reload` raises, and `UnknownModelError` when only configured models can be served.
        """
        found = self._slots_of(name)
        if not found:
            if self._open_swapper is None:
                raise UnknownModelError(quoted(name), self._held())
            self._add(self._open_swapper(name))
            return
        for swapper in found:
            swapper.reload()

    def unload(self, name: str) -> None:
        """Take a model out of service until it is loaded again. Raises `UnknownModelError`."""
        for swapper in self._named(name):
            swapper.unload()

    def index(self) -> list[IndexEntry]:
        """List the models, those out of service too."""
        return [entry_of(swapper.slot, swapper.last) for swapper in self._swappers]

    def close(self) -> None:
        """Refuse every change that has not happened yet: the server shuts down."""
        self._closed = True
        for swapper in self._swappers:
            swapper.close()

    def _add(self, swapper: Swapper) -> None:
        self._catalog.add(swapper.slot)
        self._swappers.append(swapper)
        try:
            if self._closed:
                swapper.close()
            swapper.reload()
        except BaseException:
            self._swappers.remove(swapper)
            self._catalog.remove(swapper.slot)
            raise

    def _succeeded_by(self, model_uri: str) -> Swapper:
        same = [swapper for swapper in self._swappers if model_uri in (swapper.slot.key, swapper.model_uri)]
        uri = parse_model_uri(model_uri)
        named = self._slots_of(uri.name) if uri.kind is not UriKind.RUN else []
        found = same or named or self._swappers
        if len(found) > 1 and found is self._swappers:
            expected = f"expected a model that is served: {self._held()}"
            raise InvalidRequestError([Violation("model_uri", f"found {quoted(model_uri)}, {expected}")])
        return found[0]

    def _named(self, name: str) -> list[Swapper]:
        found = self._slots_of(name)
        if not found:
            raise UnknownModelError(quoted(name), self._held())
        return found

    def _slots_of(self, name: str) -> list[Swapper]:
        return [swapper for swapper in self._swappers if swapper.slot.name == name]

    def _held(self) -> str:
        return ", ".join(dict.fromkeys(swapper.slot.name for swapper in self._swappers))


def entry_of(slot: Slot, last: SwapRecord | None = None) -> IndexEntry:
    """Return the line of `slot`; `last` is what the last try to change it came to."""
    held = slot.current or slot.previous
    version = held.version if held is not None else ""
    if slot.current is not None:
        return IndexEntry(slot.name, version, "READY", "")
    reason = "unloaded" if slot.unloaded else (last.error if last is not None else "") or "not loaded yet"
    return IndexEntry(slot.name, version, "UNAVAILABLE", reason)
