"""Which model answers a request that names a model, a version, or neither."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.catalog import Catalog, Slot, slot_of
from inference.errors import NotReadyError, UnknownModelError
from tests.inference.small_models import generation_of


def _catalog(*served: tuple[str, str, str]) -> Catalog:
    """Slots with (name, version, alias), all of them serving."""
    catalog = Catalog(
        slot_of(f"models:/{name}@{alias}" if alias else f"models:/{name}/{version}")
        for name, version, alias in served
    )
    for slot, (name, version, _) in zip(catalog.slots, served, strict=True):
        catalog.switch(slot, generation_of(name, version))
    return catalog


def _versions(catalog: Catalog, *asked: tuple[str, str]) -> list[str]:
    return [catalog.find(*question).version for question in asked]


def test_names_and_versions_choose() -> None:
    """A name, a version of it, and the alias of a slot lead to the model; nothing leads to the first slot."""
    catalog = _catalog(("iris", "3", "champion"), ("wine", "1", ""))
    assert _versions(catalog, ("", ""), ("iris", ""), ("iris", "3"), ("iris", "champion")) == ["3"] * 4
    assert _versions(catalog, ("wine", ""), ("wine", "1")) == ["1", "1"]


def test_a_version_alone_is_one_of_the_default_model() -> None:
    """Without a name, versions and aliases of the first slot's model are meant, and no other model's."""
    catalog = _catalog(("iris", "3", "champion"), ("iris", "5", "challenger"), ("wine", "7", ""))
    assert _versions(catalog, ("", "5"), ("", "challenger"), ("", "champion")) == ["5", "5", "3"]
    with pytest.raises(UnknownModelError):
        catalog.find("", "7")


@given(st.permutations([("2", "challenger"), ("1", "champion"), ("3", "")]))
def test_of_several_versions_the_champion_is_the_default(order: list[tuple[str, str]]) -> None:
    """A name without a version means the champion, in whatever order the slots are configured."""
    catalog = _catalog(("other", "9", ""), *(("iris", *each) for each in order))
    assert catalog.find("iris").version == "1"
    assert catalog.find().name == "other"


def test_without_a_champion_the_first_version_is_the_default() -> None:
    """When no slot has the alias, the order of the configuration decides."""
    assert _catalog(("iris", "2", ""), ("iris", "1", "")).find("iris").version == "2"


def test_the_first_slot_answers_even_when_another_is_champion() -> None:
    """Requests that name nothing get the first slot; requests that name its model get the champion."""
    catalog = _catalog(("iris", "2", "challenger"), ("iris", "1", "champion"))
    assert _versions(catalog, ("", ""), ("iris", "")) == ["2", "1"]


def test_what_is_not_held_is_told_with_what_is() -> None:
    """An unknown name or version is answered with what there is, each once."""
    catalog = _catalog(("iris", "3", "champion"), ("wine", "1", ""))
    with pytest.raises(
        UnknownModelError, match=r"'beer' is not served here.*iris version 3, wine version 1$"
    ):
        catalog.find("beer")
    with pytest.raises(UnknownModelError, match=r"'iris' version '9'"):
        catalog.acquire("", "9")


def test_an_unloaded_model_is_gone_and_others_serve_on() -> None:
    """After an unload its name, versions and aliases are unknown, and the rest is ready."""
    catalog = _catalog(("iris", "3", "champion"), ("wine", "1", ""))
    iris, wine = catalog.slots
    assert catalog.unload(wine).name == "wine"
    for question in (("wine", ""), ("wine", "1")):
        with pytest.raises(UnknownModelError):
            catalog.find(*question)
    assert catalog.ready
    assert _versions(catalog, ("", "")) == ["3"]
    catalog.unload(iris)
    assert not catalog.ready
    with pytest.raises(NotReadyError):
        catalog.find()


def test_an_unloaded_default_leaves_the_others_reachable_by_name() -> None:
    """Without the default model, requests that name nothing are told what there is, and others are answered."""
    catalog = _catalog(("iris", "3", "champion"), ("wine", "1", ""))
    catalog.unload(catalog.slots[0])
    assert catalog.find("wine").version == "1"
    assert catalog.default is None
    assert catalog.ready
    with pytest.raises(UnknownModelError, match=r"for requests that name none .* holds wine version 1$"):
        catalog.find()


def test_readiness_needs_every_slot() -> None:
    """A catalog is ready when all of its slots serve, and an empty one never is."""
    catalog = Catalog([slot_of("models:/iris@champion"), slot_of("models:/wine/1")])
    assert not catalog.ready
    catalog.switch(catalog.slots[0], generation_of("iris", "1"))
    assert not catalog.ready
    assert catalog.find().version == "1"
    catalog.switch(catalog.slots[1], generation_of("wine", "1"))
    assert catalog.ready
    assert not Catalog().ready


def test_whoever_watches_hears_of_each_change_when_it_holds() -> None:
    """A switch and an unload are told once each, after what serves has changed."""
    catalog = _catalog(("iris", "3", "champion"))
    told: list[bool] = []
    catalog.watch(lambda: told.append(catalog.ready))
    catalog.unload(catalog.slots[0])
    catalog.switch(catalog.slots[0], generation_of("iris", "4"))
    assert told == [False, True]


def test_a_slot_that_was_removed_is_forgotten() -> None:
    """A slot that never came to serve keeps nobody from being ready, and leaves nothing behind."""
    catalog = _catalog(("iris", "3", "champion"))
    slot = slot_of("models:/wine@champion")
    catalog.add(slot)
    assert catalog.ready
    catalog.remove(slot)
    assert catalog.ready
    assert [kept.key for kept in catalog.slots] == ["models:/iris@champion"]


def test_only_a_bundle_that_can_serve_no_more_is_released() -> None:
    """The serving bundle and the previous one are kept in the cache; the one before those may go."""
    released: list[str] = []
    catalog = Catalog([Slot("s")])
    (slot,) = catalog.slots
    for version in ("1", "2", "3", "4"):
        catalog.switch(slot, generation_of("m", version, release=lambda v=version: released.append(v)))
    assert released == ["1", "2"]
    assert (slot.current.version, slot.previous.version) == ("4", "3")
    catalog.switch(slot, slot.previous)  # a rollback
    assert released == ["1", "2"]


def test_requests_under_switches_see_one_generation_and_are_counted() -> None:
    """However often a slot switches under load, every request gets a serving model and is given back."""
    catalog = _catalog(("m", "0", ""))
    (slot,) = catalog.slots
    first = slot.current
    stop = threading.Event()
    seen: list[str] = []

    def ask() -> None:
        while not stop.is_set():
            held = catalog.acquire("m")
            assert held.in_flight > 0
            seen.append(held.version)
            catalog.release(held)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    replaced = []
    for version in range(1, 30):
        replaced.append(catalog.switch(slot, generation_of("m", str(version))))
        assert catalog.drain(replaced[-1], 10)
    stop.set()
    for thread in threads:
        thread.join()
    assert replaced[0] is first
    assert all(each.in_flight == 0 for each in (*replaced, slot.current))
    assert seen
