"""The configuration of training: defaults, then `coalmine.toml`, then the command line.

Every wrong key is reported at once, by its full name and its line. The sections themselves, each key with its
explanation, are in `sections`.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from training.configuration import lines as config_lines
from training.configuration.problems import sentence, without_echoes
from training.configuration.sections import Config
from training.errors import ConfigError

__all__ = ["DEFAULT_CONFIG_FILE", "config_schema", "load_config"]

#: Read from the working directory when it exists and no other file is named.
DEFAULT_CONFIG_FILE: Final = "coalmine.toml"


def load_config(path: Path | None, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Config:
    """Read `path`, or `coalmine.toml` when it is None and that exists, and put `overrides` on top.

    `overrides` has the shape of the file; a value of None says nothing. Raises `ConfigError`.
    """
    text = ""
    if path is None and Path(DEFAULT_CONFIG_FILE).is_file():
        path = Path(DEFAULT_CONFIG_FILE)
    values: dict[str, Any] = {}
    if path is not None:
        text = _text(path)
        values = _parsed(path, text)
    for section, entries in (overrides or {}).items():
        _lay_over(values, section, entries)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        source = "the command line" if path is None else str(path)
        found = [dict(problem) for problem in error.errors()]
        raise ConfigError(_sentences(found, source, text, overrides or {}), source=source) from None


def config_schema() -> str:
    """Return the JSON schema of `coalmine.toml`, for editors and for people."""
    return json.dumps(Config.model_json_schema(by_alias=True), indent=2)


def _sentences(
    problems: Iterable[Mapping[str, Any]], source: str, text: str, overrides: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Return one sentence a problem: those without a line first, then line by line."""
    lines = config_lines.find_lines(text)
    told: dict[str, int] = {}
    # A value of one of several types gives a problem for each of them, with one sentence.
    for problem in without_echoes(list(problems)):
        place = problem["loc"]
        line = None if _is_overridden(place, overrides) else config_lines.line_of(place, lines)
        told.setdefault(sentence(problem), line or 0)
    ordered = sorted(told.items(), key=lambda item: item[1])
    return [f"{source}:{line}: {said}" if line else said for said, line in ordered]


def _is_overridden(place: config_lines.Path, overrides: Mapping[str, Mapping[str, Any]]) -> bool:
    value: Any = overrides
    for part in place:
        if not isinstance(value, Mapping):
            return True
        value = value.get(str(part))
        if value is None:
            return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        problem = "the file does not exist; name an existing one with --config, or leave the flag out"
    except (OSError, UnicodeDecodeError) as error:
        problem = f"the file cannot be read: {error}; save it as text in UTF-8"
    raise ConfigError([problem], source=str(path))


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        reason, line = str(error), re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
    place = ""
    if line is not None:
        place, reason = f"{path}:{line[1]}: ", f"{reason[: line.start()]}, column {line[2]}"
    raise ConfigError([f"{place}the file is not TOML: {reason}"], source=str(path))


def _lay_over(values: dict[str, Any], section: str, entries: Mapping[str, Any]) -> None:
    """Put `entries` over one section; mappings inside are merged, anything else is replaced."""
    base = values.setdefault(section, {})
    if not isinstance(base, dict):
        return  # the validation says what is wrong with it
    for key, value in entries.items():
        if isinstance(value, Mapping) and isinstance(base.get(key, {}), dict):
            base[key] = {**base.get(key, {}), **value}
        elif value is not None:
            base[key] = value
