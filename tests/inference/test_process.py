"""`python -m inference` as an operator runs it: a process, its lines, its ports, its signals."""

import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
from google.protobuf import json_format

from inference.client import InvalidRequestError, PredictionClient, UnavailableError
from inference.settings import Settings
from protos.inference.v1.event_pb2 import PredictionEvent
from tests.inference.server_process import server_environment, wait_until_ready

ROW = [5.1, 3.5, 1.4, 0.2]


def _objects(process: object) -> list[dict[str, object]]:
    """Every line must be a JSON object with these keys."""
    objects = [json.loads(line) for line in process.lines]
    assert all({"timestamp", "level", "logger", "message"} <= line.keys() for line in objects)
    return objects


def test_a_life_from_start_to_drain(make_process: object) -> None:
    """Listening, model loaded, serving; answers with events; SIGTERM drains, answers on, and ends with 0."""
    process = make_process(DRAIN_DELAY_SECONDS=1)
    listening = process.wait_for("listening")
    assert listening["pid"] == process.popen.pid
    assert isinstance(listening["grpc_port"], int)
    assert process.wait_for("model loaded")["version"] == "local"
    process.wait_for("serving")
    with PredictionClient(f"127.0.0.1:{listening['grpc_port']}") as client:
        first = client.predict([ROW], request_id="first")
        process.popen.send_signal(signal.SIGTERM)
        process.wait_for("draining")
        health = httpx.get(f"http://127.0.0.1:{listening['http_port']}/health/ready")
        assert health.status_code == 503
        last = client.predict([ROW], request_id="last")
    assert process.end() == 0
    lines = _objects(process)
    events = {
        line["correlation_id"]: json_format.Parse(line["message"], PredictionEvent())
        for line in lines
        if line["logger"] == "drift-monitoring"
    }
    assert events["first"].event_id == first.event_id
    assert events["last"].event_id == last.event_id
    assert lines[-1]["message"] == "stopped"
    assert not [line for line in lines if line["level"] not in ("INFO",)]


def test_a_second_signal_ends_at_once(make_process: object) -> None:
    """Who does not want to wait for the drain sends the signal again."""
    process = make_process(DRAIN_DELAY_SECONDS=60)
    process.wait_for("serving")
    process.popen.send_signal(signal.SIGINT)
    process.wait_for("draining")
    process.popen.send_signal(signal.SIGTERM)
    assert process.end(5) == 128 + signal.SIGTERM


@pytest.mark.parametrize("variable", ["GRPC_PORT", "HTTP_PORT"])
def test_a_taken_port_is_one_clear_line(make_process: object, variable: str) -> None:
    """A second server on a port says which setting to change, and exits with 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = make_process(**{variable: port})
        assert process.end() == 2
    (line,) = _objects(process)
    assert line["level"] == "ERROR"
    assert f"port {port} on 127.0.0.1 is in use by another process" in line["message"]
    assert variable in line["message"]


def test_two_servers_never_share_a_port(make_process: object) -> None:
    """gRPC's default would let them; here the second one fails."""
    first = make_process()
    port = first.wait_for("listening")["grpc_port"]
    second = make_process(GRPC_PORT=port)
    assert second.end() == 2


@pytest.mark.parametrize("variable", ["GRPC_HOST", "HTTP_HOST"])
def test_an_address_that_is_not_ours(make_process: object, variable: str) -> None:
    """An address of another machine (RFC 5737) cannot be bound, and the line names the setting."""
    process = make_process(**{variable: "192.0.2.1"})
    assert process.end() == 2
    (line,) = _objects(process)
    assert "cannot listen on 192.0.2.1" in line["message"]


