"""The service as users run it: a real process, real Evidently, a log file that grows."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

ROOT = Path(__file__).parents[2]
IrisEvents = Callable[..., list[bytes]]

#: The names of the specification, section 5.
METRICS = {
    "evidently_data_drift_status",
    "evidently_data_drift_share",
    "evidently_prediction_drift_status",
    "evidently_prediction_drift_score",
    "evidently_prediction_psi_score",
    "evidently_feature_drift_status",
    "evidently_feature_drift_score",
    "drift_monitor_current_row_count",
    "drift_monitor_reference_row_count",
    "drift_monitor_last_run_timestamp",
    "drift_monitor_feature_info",
    "drift_monitor_feature_severity",
    "drift_monitor_runs_total",
    "drift_monitor_skipped_lines_total",
    "drift_monitor_alarm",
    "drift_monitor_alarm_p_value",
    "drift_monitor_cross_check_difference",
}


def start(output: Path, **variables: object) -> subprocess.Popen[bytes]:
    """Start `python -m drift`, its output in a file; port 0 unless given."""
    own = {"PATH": os.environ["PATH"], "HOST": "127.0.0.1", "PORT": "0"}
    environment = own | {name: str(value) for name, value in variables.items()}
    with output.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "drift"],
            cwd=ROOT,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )


def lines(output: Path) -> list[dict[str, Any]]:
    """Return the complete log lines so far; every one must be a JSON object."""
    return [json.loads(line) for line in output.read_text().splitlines(keepends=True) if line.endswith("\n")]


@dataclass(frozen=True)
class Service:
    """A running drift monitor."""

    process: subprocess.Popen[bytes]
    output: Path
    client: httpx.Client


@contextmanager
def serving(output: Path, **variables: object) -> Iterator[Service]:
    """Start the service, wait for its port, and end it whatever happens."""
    process = start(output, **variables)
    try:
        deadline = time.monotonic() + 60
        while not (found := [line for line in lines(output) if line["message"] == "listening"]):
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.02)
        with httpx.Client(base_url=f"http://127.0.0.1:{found[0]['http_port']}", timeout=60) as client:
            yield Service(process, output, client)
    finally:
        process.kill()
        process.wait()


def append(path: Path, events: list[bytes]) -> None:
    with path.open("ab") as file:
        file.write(b"".join(events))


@pytest.mark.slow
def test_from_a_missing_log_to_an_alarm(tmp_path: Path, reference_csv: Path, iris_events: IrisEvents) -> None:
    """Fail while there is no log, wait for data, stay quiet, alarm on shifted events, end with 0."""
    log = tmp_path / "stable-0.log"
    variables = {"REFERENCE_DATASET_URI": reference_csv, "CURRENT_DATASET_URI": log.as_uri()}
    with serving(tmp_path / "output", **variables) as service:
        check_failing(service.client)
        log.touch()
        check_waiting(service.client)
        append(log, [*iris_events(100, seed=1), b"not JSON\n"])
        check_quiet(service.client)
        append(log, iris_events(100, seed=2, shift=1.0))
        assert service.client.post("/refresh").json()["alarm"]["any"] is False, "one window is one finding"
        append(log, iris_events(300, seed=3, shift=1.0))
        check_alarm(service.client)
        refused = tmp_path / "refused"
        assert start(refused, **variables, PORT=service.client.base_url.port).wait(60) == 2
        assert "in use by another process" in lines(refused)[-1]["message"]
        service.process.terminate()
        assert service.process.wait(10) == 0
    messages = [line["message"] for line in lines(service.output)]
    assert {
        "Not enough current data to evaluate drift",
        "Skipping non-JSON log line",
        "drift evaluation failed",
        "drift alarm",
    } <= set(messages)
    assert messages[-1] == "stopped"


def check_failing(client: httpx.Client) -> None:
    """Health and metrics answer whatever the first evaluation does; then the missing log is a failure."""
    assert client.get("/healthz").json()["status"] in ("waiting_for_data", "failing")
    assert client.get("/metrics").status_code == 200
    refresh = client.post("/refresh")
    assert (refresh.status_code, refresh.json()["outcome"]) == (503, "error")
    health = client.get("/healthz")
    assert (health.status_code, health.json()["status"]) == (503, "failing")
    assert "stable-0.log cannot be read: no such file" in health.json()["reason"]
    assert "stable-0.log" in client.get("/").text
    report = client.get("/report")
    assert report.status_code == 404
    assert "There is no report yet" in report.json()["error"]


def check_waiting(client: httpx.Client) -> None:
    """An empty log is no failure: there is no verdict yet."""
    result = client.post("/refresh").json()
    assert (result["outcome"], result["rows"], result["reference_rows"]) == ("insufficient_data", 0, 150)
    assert result["alarm"] is None
    health = client.get("/healthz")
    assert (health.status_code, health.json()["status"]) == (200, "waiting_for_data")
    assert "feature_3" not in client.get("/").text


def check_quiet(client: httpx.Client) -> None:
    """Traffic like the reference: a verdict without an alarm."""
    result = client.post("/refresh").json()
    assert (result["outcome"], result["rows"]) == ("ok", 100)
    assert result["alarm"]["any"] is False
    assert set(result["alarm"]["scopes"]) == {"features", "prediction", "joint"}
    assert [feature["name"] for feature in result["features"]] == [f"feature_{n}" for n in range(4)]
    assert result["features"] == client.get("/api/history").json()["runs"][0]["features"]
    assert client.get("/healthz").json()["status"] == "ok"


def check_alarm(client: httpx.Client) -> None:
    """Most of the window is new and shifted: alarm in the result, the metrics and the page."""
    with ThreadPoolExecutor(4) as pool:
        results = [answer.json() for answer in pool.map(client.post, ["/refresh"] * 4)]
    assert {result["rows"] for result in results} == {500}
    result = results[0]
    assert (result["alarm"]["scopes"]["features"]["raised"], result["alarm"]["any"]) == (True, True)
    assert result["dataset_drift"] is True
    report = client.get("/report")
    assert report.headers["content-type"].startswith("text/html")
    assert "<!DOCTYPE html>" in report.text
    text = client.get("/metrics").text
    samples = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert samples == METRICS
    assert 'drift_monitor_alarm{scope="any"} 1.0' in text
    assert 'drift_monitor_skipped_lines_total{reason="not_json"} 1.0' in text
    page = client.get("/").text
    assert "feature_3" in page
    runs = client.get("/api/history").json()["runs"]
    assert [run["outcome"] for run in runs[:2]] == ["ok", "ok"]
    assert client.get("/refresh").status_code == 405


@pytest.mark.slow
def test_a_signal_at_the_start_ends_the_service(tmp_path: Path, reference_csv: Path) -> None:
    """Whatever is under way, the service ends within 5 s, with 0."""
    variables = {"REFERENCE_DATASET_URI": reference_csv, "CURRENT_DATASET_URI": tmp_path}
    with serving(tmp_path / "output", **variables) as service:
        service.process.terminate()
        assert service.process.wait(5) == 0


@pytest.mark.slow
def test_a_signal_while_a_report_is_drawn_ends_the_service(
    tmp_path: Path, reference_csv: Path, iris_events: IrisEvents
) -> None:
    """The child that draws is ended with it, and whoever waits for the page gets a sentence or a closed connection."""
    (tmp_path / "stable.log").write_bytes(b"".join(iris_events(100, seed=1)))
    variables = {"REFERENCE_DATASET_URI": reference_csv, "CURRENT_DATASET_URI": tmp_path}
    with serving(tmp_path / "output", **variables) as service, ThreadPoolExecutor(1) as pool:
        assert service.client.post("/refresh").json()["outcome"] == "ok"
        asked = pool.submit(service.client.get, "/report")
        process = psutil.Process(service.process.pid)
        eventually(process.children)
        (child,) = process.children()
        service.process.terminate()
        assert service.process.wait(5) == 0
        assert psutil.wait_procs([child], timeout=5)[1] == []
        assert asked.exception() is not None or asked.result().status_code == 503


@pytest.mark.slow
def test_a_reference_that_cannot_be_is_said_and_may_come(tmp_path: Path, reference_csv: Path) -> None:
    """The service stays up and says what runbooks quote; with a good file in its place it goes on."""
    reference, output = tmp_path / "reference.csv", tmp_path / "output"
    reference.write_text("feature_0,prediction\n")
    variables = {"REFERENCE_DATASET_URI": reference, "CURRENT_DATASET_URI": reference_csv}
    with serving(output, **variables) as service:
        refresh = service.client.post("/refresh")
        assert (refresh.status_code, refresh.json()["reference_rows"]) == (503, 0)
        health = service.client.get("/healthz")
        assert health.status_code == 503
        assert health.json()["reason"].startswith("Reference dataset is empty")
        reference.write_bytes(reference_csv.read_bytes())
        assert service.client.post("/refresh").json()["outcome"] == "ok"
        assert service.client.get("/healthz").status_code == 200


def eventually(condition: Callable[[], object]) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_wrong_settings_end_the_start(tmp_path: Path) -> None:
    """All wrong variables stand in one log line; exit code 2."""
    process = start(
        tmp_path / "output", REFERENCE_DATASET_URI="ftp://host/reference.csv", DRIFT_MIN_ROWS="few"
    )
    assert process.wait(60) == 2
    (line,) = lines(tmp_path / "output")
    for name in ("REFERENCE_DATASET_URI", "LOKI_BASE_URL", "CURRENT_DATASET_URI", "DRIFT_MIN_ROWS"):
        assert name in line["message"]
