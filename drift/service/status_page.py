"""The page at `/`: how the service does, and the last verdict, for people."""

from html import escape

from drift.alarm.permutation import ALARM_ALPHA, Alarm
from drift.evaluation import Evaluation
from drift.monitor import Health, State
from drift.statistics.column import ColumnDrift

__all__ = ["render_status_page"]

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="30">
<title>{title} - drift monitor</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .3rem .7rem; border-bottom: 1px solid #ddd; }}
td.number, th.number {{ text-align: right; font-variant-numeric: tabular-nums; }}
.bad {{ color: #a40000; font-weight: 600; }}
.good {{ color: #1a6b1a; }}
.note {{ color: #555; font-size: .9rem; }}
</style>
</head>
<body>
<h1>Drift monitor: {title}</h1>
<p>{state}</p>
{verdict}
<p><a href="report">Evidently report</a> · <a href="metrics">metrics</a> · <a href="healthz">health</a> ·
evaluate now: <code>curl -X POST …/refresh</code></p>
</body>
</html>
"""

_TABLE = """<h2>Verdict of {evaluated_at}</h2>
<p>{rows} current rows against {reference_rows} reference rows.</p>
<p>Alarm: {alarm}</p>
<table>
<thead><tr><th>Column</th><th>Evidently's method</th><th class="number">statistic</th>
<th class="number">threshold</th><th class="number">severity</th><th>Evidently's verdict</th>
<th class="number">alarm p-value</th></tr></thead>
<tbody>
{body}
</tbody>
</table>
<p class="note">The alarm is calibrated for any number of rows: at most {alpha} % of windows without a change
raise it. Evidently's verdicts use fixed thresholds and are noisy below some 500 rows. A severity above 1
means drift whatever the method. Dataset by Evidently: {dataset} ({share:.0%} of features drifted).</p>
"""


def render_status_page(state: State, health: Health) -> str:
    """Return the page as HTML, with everything that it needs inside."""
    title = health.status.replace("_", " ")
    if state.verdict and state.verdict.alarm and state.verdict.alarm.any and health.status == "ok":
        title = "alarm"
    sentence = f"Status <b>{escape(health.status)}</b> since {escape(health.since)}."
    if health.reason:
        sentence += f' <span class="bad">{escape(health.reason)}</span>.'
    verdict = _render_verdict(state.verdict) if state.verdict else "<p>No verdict yet.</p>"
    return _PAGE.format(title=escape(title), state=sentence, verdict=verdict)


def _render_verdict(verdict: Evaluation) -> str:
    assert verdict.alarm is not None
    assert verdict.prediction is not None
    assert verdict.drift_share is not None
    p_values = {**verdict.alarm.feature_p_values, "prediction": verdict.alarm.p_values["prediction"]}
    columns = (*verdict.features, verdict.prediction)
    return _TABLE.format(
        evaluated_at=escape(verdict.evaluated_at),
        rows=verdict.rows,
        reference_rows=verdict.reference_rows,
        alarm=_render_alarm(verdict.alarm),
        body="\n".join(_render_column(column, p_values[column.name]) for column in columns),
        alpha=f"{ALARM_ALPHA * 100:g}",
        dataset="drifted" if verdict.dataset_drift else "ok",
        share=verdict.drift_share,
    )


def _render_alarm(alarm: Alarm) -> str:
    def part(scope: str, raised: bool) -> str:
        word = '<span class="bad">changed</span>' if raised else '<span class="good">no change found</span>'
        return f"{scope} {word} (p = {alarm.p_values[scope]:.3g})"

    return f"{part('features', alarm.features)}, {part('prediction', alarm.prediction)}."


def _render_column(column: ColumnDrift, p_value: float) -> str:
    verdict = '<td class="bad">drifted</td>' if column.drifted else "<td>ok</td>"
    if column.statistic is None:
        verdict = '<td class="bad">no data</td>'
    numbers = "".join(
        f'<td class="number">{"-" if number is None else f"{number:.3g}"}</td>'
        for number in (column.statistic, column.threshold, column.severity)
    )
    return (
        f"<tr><td>{escape(column.name)}</td><td>{escape(column.method)}</td>{numbers}{verdict}"
        f'<td class="number">{p_value:.3g}</td></tr>'
    )
