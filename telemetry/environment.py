"""Settings from the environment: every error listed at once, in the words of the variable."""

import os
import re
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

__all__ = ["SettingsError", "load_settings"]

S = TypeVar("S", bound=BaseModel)


class SettingsError(Exception):
    """The environment does not make valid settings.

    `problems` has one sentence a variable: its name, what was found, what is wanted.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        count = f"{len(problems)} setting{'s are' if len(problems) > 1 else ' is'} wrong"
        super().__init__("\n".join([f"{count}:", *(f"  {problem}" for problem in problems)]))


def load_settings(settings: type[S]) -> S:
    """Read `settings` from the environment. Raises `SettingsError` with every problem, not only the first.

    A `BaseSettings` reads it in its own way. Any other model gets the variables that are not empty, and has them by
    the names of its fields in capitals or not, as there.
    """
    try:
        # Not asked by its type, for which pydantic-settings would have to be imported.
        if hasattr(settings, "settings_customise_sources"):
            return settings()
        found = {name.lower(): value for name, value in os.environ.items() if value}
        return settings.model_validate_strings(
            {name: found[name] for name in settings.model_fields if name in found}
        )
    except ValidationError as error:
        raise SettingsError([_sentence(settings, dict(problem)) for problem in error.errors()]) from None


#: What stands before the host of an address.
_PASSWORD: Final = re.compile(r"(?<=://)\S*@")


def _sentence(settings: type[BaseModel], problem: dict[str, object]) -> str:
    location = problem["loc"]
    assert isinstance(location, tuple)
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not location:
        return message
    field = str(location[0])
    name = field.upper()
    sentence = f"{name}: {message}"
    info = settings.model_fields.get(field.lower())
    if problem["type"] != "missing" and not _is_secret(field, info):
        sentence += f" (found {_PASSWORD.sub('', repr(problem['input']))})"
    return f"{sentence}. {info.description}" if info and info.description else sentence


def _is_secret(field: str, info: FieldInfo | None) -> bool:
    named = any(word in field.lower() for word in ("token", "password", "secret", "key"))
    return named or (info is not None and "Secret" in str(info.annotation))
