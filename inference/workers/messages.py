"""What supervisor and workers tell each other, as JSON."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import SecretStr, TypeAdapter

from inference.artifacts import FetchedModel
from inference.settings import Settings

__all__ = [
    "Load",
    "Mode",
    "Pending",
    "Plan",
    "SlotState",
    "load_of",
    "plan_from_json",
    "settings_from_json",
    "settings_to_json",
]

#: What gRPC health says of our services; after `draining` nothing else comes.
Mode = Literal["not_serving", "serving", "draining"]


@dataclass(frozen=True, slots=True)
class Load:
    """A model to load: where its verified bundle lies, and the number of its generation."""

    name: str
    version: str
    digest: str
    bundle_dir: str
    number: int
    #: Whether the bundle lies in the cache, so that it must be marked as in use.
    cached: bool


@dataclass(frozen=True, slots=True)
class SlotState:
    """What a slot serves, and what it would serve after a rollback."""

    key: str
    current: Load | None = None
    previous: Load | None = None
    unloaded: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """What all workers prepare, and have not committed yet."""

    slot: str
    load: Load


@dataclass(frozen=True, slots=True)
class Plan:
    """The state that every worker has to be in; replaced as a whole at each change."""

    slots: tuple[SlotState, ...] = ()
    pending: Pending | None = None
    mode: Mode = "not_serving"

    def slot(self, key: str) -> SlotState:
        """Return the state of a slot; that of a new one when it has none yet."""
        return next((slot for slot in self.slots if slot.key == key), SlotState(key))

    def with_slot(self, state: SlotState) -> "Plan":
        """Return the plan in which a slot is in `state`, and nothing is prepared."""
        others = {slot.key: slot for slot in self.slots}
        return replace(self, slots=tuple({**others, state.key: state}.values()), pending=None)

    def to_json(self) -> dict[str, Any]:
        """Return what JSON can say."""
        return asdict(self)


def load_of(fetched: FetchedModel, number: int) -> Load:
    """Say how a worker loads what was fetched.

    A link in the way is followed now: when it leads elsewhere later, a worker that is replaced still finds the
    bundle that the others serve.
    """
    bundle = fetched.bundle
    return Load(
        fetched.name,
        fetched.version,
        bundle.digest,
        str(bundle.path.resolve()),
        number,
        fetched.hold is not None,
    )


def plan_from_json(content: dict[str, Any]) -> Plan:
    """Read what `Plan.to_json` wrote. Raises `ValidationError`."""
    return TypeAdapter(Plan).validate_json(json.dumps(content))


def settings_to_json(settings: Settings) -> dict[str, Any]:
    """Return every setting as JSON can say it, secrets in clear: for the channel of a worker only."""
    return {name: _plain(value) for name, value in settings.model_dump().items()}


def settings_from_json(content: dict[str, Any]) -> Settings:
    """Read what `settings_to_json` wrote; the environment is not asked, since every field is given."""
    return Settings(**{name: _typed(name, value) for name, value in content.items()})


def _typed(name: str, value: object) -> Any:  # noqa: ANN401  # any setting
    adapter: TypeAdapter[Any] = TypeAdapter(Settings.model_fields[name].annotation or object)
    return adapter.validate_json(json.dumps(value))


def _plain(value: object) -> object:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value
