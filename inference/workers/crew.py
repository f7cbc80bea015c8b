"""The workers that hear of every change, and the plan that says what all of them have to be."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from inference.workers.channel import Channel, Reply, WorkerError, WorkerLostError
from inference.workers.messages import Plan

__all__ = ["Asked", "Crew", "Member"]


class Member(Protocol):
    """A worker as far as changes go."""

    number: int

    def send(self, method: str, **fields: object) -> "Future[Reply] | None":
        """Ask without waiting; None when there is nobody any more."""

    def replace(self, reason: str) -> None:
        """Let another worker, which begins with the plan, take its place."""


Asked = list[tuple[Member, "Future[Reply]"]]


class Crew:
    """Keeps plan and members together: whoever joins has the plan, and whoever has joined hears what changes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plan = Plan()
        self._members: list[Member] = []

    @property
    def plan(self) -> Plan:
        """The state that every worker has to be in."""
        return self._plan

    def join(self, member: Member, plan: Plan) -> bool:
        """Tell `member`, which is in the state of `plan`, of every change; false when that is not the plan."""
        with self._lock:
            if plan is not self._plan:
                return False
            self._members.append(member)
            return True

    def leave(self, member: Member) -> None:
        """Tell `member` of no change any more."""
        with self._lock:
            if member in self._members:
                self._members.remove(member)

    def change(self, change: Callable[[Plan], Plan], method: str, **fields: object) -> Asked:
        """Replace the plan and ask every member to follow, in one step; returns whom to wait for."""
        with self._lock:
            self._plan = change(self._plan)
            return self._ask(method, fields)

    def ask(self, method: str, **fields: object) -> Asked:
        """Ask every member; returns whom to wait for."""
        with self._lock:
            return self._ask(method, fields)

    @staticmethod
    def wait(asked: Asked, timeout_seconds: float) -> tuple[list[str], bool]:
        """Wait for all who were asked, and end those that do not answer.

        Returns what went wrong, and whether that was the loss of workers alone.
        """
        deadline = time.monotonic() + timeout_seconds
        problems: list[str] = []
        lost = 0
        for member, future in asked:
            try:
                Channel.wait(future, deadline - time.monotonic())
            except WorkerError as error:
                problems.append(f"worker {member.number}: {error}")
                if isinstance(error, WorkerLostError):
                    lost += 1
                    member.replace(str(error))
        return problems, lost == len(problems)

    def _ask(self, method: str, fields: dict[str, object]) -> Asked:
        asked = [(member, member.send(method, **fields)) for member in self._members]
        return [(member, future) for member, future in asked if future is not None]
