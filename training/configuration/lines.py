"""Where the keys of a TOML file stand: tomllib reads values and keeps no lines."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Final

__all__ = ["Path", "find_lines", "line_of"]

#: Tables and keys by name, entries of an array of tables by their place from 0.
Path = tuple[str | int, ...]

_KEY: Final = r"""(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)"""
_DOTTED: Final = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_STATEMENT: Final = re.compile(
    rf"[ \t]*(?:(?P<open>\[\[?)[ \t]*(?P<table>{_DOTTED})[ \t]*\]\]?|(?P<key>{_DOTTED})[ \t]*=)"
)
#: What a value is made of; brackets count its depth, a line break at depth 0 ends it.
_PIECE: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[\[{\]}\n]|[^"\'#\[{\]}\n]+',
    re.DOTALL,
)
_DEPTH: Final = {"[": 1, "{": 1, "]": -1, "}": -1}


def find_lines(text: str) -> dict[Path, int]:
    """Return the line, from 1, of each table and key of `text`, which is valid TOML.

    What stands inside an inline table or an array is not listed: `line_of` gives the line of its key.
    """
    lines: dict[Path, int] = {}
    entries: dict[Path, int] = {}
    table: Path = ()
    for line, opening, key in _statements(text):
        if opening == "[[":
            name = _resolved(_parts(key), entries, within=True)
            entries[name] = entries.get(name, -1) + 1
            table = (*name, entries[name])
            lines.setdefault(table, line)
        elif opening:
            table = _resolved(_parts(key), entries)
            lines.setdefault(table, line)
        else:
            lines.setdefault((*table, *_parts(key)), line)
    return lines


def line_of(path: Path, lines: Mapping[Path, int]) -> int | None:
    """Return the line of `path`, or of what holds it; None when the file does not name it."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    under = [line for found, line in lines.items() if found[: len(path)] == path]
    return min(under, default=None)


def _statements(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, opening bracket and name of each table header and each key."""
    place = 0
    while place < len(text):
        found = _STATEMENT.match(text, place)
        if found is None:  # an empty line, or a comment
            place = text.find("\n", place) + 1 or len(text)
            continue
        line = text.count("\n", 0, place) + 1
        yield line, found["open"] or "", found["table"] or found["key"]
        place = _end_of_value(text, found.end())


def _end_of_value(text: str, place: int) -> int:
    depth = 0
    for piece in _PIECE.finditer(text, place):
        depth += _DEPTH.get(piece[0], 0)
        if piece[0] == "\n" and depth <= 0:
            return piece.end()
    return len(text)


def _parts(key: str) -> tuple[str, ...]:
    """Return the parts of a dotted key, quotes and escapes undone by tomllib itself."""
    parts, value = [], tomllib.loads(f"{key} = 0")
    while isinstance(value, dict):
        ((part, value),) = value.items()
        parts.append(part)
    return tuple(parts)


def _resolved(parts: tuple[str, ...], entries: Mapping[Path, int], *, within: bool = False) -> Path:
    """Return `parts` with the place of the latest entry after each name of an array of tables."""
    path: Path = ()
    for index, part in enumerate(parts):
        path = (*path, part)
        if path in entries and not (within and index == len(parts) - 1):
            path = (*path, entries[path])
    return path