def test_a_missing_bundle_ends_the_start(make_process: object, tmp_path: Path) -> None:
    """Without a model at start there is one ERROR line with the reason, exit code 1, and no process left."""
    process = make_process(MODEL_PATH=tmp_path / "nothing")
    listening = process.wait_for("listening")
    assert process.end() == 1
    errors = [line for line in _objects(process) if line["level"] == "ERROR"]
    assert len(errors) == 1
    assert "nothing" in errors[0]["message"]
    with pytest.raises(UnavailableError), PredictionClient(f"127.0.0.1:{listening['grpc_port']}") as client:
        client.predict([ROW], deadline_seconds=1)


def test_a_gate_ends_the_start(make_process: object) -> None:
    """A model below MODEL_MIN_ACCURACY is refused with exit code 1."""
    process = make_process(MODEL_MIN_ACCURACY=0.99)
    assert process.end() == 1
    assert "MODEL_MIN_ACCURACY" in _objects(process)[-1]["message"]


def test_wrong_settings_are_told_together(make_process: object) -> None:
    """Each wrong variable is one ERROR line, and the exit code is 2."""
    process = make_process(MODEL_PATH="", GRPC_PORT="many", LOG_LEVEL="LOUD")
    assert process.end() == 2
    lines = _objects(process)
    assert {line["message"].partition(":")[0] for line in lines} == {"MODEL_PATH", "GRPC_PORT", "LOG_LEVEL"}
    assert {line["level"] for line in lines} == {"ERROR"}


def test_help_lists_every_variable(make_process: object) -> None:
    """--help is made of the settings, so it cannot forget one."""
    process = make_process("--help")
    assert process.end() == 0
    text = b"".join(process.lines).decode()
    for name, field in Settings.model_fields.items():
        assert f"  {name.upper()} (" in text
        assert field.description.split(";")[0].split("`")[0][:60] in " ".join(text.split())
    assert "GRPC_PORT (50051)" in text


def test_the_schema_is_json(make_process: object) -> None:
    """--settings-schema prints what the chart's test reads."""
    process = make_process("--settings-schema")
    assert process.end() == 0
    assert set(json.loads(b"".join(process.lines))["properties"]) == set(Settings.model_fields)


def test_unknown_arguments_are_refused(make_process: object) -> None:
    """A typing mistake does not start a server."""
    process = make_process("--port", "1")
    assert process.end() == 2


def test_a_start_can_be_stopped_while_it_loads(make_process: object, tmp_path: Path) -> None:
    """SIGTERM while the registry does not answer ends the process promptly, with 0, and its child too."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        process = make_process(
            MODEL_SOURCE="mlflow",
            MLFLOW_TRACKING_URI=f"http://127.0.0.1:{silent.getsockname()[1]}",
            MODEL_CACHE_DIR=tmp_path,
            DRAIN_DELAY_SECONDS=60,
        )
        process.wait_for("listening")
        with silent.accept()[0]:  # the child asks the registry and waits for an answer that never comes
            children = psutil.Process(process.popen.pid).children()
            assert children
            process.popen.send_signal(signal.SIGTERM)
            assert process.end(5) == 0
            _, alive = psutil.wait_procs(children, timeout=10)
            assert not alive


def test_an_unread_standard_output_stops_nothing(bundle: Path) -> None:
    """With a full pipe that nobody reads, requests are answered, and events are dropped and counted."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = {"GRPC_PORT": str(one.getsockname()[1]), "HTTP_PORT": str(other.getsockname()[1])}
    environment = server_environment(bundle, **ports)
    process = subprocess.Popen([sys.executable, "-m", "inference"], env=environment, stdout=subprocess.PIPE)
    try:
        with PredictionClient(f"127.0.0.1:{ports['GRPC_PORT']}") as client:
            wait_until_ready(f"http://127.0.0.1:{ports['HTTP_PORT']}")
            rows = [[0.1 + index, 2.2, 3.3, 4.4] for index in range(2000)]
            for _ in range(20):  # about 2 MB of events, and a pipe holds 64 KiB
                client.predict(rows)
            with pytest.raises(InvalidRequestError):
                client.predict([[1]])
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
