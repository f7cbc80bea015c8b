"""The result, as a table for people or as JSON for programs."""

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Final

from inference.conform.point import Outcome, Verdict

__all__ = ["as_json", "line_of", "summary_of"]

_SIGNS: Final = {Outcome.PASS: "pass", Outcome.FAIL: "FAIL", Outcome.SKIPPED: "skip"}
#: Room for the longest id of a point.
_ID_WIDTH: Final = 30
_WIDTH: Final = 116


def line_of(verdict: Verdict) -> str:
    """Return the line of a point; one that failed has below it what was sent, expected and found."""
    point, observation = verdict.point, verdict.observation
    optional = "" if point.required else " (optional)"
    lines = [f"{_SIGNS[verdict.outcome]}  {point.id:<{_ID_WIDTH}}  {point.sentence}{optional}"]
    if verdict.outcome is Outcome.SKIPPED:
        lines += _below("because", observation.found)
    if verdict.outcome is Outcome.FAIL:
        lines += _below("sent", observation.sent)
        lines += _below("expected", observation.expected)
        lines += _below("found", observation.found)
    return "\n".join(lines)


def _below(word: str, text: str) -> list[str]:
    indent = " " * 6
    return textwrap.wrap(
        f"{word:<8}  {text}", _WIDTH, initial_indent=indent, subsequent_indent=f"{indent}{'':<8}  "
    )


def summary_of(verdicts: Sequence[Verdict]) -> str:
    """Return one line that says how it ended."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    broken = sum(verdict.breaks for verdict in verdicts)
    told = f"{counts[Outcome.PASS]} passed, {counts[Outcome.FAIL]} failed, {counts[Outcome.SKIPPED]} skipped"
    points = "point" if broken == 1 else "points"
    end = f"does not conform: {broken} required {points} failed" if broken else "conforms"
    return f"{told}; the server {end}"


def as_json(verdicts: Sequence[Verdict], *, address: str, model: str, version: str) -> str:
    """Return everything as one JSON object."""
    points = [
        {
            "id": verdict.point.id,
            "sentence": verdict.point.sentence,
            "required": verdict.point.required,
            "outcome": verdict.outcome.value,
            "sent": verdict.observation.sent,
            "expected": verdict.observation.expected,
            "found": verdict.observation.found,
        }
        for verdict in verdicts
    ]
    content = {
        "address": address,
        "model": model,
        "version": version,
        "conforms": not any(verdict.breaks for verdict in verdicts),
        "points": points,
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
