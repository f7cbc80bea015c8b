"""The action: what receivers are told of an alarm, how often, and what happens when they fail."""

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from drift.accuracy.accuracy import Accuracy
from drift.action import Action, ArgoSubmit, Receiver, Webhook
from drift.action.message import Message
from drift.action.receiver import Answer
from drift.alarm.verdict import Alarm
from drift.current.event_filter import ServedModel
from drift.evaluation import Evaluation, Outcome
from tests.drift.receiving_server import Asked, ReceivingServer

DAY = 86_400.0
P_VALUES = {"features": 0.001, "prediction": 0.4, "joint": 0.2}
LEVELS = {"features": 0.005, "prediction": 0.0025, "joint": 0.0025}
ALARM = Alarm(
    features=True,
    prediction=False,
    joint=False,
    any=True,
    p_values=P_VALUES,
    feature_p_values={"feature_0": 0.004, "feature_1": 0.9, "feature_2": 0.001},
    levels=LEVELS,
    runs={"features": 3, "prediction": 0, "joint": 0},
    runs_needed=2,
)
QUIET = Alarm(False, False, False, False, P_VALUES, {}, LEVELS, {}, 2)
EVALUATION = Evaluation(
    outcome=Outcome.OK,
    reason="",
    rows=500,
    reference_rows=5000,
    alarm=None,
    dataset_drift=True,
    drift_share=0.5,
    features=(),
    prediction=None,
    evaluated_at="2026-01-02T03:04:05.000+00:00",
    duration_seconds=0.1,
    estimated_accuracy=Accuracy(0.8, 0.7, 0.9, 500),
    models=(ServedModel("iris", "7"),),
)


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


Begin = Callable[..., Action]


@pytest.fixture
def server() -> Iterator[ReceivingServer]:
    server = ReceivingServer()
    yield server
    server.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def begin(server: ReceivingServer, clock: Clock) -> Iterator[Begin]:
    """A function that begins an action, a webhook unless told otherwise; it is stopped with the test."""
    begun: list[Action] = []

    def build(receiver: Receiver | None = None, **changes: object) -> Action:
        values: dict[str, Any] = {"cooldown_seconds": DAY, "clock": clock, **changes}
        begun.append(Action(receiver or Webhook(f"{server.url}/drift"), **values))
        return begun[-1]

    yield build
    server.open.set()
    for action in begun:
        assert action.stop(30)


def notify(action: Action, alarm: Alarm = ALARM, evaluation: Evaluation = EVALUATION) -> dict[str, int]:
    """Tell of a verdict, wait for what follows, and return the counts."""
    before = action.counts
    action.notify(evaluation, alarm)
    deadline = time.monotonic() + 20
    while action._is_busy() or (alarm.any and action.counts == before):
        assert time.monotonic() < deadline, "no outcome within 20 seconds"
        time.sleep(0.005)
    return dict(action.counts)


def ids(asked: Sequence[Asked]) -> list[str]:
    return [one.headers["webhook-id"] for one in asked]


def test_a_webhook_gets_the_alarm(server: ReceivingServer, begin: Begin) -> None:
    """Model, scopes, p-values and the features that spoke, under an id; there is no signature without a secret."""
    counts = notify(begin())
    (asked,) = server.asked
    assert counts == {"ok": 1, "failed": 0, "cooled_down": 0}
    assert asked.path == "/drift"
    assert asked.headers["content-type"] == "application/json"
    assert "webhook-signature" not in asked.headers
    content = asked.content
    assert content["id"] == asked.headers["webhook-id"] == f"{content['alarm_id']}-1"
    assert datetime.fromisoformat(content["time"]).timestamp() == 1_800_000_000
    expected = {
        "event": "drift.alarm",
        "model": "iris",
        "version": "7",
        "evaluated_at": EVALUATION.evaluated_at,
        "rows": 500,
        "reference_rows": 5000,
        "scopes": ["features"],
        "p_values": P_VALUES,
        "levels": LEVELS,
        "runs": {"features": 3, "prediction": 0, "joint": 0},
        "runs_needed": 2,
        "features": [{"name": "feature_2", "p_value": 0.001}, {"name": "feature_0", "p_value": 0.004}],
        "drift_share": 0.5,
        "estimated_accuracy": {"value": 0.8, "low": 0.7, "high": 0.9, "rows": 500},
        "realised_accuracy": None,
    }
    assert {name: content[name] for name in expected} == expected
    assert set(content) == {*expected, "id", "alarm_id", "time"}


