"""Which prediction events count: those of a track, a model, a version."""

import enum
from dataclasses import dataclass

__all__ = ["EventFilter", "ServedModel", "SkipReason"]


@dataclass(frozen=True, slots=True, order=True)
class ServedModel:
    """A model that answered rows of the window: its name and version, empty where events do not tell."""

    name: str
    version: str


class SkipReason(enum.StrEnum):
    """Why a line was not counted; the values of the label `reason`."""

    NOT_JSON = "not_json"
    MALFORMED_EVENT = "malformed_event"
    WRONG_FEATURE_COUNT = "wrong_feature_count"
    DUPLICATE = "duplicate"
    SHADOW = "shadow"
    OTHER_TRACK = "other_track"
    OTHER_MODEL = "other_model"
    OTHER_VERSION = "other_version"
    OUTSIDE_WINDOW = "outside_window"


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What an event must say of itself; None takes all."""

    track: str | None = None
    model: str | None = None
    version: str | None = None

    def refusal(self, track: object, model: object, version: object, shadow: object) -> SkipReason | None:
        """Return why an event does not count, None when it does. Replays (`shadow`) are nobody's traffic."""
        if shadow is True:
            return SkipReason.SHADOW
        if self.model is not None and model != self.model:
            return SkipReason.OTHER_MODEL
        if self.version is not None and str(version) != self.version:
            return SkipReason.OTHER_VERSION
        if self.track is not None and track != self.track:
            return SkipReason.OTHER_TRACK
        return None
