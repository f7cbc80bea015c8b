"""All models of a server, as an operator changes them."""

import threading
from collections.abc import Callable

import pytest

from inference.artifacts import Bundle
from inference.catalog import Catalog, Slot, slot_of
from inference.errors import (
    InferenceError,
    InvalidRequestError,
    NotReadyError,
    RegistryUnavailableError,
    UnknownModelError,
)
from inference.metrics import Metrics
from inference.roster import Roster
from inference.stage import Loading, Stage
from inference.swap import Swapper
from tests.inference.small_models import FirstClass, NamedModels

DOWN = RegistryUnavailableError("http://r", "down")


class _World:
    """A roster over slots with these URIs."""

    def __init__(self, repository: NamedModels, *uris: str, dynamic: bool = True) -> None:
        self.repository = repository
        self.catalog = Catalog(map(slot_of, uris))
        self.metrics = Metrics("stable")
        self.lock = threading.Lock()
        open_swapper: Callable[[str], Swapper] | None = self._open if dynamic else None
        self.roster = Roster(self.catalog, [self._swapper(slot) for slot in self.catalog.slots], open_swapper)

    def _open(self, name: str) -> Swapper:
        return self._swapper(slot_of(f"models:/{name}@champion"))

    def _swapper(self, slot: Slot) -> Swapper:
        def load(_bundle: Bundle) -> FirstClass:
            return FirstClass()

        stage = Stage(self.catalog, Loading(load, lambda *_: None), self.metrics, drain_seconds=1)
        return Swapper(
            slot, self.repository, stage, self.metrics, model_uri=slot.key, one_at_a_time=self.lock
        )

    def served(self) -> list[tuple[str, str]]:
        return [(model.name, model.version) for model in self.catalog.generations]


def _two() -> _World:
    repository = NamedModels(iris="1", wine="4")
    world = _World(repository, "models:/iris@champion", "models:/wine@champion")
    world.roster.reload()
    return world


def test_a_reload_looks_at_every_slot() -> None:
    """Without a URI every configured URI is resolved again, and the record is that of the default model."""
    world = _two()
    world.repository.answers["models:/wine@champion"] = ("wine", "5")
    assert world.roster.reload().outcome == "unchanged"
    assert world.served() == [("iris", "1"), ("wine", "5")]


@pytest.mark.parametrize(
    ("uri", "answer", "expected"),
    [
        ("models:/wine/7", ("wine", "7"), [("iris", "1"), ("wine", "7")]),
        ("models:/iris@challenger", ("iris", "2"), [("iris", "2"), ("wine", "4")]),
        ("models:/wine@champion", ("wine", "5"), [("iris", "1"), ("wine", "5")]),
    ],
)
def test_a_uri_takes_the_place_of_the_one_it_succeeds(
    uri: str, answer: tuple[str, str], expected: list[tuple[str, str]]
) -> None:
    """A URI goes to the slot of its registered model, and that slot follows it from then on."""
    world = _two()
    world.repository.answers[uri] = answer
    assert world.roster.reload(uri).outcome == "swapped"
    assert world.served() == expected
    world.repository.asked.clear()
    world.roster.reload()
    assert uri in world.repository.asked


def test_of_two_versions_of_a_model_the_slot_with_the_uri_is_reloaded() -> None:
    """The same URI wins over the same name."""
    repository = NamedModels(iris="1")
    repository.answers["models:/iris@challenger"] = ("iris", "2")
    world = _World(repository, "models:/iris@champion", "models:/iris@challenger")
    world.roster.reload()
    repository.answers["models:/iris@challenger"] = ("iris", "3")
    world.roster.reload("models:/iris@challenger")
    assert world.served() == [("iris", "1"), ("iris", "3")]


def test_a_uri_of_no_served_model_needs_the_only_slot() -> None:
    """With one slot it is the natural one for any model; with two the operator is told what is served."""
    world = _two()
    with pytest.raises(InvalidRequestError, match="iris, wine"):
        world.roster.reload("models:/beer/1")
    alone = _World(NamedModels(iris="1"), "models:/iris@champion")
    alone.roster.reload()
    alone.repository.answers["models:/beer/1"] = ("beer", "1")
    alone.roster.reload("models:/beer/1")
    assert alone.served() == [("beer", "1")]


def test_a_model_is_unloaded_and_loaded_again() -> None:
    """The index tells of models out of service and why; a reload of everything leaves them alone."""
    world = _two()
    world.roster.unload("wine")
    assert world.served() == [("iris", "1")]
    assert world.roster.index() == [("iris", "1", "READY", ""), ("wine", "4", "UNAVAILABLE", "unloaded")]
    world.roster.reload()
    assert world.served() == [("iris", "1")]
    world.roster.load("wine")
    assert world.served() == [("iris", "1"), ("wine", "4")]
    assert world.catalog.ready


def test_an_unloaded_model_comes_back_only_when_it_is_asked_for() -> None:
    """With the only model unloaded, neither a refresh nor a reload of everything serves it again; a load does."""
    world = _World(NamedModels(iris="1"), "models:/iris@champion")
    world.roster.reload()
    world.roster.unload("iris")
    assert world.roster.refresh().outcome == "unloaded"
    assert world.roster.reload().outcome == "unloaded"
    assert world.served() == []
    world.roster.load("iris")
    assert world.served() == [("iris", "1")]


def test_the_record_of_a_reload_is_that_of_the_default_model() -> None:
    """With the default model unloaded, what became of another one is not told as if it were the default's."""
    world = _two()
    world.roster.unload("iris")
    world.repository.answers["models:/wine@champion"] = ("wine", "5")
    assert world.roster.reload().outcome == "unloaded"
    assert world.served() == [("wine", "5")]