def test_of_several_models_none_is_named(server: ReceivingServer, begin: Begin) -> None:
    """Two versions of one model: its name is sure, and the version is not."""
    notify(
        begin(), evaluation=replace(EVALUATION, models=(ServedModel("iris", "7"), ServedModel("iris", "8")))
    )
    (asked,) = server.asked
    assert (asked.content["model"], asked.content["version"]) == ("iris", None)


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_without_end_is_not_read(begin: Begin, status: int) -> None:
    """The status says it all, and of an error some words; memory does not grow with what follows."""
    head = f"HTTP/1.1 {status} X\r\ncontent-type: text/plain\r\n\r\n".encode()
    sent = 0

    def flood(listener: socket.socket) -> None:
        nonlocal sent
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(head)
            while sent < 1 << 30:
                sent += connection.send(b"x" * 65536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=flood, args=(listener,))
        thread.start()
        counts = notify(begin(Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}/")))
        thread.join(30)
    assert counts["ok" if status == 200 else "failed"] == 1
    assert sent < 1 << 26


def test_a_secret_signs_what_is_sent(server: ReceivingServer, begin: Begin) -> None:
    """The signature is the HMAC of id, timestamp and body; the key is the secret\'s own bytes, not base64 of them."""
    notify(begin(Webhook(server.url, "a secret of the tests")))
    (asked,) = server.asked
    parts = asked.headers["webhook-id"], asked.headers["webhook-timestamp"], asked.body.decode()
    digest = hmac.new(b"a secret of the tests", ".".join(parts).encode(), hashlib.sha256).digest()
    assert asked.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_without_an_alarm_nobody_is_told(server: ReceivingServer, begin: Begin) -> None:
    """A quiet verdict makes no call and counts nothing."""
    assert set(notify(begin(), QUIET).values()) == {0}
    assert server.asked == []


def test_there_is_one_call_a_cool_down(server: ReceivingServer, begin: Begin, clock: Clock) -> None:
    """While an alarm lasts it is told again after each cool-down: the same alarm, another call."""
    action = begin()
    notify(action)
    clock.now += DAY - 1
    assert notify(action) == {"ok": 1, "failed": 0, "cooled_down": 1}
    clock.now += 1
    assert notify(action) == {"ok": 2, "failed": 0, "cooled_down": 1}
    first, second = (asked.content for asked in server.asked)
    assert first["alarm_id"] == second["alarm_id"]
    assert [first["id"], second["id"]] == [f"{first['alarm_id']}-1", f"{first['alarm_id']}-2"]


def test_another_alarm_waits_for_the_cool_down_of_the_first(
    server: ReceivingServer, begin: Begin, clock: Clock
) -> None:
    """An alarm that comes and goes is not told each time, and has a new id each time."""
    action = begin()
    notify(action)
    notify(action, QUIET)
    assert notify(action)["cooled_down"] == 1
    clock.now += DAY
    assert notify(action)["ok"] == 2
    assert server.asked[0].content["alarm_id"] != server.asked[1].content["alarm_id"]


def test_a_failure_is_tried_again_later_under_the_same_id(
    server: ReceivingServer, begin: Begin, clock: Clock
) -> None:
    """The wait doubles, a verdict before its end makes no call, and the cool-down begins with success only."""
    action = begin()
    server.answers = [(500, {}, b"no\ntoday"), (503, {}, b""), (200, {}, b"")]
    assert notify(action)["failed"] == 1
    clock.now += 59
    action.notify(EVALUATION, ALARM)
    assert len(server.asked) == 1
    clock.now += 1
    assert notify(action)["failed"] == 2
    clock.now += 119
    action.notify(EVALUATION, ALARM)
    assert len(server.asked) == 2
    clock.now += 1
    assert notify(action) == {"ok": 1, "failed": 2, "cooled_down": 0}
    assert len(set(ids(server.asked))) == 1
    clock.now += DAY - 1
    assert notify(action)["cooled_down"] == 1


@pytest.mark.parametrize(("header", "seconds"), [("600", 600), ("99999999", 3600), ("soon", 60)])
def test_a_receiver_may_say_how_long_to_wait(
    server: ReceivingServer, begin: Begin, clock: Clock, header: str, seconds: float
) -> None:
    """Retry-After in seconds is followed, up to an hour."""
    action = begin()
    server.answers = [(429, {"retry-after": header}, b""), (200, {}, b"")]
    notify(action)
    clock.now += seconds - 1
    action.notify(EVALUATION, ALARM)
    assert len(server.asked) == 1
    clock.now += 1
    assert notify(action)["ok"] == 1


def test_an_alarm_that_ends_takes_its_failed_call_along(
    server: ReceivingServer, begin: Begin, clock: Clock
) -> None:
    """What could not be told in time is not told when it is over; the next alarm does not wait for it."""
    action = begin()
    server.answers = [(500, {}, b""), (200, {}, b"")]
    notify(action)
    clock.now += DAY
    notify(action, QUIET)
    assert len(server.asked) == 1
    assert notify(action)["ok"] == 1
    assert len(set(ids(server.asked))) == 2


def test_a_restart_does_not_tell_again(
    server: ReceivingServer, begin: Begin, clock: Clock, tmp_path: Path
) -> None:
    """The record in the directory has the cool-down and the id of the alarm."""
    directory = tmp_path / "state"
    notify(begin(directory=directory))
    again = begin(directory=directory)
    assert notify(again) == {"ok": 0, "failed": 0, "cooled_down": 1}
    clock.now += DAY
    notify(again)
    first, second = ids(server.asked)
    assert (first.removesuffix("-1"), first[-2:], second[-2:]) == (second.removesuffix("-2"), "-1", "-2")
    assert [path.name for path in directory.iterdir()] == ["action.json"]


def test_a_restart_tries_again_under_the_same_id(
    server: ReceivingServer, begin: Begin, tmp_path: Path
) -> None:
    """A receiver that did take what a crash kept us from seeing can tell that it is the same."""
    server.answers = [(500, {}, b""), (200, {}, b"")]
    notify(begin(directory=tmp_path))
    assert notify(begin(directory=tmp_path))["ok"] == 1
    assert len(set(ids(server.asked))) == 1


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"alarm_id": 7, "calls": 1, "called_at": null}', "\udcff"]
)
def test_a_record_that_cannot_be_read_is_no_reason_to_stop(
    begin: Begin, tmp_path: Path, content: str
) -> None:
    """It is logged, and the alarm is told, perhaps again."""
    file = tmp_path / "action.json"
    file.write_text(content, errors="surrogateescape")
    assert notify(begin(directory=tmp_path))["ok"] == 1
    assert json.loads(file.read_text())["calls"] == 1


