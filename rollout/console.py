"""What people and programs see of a command: the only place of this package that writes to the terminal."""

import sys
from contextlib import AbstractContextManager
from typing import Any, Final

import orjson
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from rollout.events import Kind, LookData, RolloutEvent
from rollout.judge import CheckResult, Verdict

__all__ = ["JsonView", "PlainView", "RolloutView", "TerminalView", "choose_view", "fail", "write_json"]

_COLOURS: Final = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "yellow"}

#: What takes seconds after an event, said while it does.
_WAITING: Final = {
    Kind.STARTED: "the canary fetches and checks the model …",
    Kind.WEIGHT_SET: "waiting for calls …",
    Kind.STEP_PASSED: "the next step …",
    Kind.PROMOTING: "stable swaps, then the canary drains …",
    Kind.ABORTING: "the canary drains …",
}

#: Plain output says how a step stands at most so often; a log is not a screen.
_PLAIN_SECONDS: Final = 5.0


def fail(sentence: str) -> None:
    """Write why a command failed, to standard error."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {escape(sentence)}")


def write_json(content: dict[str, Any]) -> None:
    """Write one JSON object a line, for machines, to standard output."""
    # orjson writes null where json would write Infinity, which is no JSON
    sys.stdout.write(orjson.dumps(content, default=str).decode() + "\n")
    sys.stdout.flush()


class JsonView(AbstractContextManager["JsonView"]):
    """Every event as one JSON object a line."""

    def __exit__(self, *_: object) -> None:
        pass

    def notify(self, event: RolloutEvent) -> None:
        """Write the event."""
        write_json(event.as_dict())


class PlainView(AbstractContextManager["PlainView"]):
    """Milestones as lines of text; how a step stands every few seconds."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(soft_wrap=True, highlight=False)
        self._said_at = (0, -_PLAIN_SECONDS)

    def __exit__(self, *_: object) -> None:
        pass

    def notify(self, event: RolloutEvent) -> None:
        """Write the event, unless it is a look and the last one was shown just now."""
        look = event.look
        if look is None:
            self._console.print(milestone(event), soft_wrap=True)
            return
        step, seconds = self._said_at
        if look.step != step or look.seconds_in_step - seconds >= _PLAIN_SECONDS:
            self._said_at = (look.step, look.seconds_in_step)
            self._console.print(f"{'':>12}  {summary(look)}", soft_wrap=True)


class TerminalView(AbstractContextManager["TerminalView"]):
    """Milestones that scroll by, and below them the figures of the running step, redrawn at every look."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "TerminalView":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def notify(self, event: RolloutEvent) -> None:
        """Show the event."""
        if event.look is not None:
            self._live.update(_figures(event.look))
            return
        waiting = _WAITING.get(event.kind)
        self._live.update(Spinner("dots", text=waiting) if waiting else Text(""))
        self._live.console.print(milestone(event))


RolloutView = JsonView | PlainView | TerminalView


def choose_view(*, as_json: bool) -> RolloutView:
    """Return the view that fits: JSON when asked for, a live one on a terminal, else plain lines."""
    if as_json:
        return JsonView()
    console = Console(highlight=False)
    return TerminalView(console) if console.is_terminal else PlainView()


def milestone(event: RolloutEvent) -> str:
    """Return one line of markup for an event."""
    colour = {
        Kind.STEP_PASSED: "green",
        Kind.PROMOTING: "bold green",
        Kind.ABORTING: "bold red",
        Kind.ENDED: "bold",
    }.get(event.kind, "cyan")
    return f"[{colour}]{event.kind.replace('_', ' '):>12}[/]  {escape(event.message)}"


def summary(look: LookData) -> str:
    """Return one line on how a step stands."""
    canary, stable = look.canary, look.stable
    return (
        f"{look.seconds_in_step:4.0f} s  weight {look.weight} %  canary {canary.requests} calls "
        f"({canary.errors} failed)  stable {stable.requests} ({stable.errors} failed)  "
        f"{look.judgement.verdict}: {escape(look.judgement.reason)}"
    )


def _figures(look: LookData) -> RenderableType:
    share = look.canary.requests / max(1, look.canary.requests + look.stable.requests)
    head = Text(
        f"step {look.step} of {look.steps} · weight {look.weight} % set, {share:.1%} observed · "
        f"{look.canary.requests} canary calls · {look.seconds_in_step:.0f} s",
        style="bold",
    )
    table = Table(box=None, pad_edge=False)
    for column in ("check", "verdict", "evidence", "because"):
        table.add_column(column, overflow="fold")
    for check in look.judgement.checks:
        table.add_row(check.name, _verdict(check), _evidence(check), escape(check.reason))
    return Group(head, table)


def _verdict(check: CheckResult) -> Text:
    return Text(str(check.verdict), style=_COLOURS[check.verdict])


def _evidence(check: CheckResult) -> str:
    return f"{check.evidence:.2g} of {check.limit:.0f}" if check.limit else ""