def test_a_refresh_lets_a_rollback_be() -> None:
    """What was rolled back comes again when the registry leads elsewhere, or when an operator reloads."""
    world = _World(NamedModels(iris="1"), "models:/iris@champion")
    world.roster.reload()
    world.repository.answers["models:/iris@champion"] = ("iris", "2")
    assert world.roster.refresh().outcome == "swapped"
    world.roster.rollback()
    assert world.roster.refresh().outcome == "unchanged"
    assert world.served() == [("iris", "1")]
    world.repository.answers["models:/iris@champion"] = ("iris", "3")
    assert world.roster.refresh().outcome == "swapped"
    world.roster.rollback()
    assert world.roster.reload().outcome == "swapped"
    assert world.served() == [("iris", "3")]


def test_readiness_does_not_wait_for_a_model_that_is_loaded_beside() -> None:
    """While one more model is fetched, and after that failed, those that serve are ready as before."""
    world = _two()
    seen: list[bool] = []
    world.repository.before = lambda: seen.append(world.catalog.ready)
    world.repository.answers["models:/beer@champion"] = DOWN
    with pytest.raises(RegistryUnavailableError):
        world.roster.load("beer")
    world.repository.answers["models:/beer@champion"] = ("beer", "2")
    world.roster.load("beer")
    assert seen == [True, True]
    assert world.catalog.ready


def test_models_of_runs_have_no_name_before_they_are_loaded() -> None:
    """A run says nothing of the model's name, so the index shows the URI until there is one."""
    world = _World(NamedModels(), "runs:/abc/model")
    assert [entry.name for entry in world.roster.index()] == ["runs:/abc/model"]
    world.repository.answers["runs:/abc/model"] = ("iris", "abc")
    world.roster.reload()
    assert world.roster.index() == [("iris", "abc", "READY", "")]


def test_the_index_names_what_is_not_loaded_yet() -> None:
    """Before the first load a model is named by its URI; after a failed one with the reason."""
    world = _World(NamedModels(iris="1"), "models:/iris@champion")
    assert world.roster.index() == [("iris", "", "UNAVAILABLE", "not loaded yet")]
    world.repository.answers["models:/iris@champion"] = DOWN
    with pytest.raises(RegistryUnavailableError):
        world.roster.reload()
    (entry,) = world.roster.index()
    assert (entry.state, entry.reason) == ("UNAVAILABLE", str(DOWN))


def test_another_registered_model_can_be_loaded() -> None:
    """A name that was not configured gets a slot with the champion of that name, and can be asked and unloaded."""
    world = _two()
    world.repository.answers["models:/beer@champion"] = ("beer", "2")
    world.roster.load("beer")
    assert world.catalog.find("beer").version == "2"
    assert world.catalog.find().name == "iris"
    world.repository.answers["models:/beer@champion"] = ("beer", "3")
    world.roster.load("beer")
    assert world.catalog.find("beer").version == "3"
    world.roster.unload("beer")
    assert world.catalog.ready


@pytest.mark.parametrize("error", [DOWN, ZeroDivisionError("a defect")])
def test_a_model_that_cannot_be_loaded_leaves_no_slot(error: Exception) -> None:
    """A failed load changes neither what is served nor the index nor readiness."""
    world = _two()
    before = (world.served(), world.roster.index())
    world.repository.answers["models:/beer@champion"] = ("beer", "2")
    if isinstance(error, InferenceError):
        world.repository.answers["models:/beer@champion"] = error
    else:
        del world.repository.answers["models:/beer@champion"]  # the fake registry has a defect then: KeyError
    with pytest.raises((InferenceError, KeyError)):
        world.roster.load("beer")
    assert (world.served(), world.roster.index()) == before
    assert world.catalog.ready
    assert len(world.catalog.slots) == 2


def test_only_configured_models_where_nothing_can_be_chosen() -> None:
    """With a local bundle another name cannot be loaded."""
    world = _World(NamedModels(iris="1"), "models:/iris@champion", dynamic=False)
    world.roster.reload()
    with pytest.raises(UnknownModelError, match="this server holds iris"):
        world.roster.load("beer")


@pytest.mark.parametrize("verb", ["unload", "rollback"])
def test_a_name_that_is_not_served_is_told(verb: str) -> None:
    """Verbs on a name that is not there say what is."""
    with pytest.raises(UnknownModelError, match="this server holds iris, wine"):
        getattr(_two().roster, verb)("beer")


def test_a_rollback_is_of_the_model_it_names() -> None:
    """Without a name the default model goes back, with one that model, and no other."""
    world = _two()
    world.repository.answers.update(
        {"models:/iris@champion": ("iris", "2"), "models:/wine@champion": ("wine", "5")}
    )
    world.roster.reload()
    world.roster.rollback("wine")
    assert world.served() == [("iris", "2"), ("wine", "4")]
    world.roster.rollback()
    assert world.served() == [("iris", "1"), ("wine", "4")]


def test_nothing_changes_after_the_close() -> None:
    """While the server shuts down neither configured models nor new ones are loaded."""
    world = _two()
    world.repository.answers["models:/beer@champion"] = ("beer", "2")
    world.roster.close()
    for change in (
        world.roster.reload,
        lambda: world.roster.load("beer"),
        lambda: world.roster.unload("wine"),
        world.roster.rollback,
    ):
        with pytest.raises(NotReadyError, match="shutting down"):
            change()
    assert world.served() == [("iris", "1"), ("wine", "4")]
    assert len(world.catalog.slots) == 2