def test_a_directory_that_cannot_be_written_is_no_reason_to_stop(begin: Begin, tmp_path: Path) -> None:
    """The cool-down then holds until a restart."""
    (tmp_path / "file").touch()
    action = begin(directory=tmp_path / "file")
    assert notify(action)["ok"] == 1
    assert notify(action)["cooled_down"] == 1


def test_a_clock_set_back_does_not_silence_the_action(
    server: ReceivingServer, begin: Begin, clock: Clock
) -> None:
    """A call that lies in the future counts as one of now: the next comes one cool-down later."""
    action = begin()
    notify(action)
    clock.now -= 100 * DAY
    assert notify(action)["cooled_down"] == 1
    clock.now += DAY
    assert notify(action)["ok"] == 2


def test_a_slow_receiver_holds_up_nobody(server: ReceivingServer, begin: Begin) -> None:
    """Verdicts go on while a call is under way, make no second one, and a stop does not wait for ever."""
    server.open.clear()
    action = begin()
    for _ in range(3):
        action.notify(EVALUATION, ALARM)
    assert set(action.counts.values()) == {0}
    assert not action.stop(0.05)
    server.open.set()
    assert action.stop(20)
    assert (action.counts["ok"], len(server.asked)) == (1, 1)
    action.notify(EVALUATION, ALARM)
    assert len(server.asked) == 1


