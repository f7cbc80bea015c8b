"""Model URIs: the ways of MLflow to name a model version."""

import enum
import re
from dataclasses import dataclass
from typing import Final

from inference.errors import ModelNotFoundError

__all__ = ["ModelUri", "UriKind", "parse_model_uri"]

_STAGES: Final = {stage.lower(): stage for stage in ("None", "Staging", "Production", "Archived")}
_FORMS: Final = (
    "accepted are models:/name/7, models:/name@alias, models:/name/latest, "
    "models:/name/Production (or another stage) and runs:/run-id/path"
)


class UriKind(enum.Enum):
    """What the last part of a model URI selects by."""

    VERSION = "version"
    ALIAS = "alias"
    STAGE = "stage"
    LATEST = "latest"
    RUN = "run"


@dataclass(frozen=True, slots=True)
class ModelUri:
    """A model URI in its parts.

    `name` is the registered model and `selector` the version number, alias or stage; for a run, the run id
    and the path of the model in it. `str()` gives the one spelling that all spellings of it share.
    """

    kind: UriKind
    name: str
    selector: str = ""

    def __str__(self) -> str:
        if self.kind is UriKind.RUN:
            return f"runs:/{self.name}/{self.selector}"
        separator = "@" if self.kind is UriKind.ALIAS else "/"
        return f"models:/{self.name}{separator}{self.selector}"


def parse_model_uri(text: str) -> ModelUri:
    """Parse a model URI as MLflow does; raises `ModelNotFoundError` listing the accepted forms."""
    uri = _parse_models(text) if text.startswith("models:/") else _parse_runs(text)
    if uri is None:
        raise ModelNotFoundError(
            text, "it is not a model URI", existing=_FORMS, remedy="set MODEL_URI to one of these forms"
        )
    return uri


def _parse_models(text: str) -> ModelUri | None:
    name, slash, selector = text.removeprefix("models:/").partition("/")
    if not slash:
        name, _, alias = name.rpartition("@")
        return ModelUri(UriKind.ALIAS, name, alias) if name.strip() and alias.strip() else None
    if not name.strip():
        return None
    if re.fullmatch(r"[0-9]+", selector):
        return ModelUri(UriKind.VERSION, name, str(int(selector)))
    if selector.lower() == "latest":
        return ModelUri(UriKind.LATEST, name, "latest")
    stage = _STAGES.get(selector.lower())
    return ModelUri(UriKind.STAGE, name, stage) if stage else None


def _parse_runs(text: str) -> ModelUri | None:
    match = re.fullmatch(r"runs:/([A-Za-z0-9_-]+)/([^/].*)", text)
    if match is None or ".." in match[2].split("/"):
        return None
    return ModelUri(UriKind.RUN, match[1], match[2].rstrip("/"))
