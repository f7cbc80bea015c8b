"""What is wrong with a key of the configuration, as a sentence: what was asked, what exists, what to do."""

import difflib
import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel

from training.configuration.sections import Config

__all__ = ["sentence", "without_echoes"]

#: What a key may be made of without quotes.
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")

#: A wrong value is shown so far.
_VALUE_LENGTH: Final = 80

#: What pydantic puts at the end of a place when a value may be of one of several types.
_BRANCHES: Final = {"str": "a text", "int": "a whole number"}


def without_echoes(problems: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return `problems` without "too few items" about a list whose items have problems of their own."""
    places = [tuple(problem["loc"]) for problem in problems]
    return [
        problem
        for problem, place in zip(problems, places, strict=True)
        if problem["type"] != "too_short"
        or not any(len(other) > len(place) and other[: len(place)] == place for other in places)
    ]


def sentence(problem: Mapping[str, Any]) -> str:
    """Return what one problem of pydantic says, with the key's full name and its explanation."""
    place, kind = tuple(problem["loc"]), problem["type"]
    if len(place) > 1 and place[-1] in _BRANCHES and isinstance(place[-2], int):
        place, kind = place[:-1], "branch"
    if kind == "extra_forbidden":
        return f"{_key(place)}: there is no such key; {_existing(place)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if kind == "branch":
        message = f"input should be {' or '.join(_BRANCHES.values())}"
    message = message[:1].lower() + message[1:]
    found = "" if kind == "missing" else f" (found {_shown(problem['input'])})"
    explained = _explanation(place)
    return f"{_key(place)}: {message}{found}" + (f". {explained}" if explained else "")


def _key(place: tuple[str | int, ...]) -> str:
    """Return `[section] key.inner[0].innermost`, parts quoted where TOML wants them quoted."""
    parts = list(place)
    section = f"[{parts.pop(0)}]"
    if parts and isinstance(parts[0], int):  # an entry of [[preprocessing]]
        section += f"[{parts.pop(0)}]"
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else f'"{part}"')
    return f"{section} {text}".strip()


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _VALUE_LENGTH else f"{text[: _VALUE_LENGTH - 1]}…"


def _keys(model: object) -> dict[str, str | None]:
    """Return key → explanation for a section, with the names that the file uses; none for other types."""
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return {}
    return {info.alias or name: info.description for name, info in model.model_fields.items()}


def _existing(place: tuple[str | int, ...]) -> str:
    holder, wrong = _type_at(place[:-1]), str(place[-1])
    keys = list(_keys(holder))
    near = difflib.get_close_matches(wrong, keys, n=1)
    if len(place) == 1:
        hint = f"did you mean [{near[0]}]? " if near else ""
        return f"{hint}sections are {', '.join(f'[{name}]' for name in keys)}"
    hint = f"did you mean {near[0]}? " if near else ""
    where = f"keys of [{place[0]}]" if len(place) == 2 else "keys there"
    return f"{hint}{where} are {', '.join(keys)}"


def _explanation(place: tuple[str | int, ...]) -> str | None:
    """Return the explanation of the last key of `place` that has one, the sections' own left out."""
    for length in range(len(place), 1, -1):
        explained = _keys(_type_at(place[: length - 1])).get(str(place[length - 1]))
        if explained:
            return explained
    return None


def _type_at(place: tuple[str | int, ...]) -> object:
    """Return the type that the configuration has at `place`, None when it has none."""
    current: object = Config
    for part in place:
        if isinstance(current, type) and issubclass(current, BaseModel):
            fields = {info.alias or name: info for name, info in current.model_fields.items()}
            current = _plain(fields[str(part)].annotation) if part in fields else None
        elif isinstance(part, int):
            current = _plain(get_args(current)[0]) if get_args(current) else None
        else:  # a mapping of names
            current = _plain(get_args(current)[1]) if len(get_args(current)) == 2 else None
    return current


def _plain(annotation: object) -> object:
    """Return `annotation` without what it is annotated with, and without None."""
    if get_origin(annotation) is Annotated:
        return _plain(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return _plain(kinds[0]) if len(kinds) == 1 else annotation
    return annotation