def test_a_receiver_that_is_not_there_is_a_failure(begin: Begin) -> None:
    """Nobody listens on port 1."""
    assert notify(begin(Webhook("http://127.0.0.1:1/")))["failed"] == 1


def test_a_defect_of_a_receiver_is_a_failure(begin: Begin) -> None:
    """Whatever is raised, the action goes on."""

    class Broken:
        def send(self, message: Message) -> Answer:
            raise RuntimeError(message.id)

    assert notify(begin(Broken()))["failed"] == 1


def test_argo_gets_a_submit(server: ReceivingServer, begin: Begin, tmp_path: Path) -> None:
    """The call of the Argo Server's API, with a name that Kubernetes takes, and a token that is read each time."""
    token = tmp_path / "token"
    token.write_text("of-the-tests\n")
    argo = ArgoSubmit(f"{server.url}/", "ml", "retrain", token_file=token)
    evaluation = replace(EVALUATION, models=(ServedModel("Iris_v2.test", "7"),))
    assert notify(begin(argo), evaluation=evaluation)["ok"] == 1
    (asked,) = server.asked
    assert asked.path == "/api/v1/workflows/ml/submit"
    assert asked.headers["authorization"] == "Bearer of-the-tests"
    content = asked.content
    options = content.pop("submitOptions")
    assert content == {"namespace": "ml", "resourceKind": "WorkflowTemplate", "resourceName": "retrain"}
    parameters = dict(text.split("=", 1) for text in options["parameters"])
    alarm = json.loads(parameters.pop("alarm"))
    assert options["name"] == f"drift-iris-v2-test-{alarm['id']}"
    assert parameters == {
        "alarm-id": alarm["alarm_id"],
        "model": "Iris_v2.test",
        "version": "7",
        "scopes": "features",
        "features": "feature_2,feature_0",
    }


def test_a_workflow_that_exists_is_not_submitted_twice(
    server: ReceivingServer, begin: Begin, clock: Clock
) -> None:
    """After an answer that was lost, the same name comes again, and 409 says that it is there."""
    action = begin(ArgoSubmit(server.url, "ml", "retrain", "token"))
    server.answers = [(504, {}, b""), (409, {}, b'{"code": 6, "message": "already exists"}')]
    notify(action)
    clock.now += 60
    assert notify(action) == {"ok": 1, "failed": 1, "cooled_down": 0}
    names = {asked.content["submitOptions"]["name"] for asked in server.asked}
    assert len(names) == 1
    assert server.asked[0].headers["authorization"] == "Bearer token"


def test_a_token_file_that_is_gone_is_a_failure(
    server: ReceivingServer, begin: Begin, tmp_path: Path
) -> None:
    """It is looked for again at the next attempt."""
    assert notify(begin(ArgoSubmit(server.url, "ml", "t", token_file=tmp_path / "gone")))["failed"] == 1
    assert server.asked == []


def test_secrets_are_not_shown() -> None:
    """Neither in logs nor in tracebacks."""
    shown = repr((Webhook("http://h/", "hidden"), ArgoSubmit("http://h/", "n", "t", "hidden")))
    assert "hidden" not in shown
