"""Run every point, in an order in which none spoils the next."""

from collections.abc import Iterator
from typing import Final

import grpc

from inference.conform import health, infer, model, reflection, refusals, repository, rest, server
from inference.conform.point import Observation, Outcome, Point, Verdict
from inference.conform.subject import Subject

__all__ = ["GRPC_POINTS", "examine"]

#: The repository comes last: its points take the model away and bring it back.
GRPC_POINTS: Final[tuple[Point, ...]] = (
    *server.POINTS,
    *model.POINTS,
    *infer.POINTS,
    *refusals.POINTS,
    *health.POINTS,
    *reflection.POINTS,
)
#: What a point stumbles over when an answer misses what every answer has, or has it in another form.
_UNREADABLE: Final = (grpc.RpcError, ValueError, LookupError, TypeError, AttributeError)


def examine(subject: Subject) -> Iterator[Verdict]:
    """Check each point and yield what came of it, as soon as it is known."""
    points = [*GRPC_POINTS, *(rest.POINTS if subject.http is not None else ()), *repository.POINTS]
    for point in points:
        yield Verdict(point, _check(point, subject))


def _check(point: Point, subject: Subject) -> Observation:
    try:
        return point.check(subject)
    except _UNREADABLE as error:  # a server that answers what no server should
        found = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Observation(Outcome.FAIL, point.id, "an answer that can be read", found)
