"""What supervisor and workers tell each other."""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from inference.settings import Settings
from inference.workers.messages import (
    Load,
    Pending,
    Plan,
    SlotState,
    plan_from_json,
    settings_from_json,
    settings_to_json,
)

LOAD = Load("iris", "7", "d" * 64, "/cache/bundles/d", 3, cached=True)


def test_settings_arrive_as_they_were_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths, lists and secrets survive, and the environment of the worker has no say."""
    settings = Settings(
        model_uri="models:/iris/1",
        model_uris=("models:/a/1", "models:/b@champion"),
        model_cache_dir=Path("/cache"),
        mlflow_tracking_username="user",
        mlflow_tracking_password=SecretStr("a\"b'ü"),
        server_workers=2,
    )
    sent = json.dumps(settings_to_json(settings))
    monkeypatch.setenv("GRPC_PORT", "not a number")
    monkeypatch.setenv("MODEL_URI", "models:/other/1")
    assert settings_from_json(json.loads(sent)) == settings


def test_a_plan_arrives_as_it_was_sent() -> None:
    """With slots that serve, are out of service, or wait."""
    plan = Plan(
        (SlotState("a", LOAD, None), SlotState("b", None, LOAD, unloaded=True), SlotState("c")),
        Pending("a", LOAD),
        "serving",
    )
    assert plan_from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_slot_changes_in_its_place() -> None:
    """The first slot stays the first, since it answers requests that name no model; a new one comes last."""
    plan = Plan((SlotState("a"), SlotState("b")), Pending("a", LOAD))
    changed = plan.with_slot(SlotState("a", LOAD)).with_slot(SlotState("c", LOAD))
    assert [slot.key for slot in changed.slots] == ["a", "b", "c"]
    assert changed.slot("a").current == LOAD
    assert changed.pending is None
