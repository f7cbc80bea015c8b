"""The relay's HTTP side, on a real port: statuses, limits, metrics."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rollout.webhook_relay.inbox import Inbox
from rollout.webhook_relay.metrics import RelayMetrics
from rollout.webhook_relay.receiver import Receiver
from rollout.webhook_relay.server import create_app
from telemetry import HttpServer
from tests.rollout.relay_settings import SECRET, alias_event, delivery, headers, relay_settings


class Front:
    """A receiver behind HTTP, without anybody who acts."""

    def __init__(self, directory: Path) -> None:
        settings = relay_settings(directory, relay_max_body_bytes=2048)
        self.inbox = Inbox(directory)
        self.woken = 0
        self.metrics = RelayMetrics(lambda: float(self.inbox.pending_count()))
        receiver = Receiver(settings, self.inbox, self._wake)
        app = create_app(receiver, self.metrics, self._health, settings.relay_max_body_bytes)
        self.http = HttpServer(app, host="127.0.0.1", port=0, variable="RELAY_PORT")
        self.http.start()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.http.port}")

    def _wake(self) -> None:
        self.woken += 1

    def _health(self) -> dict[str, object]:
        self.inbox.pending_count()
        return {"status": "ok"}

    def post(self, body: bytes, **changes: object) -> httpx.Response:
        signed = delivery(body, **changes)  # type: ignore[arg-type]  # what delivery() takes
        return self.client.post("/webhook", content=body, headers=headers(signed))

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)

    def close(self) -> None:
        self.client.close()
        self.http.stop()
        self.inbox.close()


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    front = Front(tmp_path / "state")
    yield front
    front.close()


def test_new_is_202_and_known_is_200(front: Front) -> None:
    """The first event is accepted and wakes the worker; the same alias and other aliases are nothing new."""
    first = front.post(alias_event())
    assert (first.status_code, first.json()) == (202, {"outcome": "accepted", "model_uri": "models:/iris/2"})
    again = front.post(alias_event())
    assert (again.status_code, again.json()["outcome"]) == (200, "duplicate")
    other = front.post(alias_event(alias="champion"))
    assert (other.status_code, other.json()) == (200, {"outcome": "ignored"})
    assert front.woken == 1
    assert front.inbox.pending_count() == 1


def test_a_replay_is_answered_and_changes_nothing(front: Front) -> None:
    """MLflow's own repetition looks the same, so both get 200; the inbox stays as it is."""
    body = alias_event()
    signed = delivery(body)
    statuses = [
        front.client.post("/webhook", content=body, headers=headers(signed)).status_code for _ in range(3)
    ]
    assert statuses == [202, 200, 200]
    assert len(front.inbox.newest(10)) == 1


def test_forged_and_old_are_401(front: Front) -> None:
    """Another secret, a changed body, no signature, yesterday's delivery: nothing is kept."""
    assert front.post(alias_event(), secret="somebody-elses-secret").status_code == 401
    signed = headers(delivery(alias_event()))
    assert front.client.post("/webhook", content=alias_event(version="3"), headers=signed).status_code == 401
    bare = {"content-type": "application/json"}
    assert front.client.post("/webhook", content=alias_event(), headers=bare).status_code == 401
    old = front.post(alias_event(), at=1_700_000_000)
    assert old.status_code == 401
    assert "in the past by the clock of the relay" in old.json()["error"]
    assert front.inbox.newest(10) == []
    assert front.sample("relay_events_total", outcome="unsigned") == 3
    assert front.sample("relay_events_total", outcome="stale") == 1


def test_malformed_is_400_too_large_413_other_types_415(front: Front) -> None:
    """Each refusal says what is wrong; large bodies are refused also when nothing says how large they are."""
    assert front.post(b"not json").status_code == 400
    assert front.post(alias_event(name="$(id)")).status_code == 400
    assert front.post(b" " * 3000).status_code == 413
    chunks = front.client.post(
        "/webhook", content=iter([b" " * 1024] * 4), headers=headers(delivery(b"")) | {"x": "y"}
    )
    assert chunks.status_code == 413
    form = front.client.post("/webhook", data={"a": "b"})
    assert form.status_code == 415
    assert "application/json" in form.json()["error"]


def test_only_three_paths_are_served(front: Front) -> None:
    """Elsewhere a sentence names them, with 404 or 405."""
    assert front.client.get("/").status_code == 404
    wrong = front.client.get("/webhook")
    assert wrong.status_code == 405
    assert "POST /webhook" in wrong.json()["error"]
    assert front.client.get("/healthz").json() == {"status": "ok"}


def test_a_body_that_is_cut_off_leaves_the_server_alive(front: Front) -> None:
    """A caller that goes away in the middle costs nothing."""
    with socket.create_connection(("127.0.0.1", front.http.port)) as connection:
        connection.sendall(
            b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
        )
    assert front.post(alias_event()).status_code == 202


def test_an_inbox_that_cannot_be_written_asks_for_another_delivery(front: Front) -> None:
    """503 with Retry-After, which MLflow follows; nothing of the disk is told to the caller."""
    front.inbox.close()
    answer = front.post(alias_event())
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert "state" not in answer.text
    health = front.client.get("/healthz")
    assert (health.status_code, health.json()["status"]) == (503, "failing")
    front.inbox = Inbox(front.inbox.directory)


def test_metrics_start_at_zero_and_count(front: Front) -> None:
    """Every outcome has a sample from the start; what waits is a gauge; no label comes from outside."""
    text = front.client.get("/metrics").text
    assert 'relay_events_total{outcome="accepted"} 0.0' in text
    assert 'relay_triggers_total{outcome="failed"} 0.0' in text
    assert "relay_last_reconcile_timestamp_seconds 0.0" in text
    front.post(alias_event())
    text = front.client.get("/metrics").text
    assert 'relay_events_total{outcome="accepted"} 1.0' in text
    assert "relay_pending 1.0" in text
    assert "iris" not in text


def test_no_answer_and_no_line_has_the_secret(front: Front, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither the secret nor a right signature is written anywhere."""
    signed = delivery(alias_event())
    answers = [
        front.client.post("/webhook", content=content, headers=headers(signed)).text
        for content in (alias_event(), alias_event(version="3"))
    ]
    shown = "".join([*answers, *capfd.readouterr()])
    assert SECRET not in shown
    assert signed.signature not in shown
