"""What the demo leaves: a table for the terminal and a self-contained HTML page with the timeline."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
from rich.table import Table

from rollout.demo.evidence import DriftRecord, Interval, RolloutRecord, Traffic, read_traffic, total
from rollout.demo.story import StoryResult
from rollout.errors import ExitCode

__all__ = ["Row", "draw_table", "summarise", "unexpected", "write_report"]

_COLOURS: Final = ("#4c78a8", "#f58518", "#e45756", "#72b7b2")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what happened, the calls in that time, and what came out."""

    what: str
    sent: int
    failed: int
    split: str
    verdict: str
    why: str


def summarise(result: StoryResult) -> list[Row]:
    """Return one row for each part of the story, and one for all of it."""
    intervals = read_traffic(result.traffic_logs)
    rows = [_rollout_row(record, intervals) for record in result.rollouts]
    rows += [_drift_row(record, intervals) for record in result.drift]
    everything = total(intervals)
    rows.append(Row("all traffic", everything.sent, everything.failed, "", "", _versions(everything)))
    return rows


def unexpected(result: StoryResult) -> list[str]:
    """Compare what happened with what the story expects; return what differs."""
    good, bad = (record.outcome.exit_code if record.outcome else None for record in result.rollouts)
    how_good, how_bad = ("no verdict" if code is None else code.name.lower() for code in (good, bad))
    normal, shifted = (record.verdict for record in result.drift)
    failed = total(read_traffic(result.traffic_logs)).failed
    checks = {
        f"the good challenger ended as {how_good}, not promoted": good is not ExitCode.PROMOTED,
        f"the bad challenger ended as {how_bad}, not aborted": bad is not ExitCode.ABORTED,
        f"the drift monitor said {normal} on normal traffic, not quiet": normal != "quiet",
        f"the drift monitor said {shifted} on shifted traffic, not alarm": shifted != "alarm",
        f"{failed} calls failed": failed > 0,
    }
    return [sentence for sentence, wrong in checks.items() if wrong]


def draw_table(rows: list[Row], seconds: float) -> Table:
    """Return the rows as a table for the terminal."""
    table = Table(title=f"what happened, in {seconds:.0f} s", title_justify="left", show_lines=True)
    for column in ("part", "calls sent", "failed", "canary share, step by step", "verdict", "because"):
        table.add_column(
            column, overflow="fold", justify="right" if column in ("calls sent", "failed") else "left"
        )
    for row in rows:
        table.add_row(row.what, str(row.sent), str(row.failed), row.split, row.verdict, row.why)
    return table


def write_report(path: Path, result: StoryResult, rows: list[Row]) -> None:
    """Write the page: one file, no network needed to read it. Raises `OSError`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("report.html.j2").render(
        rows=rows,
        phases=[(at - result.began, what) for at, what in result.phases],
        rollouts=[_rollout_details(record, result.began) for record in result.rollouts],
        drift=result.drift,
        timeline=_timeline(result),
        seconds=result.ended - result.began,
    )
    path.write_text(page, encoding="utf-8")


def _rollout_row(record: RolloutRecord, intervals: list[Interval]) -> Row:
    assert record.outcome is not None
    traffic = total(intervals, *record.span())
    split = "; ".join(f"{step.weight} % set, {step.share:.1%} seen" for step in record.steps())
    verdict = str(record.outcome.state.phase)
    return Row(record.title, traffic.sent, traffic.failed, split, verdict, record.outcome.reason)


def _drift_row(record: DriftRecord, intervals: list[Interval]) -> Row:
    traffic = total(intervals, record.began, record.ended)
    what = f"drift monitor, {record.traffic} traffic"
    return Row(what, traffic.sent, traffic.failed, "", record.verdict, record.reason)


def _versions(traffic: Traffic) -> str:
    return ", ".join(f"version {version}: {calls}" for version, calls in sorted(traffic.versions.items()))


def _rollout_details(record: RolloutRecord, began: float) -> dict[str, Any]:
    looks = [event.look for _, event in record.events if event.look]
    return {
        "title": record.title,
        "outcome": record.outcome,
        "milestones": [(at - began, event.kind, event.message) for at, event in record.milestones()],
        "checks": looks[-1].judgement.checks if looks else (),
    }


def _timeline(result: StoryResult) -> str:
    """Draw calls by version, the canary's share and the slowest calls over time, as SVG text."""
    import matplotlib as mpl  # noqa: PLC0415  # takes a second; only the report needs it

    mpl.use("svg")
    from matplotlib import pyplot  # noqa: PLC0415

    intervals = read_traffic(result.traffic_logs)
    seconds = [interval.at - result.began for interval in intervals]
    with mpl.rc_context(
        {"svg.fonttype": "none", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    ):
        figure, (calls, share, slow) = pyplot.subplots(
            3, 1, figsize=(11, 7), sharex=True, layout="constrained"
        )
        _draw_calls(calls, seconds, intervals)
        _draw_share(share, intervals, result)
        slow.plot(
            seconds, [interval.p99_ms for interval in intervals], color="#555", linewidth=1, label="p99"
        )
        slow.plot(
            seconds, [interval.p50_ms for interval in intervals], color=_COLOURS[0], linewidth=1, label="p50"
        )
        slow.set(ylabel="client ms", xlabel="seconds since the start", yscale="log")
        slow.legend(loc="upper left", frameon=False, ncols=2)
        text = io.StringIO()
        figure.savefig(text, format="svg")
        pyplot.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def _draw_calls(axes: Any, seconds: list[float], intervals: list[Interval]) -> None:  # noqa: ANN401
    versions = sorted({version for interval in intervals for version in interval.versions})
    series = [[interval.versions.get(version, 0) for interval in intervals] for version in versions]
    axes.stackplot(seconds, series, labels=[f"version {v}" for v in versions], colors=_COLOURS, step="post")
    failed = [sum(interval.failures.values()) for interval in intervals]
    axes.plot(seconds, failed, color="black", linewidth=1, label=f"failed ({sum(failed)})")
    axes.set(ylabel="calls each 0.25 s")
    axes.legend(loc="upper left", frameon=False, ncols=5)


def _draw_share(axes: Any, intervals: list[Interval], result: StoryResult) -> None:  # noqa: ANN401
    for record, colour in zip(result.rollouts, _COLOURS[1:], strict=False):
        assert record.outcome is not None
        version = record.outcome.state.version
        began, ended = record.span()
        inside = [interval for interval in intervals if began <= interval.at <= ended]
        seen = [
            100 * interval.versions.get(version, 0) / max(1, sum(interval.versions.values()))
            for interval in inside
        ]
        times = [interval.at - result.began for interval in inside]
        axes.plot(times, seen, color=colour, linewidth=0.8, label=f"version {version} seen")
        weights = [(at - result.began, event.data["weight"]) for at, event in record.milestones()]
        axes.step(
            *zip(*weights, strict=True),
            where="post",
            color=colour,
            linestyle="--",
            linewidth=1.2,
            label="set",
        )
    for at, what in result.phases:
        if what.startswith("drift monitor on"):
            axes.axvline(at - result.began, color="#999", linewidth=0.8)
            axes.annotate(what.rsplit(": ", 1)[-1], (at - result.began, 90), fontsize=8, ha="right")
    axes.set(ylabel="canary %", ylim=(0, 105))
    axes.legend(loc="upper left", frameon=False, ncols=4)
