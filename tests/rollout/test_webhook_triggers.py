"""Triggers: commands as real processes; GitHub and Argo against a server that stands in for them."""

import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from rollout.webhook_relay.child import command_lock, main
from rollout.webhook_relay.command import CommandTrigger
from rollout.webhook_relay.deployment import Deployment, Source, State, Wanted
from rollout.webhook_relay.http_trigger import ArgoTrigger, GithubTrigger
from rollout.webhook_relay.inbox import Inbox
from rollout.webhook_relay.trigger import Answer as Said
from tests.rollout.recording_server import Answer, RecordingServer
from tests.rollout.relay_settings import relay_settings

Serve = Callable[..., RecordingServer]

DEPLOYMENT = Deployment(
    id=7,
    wanted=Wanted("Iris_v2.test", "challenger", "12"),
    state=State.RUNNING,
    source=Source.WEBHOOK,
    key="0a1b2c3d",
    attempts=1,
    not_before=0,
    exit_code=None,
    detail="",
    created_at=0,
    updated_at=0,
)


@pytest.fixture
def serve_answers() -> Iterator[Serve]:
    """Start servers that answer as told."""
    servers: list[RecordingServer] = []

    def start(*answers: Answer) -> RecordingServer:
        servers.append(RecordingServer(answers))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    inbox = Inbox(tmp_path / "state")
    yield inbox
    inbox.close()


def github(directory: Path, url: str, **changes: object) -> GithubTrigger:
    values = {
        "relay_trigger": "github",
        "relay_github_repository": "acme/models",
        "relay_github_api_url": url,
        "relay_github_token": "a-token-of-the-tests",
    }
    return GithubTrigger(relay_settings(directory, **(values | changes)))


def argo(directory: Path, url: str, **changes: object) -> ArgoTrigger:
    token = directory / "token"
    token.write_text("a-token-of-the-tests\n")
    values = {
        "relay_trigger": "argo",
        "relay_argo_url": url,
        "relay_argo_namespace": "ml",
        "relay_argo_template": "deploy-canary",
        "relay_argo_token_file": token,
    }
    return ArgoTrigger(relay_settings(directory, **(values | changes)))


def test_github_gets_a_dispatch(tmp_path: Path, serve_answers: Serve) -> None:
    """The call that GitHub documents, with the three values and nothing else in the payload."""
    server = serve_answers(Answer(204))
    assert github(tmp_path, server.url).fire(DEPLOYMENT).answer is Said.DONE
    (asked,) = server.asked
    assert asked.path == "/repos/acme/models/dispatches"
    assert asked.headers["authorization"] == "Bearer a-token-of-the-tests"
    assert asked.headers["accept"] == "application/vnd.github+json"
    assert asked.content == {
        "event_type": "model-version-aliased",
        "client_payload": {"model_uri": "models:/Iris_v2.test/12", "version": "12", "alias": "challenger"},
    }


@pytest.mark.parametrize(
    ("answer", "said", "after"),
    [
        (Answer(429, {"retry-after": "7"}), Said.AGAIN, 7),
        (Answer(500), Said.AGAIN, None),
        (Answer(500, {"retry-after": "soon"}), Said.AGAIN, None),
        (Answer(429, {"retry-after": "99999999"}), Said.AGAIN, 3600),
        (Answer(403, {"retry-after": "60"}), Said.AGAIN, 60),
        (Answer(403, content={"message": "Resource not accessible"}), Said.REFUSED, None),
        (Answer(401, content={"message": "Bad credentials"}), Said.REFUSED, None),
        (Answer(404), Said.REFUSED, None),
        (Answer(422, content={"message": "No ref found\n\x1b[31m"}), Said.REFUSED, None),
        (Answer(301, {"location": "/elsewhere"}), Said.REFUSED, None),
    ],
)
def test_answers_decide_whether_to_ask_again(
    tmp_path: Path, serve_answers: Serve, answer: Answer, said: Said, after: float | None
) -> None:
    """Limits and failures of theirs are tried again when they say so; refusals are final and name their reason."""
    result = github(tmp_path, serve_answers(answer).url).fire(DEPLOYMENT)
    assert result.answer is said
    assert str(answer.status) in result.detail
    assert result.detail.isprintable()
    assert result.after_seconds == after


def test_moments_are_turned_into_waits(tmp_path: Path, serve_answers: Serve) -> None:
    """Retry-After may be a date, and GitHub names the second when its limit ends."""
    now = time.time()
    date = Answer(503, {"retry-after": formatdate(now + 1000, usegmt=True)})
    limit = Answer(403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(now) + 900)})
    for answer, seconds in ((date, 1000), (limit, 900)):
        result = github(tmp_path, serve_answers(answer).url).fire(DEPLOYMENT)
        assert result.answer is Said.AGAIN
        assert result.after_seconds is not None
        assert (
            seconds - 60 < result.after_seconds <= seconds
        )  # a minute for a machine that does everything at once


def test_nobody_there_and_no_token_are_tried_again(tmp_path: Path, serve_answers: Serve) -> None:
    """A receiver that is down and a token that is being replaced may be there at the next attempt."""
    server = serve_answers(Answer(204))
    server.stop()
    result = github(tmp_path, server.url).fire(DEPLOYMENT)
    assert (result.answer, "does not answer" in result.detail) == (Said.AGAIN, True)
    trigger = argo(tmp_path, server.url)
    (tmp_path / "token").unlink()
    result = trigger.fire(DEPLOYMENT)
    assert (result.answer, "token" in result.detail) == (Said.AGAIN, True)


def test_argo_gets_a_submit_under_a_name_that_stays(tmp_path: Path, serve_answers: Serve) -> None:
    """The call of the Argo Server's API; a second attempt has the same name, so that it exists once."""
    conflict = Answer(409, content={"code": 6, "message": "workflows.argoproj.io already exists"})
    server = serve_answers(Answer(200, content={"metadata": {}}), conflict)
    trigger = argo(tmp_path, server.url)
    first, second = trigger.fire(DEPLOYMENT), trigger.fire(DEPLOYMENT)
    assert (first.answer, second.answer) == (Said.DONE, Said.DONE)
    assert "earlier attempt" in second.detail
    assert server.asked[0].content == server.asked[1].content
    asked = server.asked[0]
    assert asked.path == "/api/v1/workflows/ml/submit"
    assert asked.headers["authorization"] == "Bearer a-token-of-the-tests"
    assert asked.content == {
        "namespace": "ml",
        "resourceKind": "WorkflowTemplate",
        "resourceName": "deploy-canary",
        "submitOptions": {
            "name": "deploy-iris-v2-test-12-0a1b2c3d",
            "parameters": ["model-uri=models:/Iris_v2.test/12"],
        },
    }


def test_a_token_file_is_read_at_each_call(tmp_path: Path, serve_answers: Serve) -> None:
    """Kubernetes replaces the tokens of service accounts while the relay runs."""
    server = serve_answers(Answer(200))
    trigger = argo(tmp_path, server.url)
    trigger.fire(DEPLOYMENT)
    (tmp_path / "token").write_text("the-next-token")
    trigger.fire(DEPLOYMENT)
    sent = [asked.headers["authorization"] for asked in server.asked]
    assert sent == ["Bearer a-token-of-the-tests", "Bearer the-next-token"]


def test_a_wrong_authority_file_is_a_sentence(tmp_path: Path, serve_answers: Serve) -> None:
    """A file that holds no certificate is named, and tried again."""
    (tmp_path / "ca.pem").write_text("none")
    trigger = argo(tmp_path, serve_answers(Answer(200)).url, relay_argo_ca_file=tmp_path / "ca.pem")
    result = trigger.fire(DEPLOYMENT)
    assert (result.answer, "RELAY_ARGO_CA_FILE" in result.detail) == (Said.AGAIN, True)


def begun(inbox: Inbox) -> Deployment:
    inbox.want(DEPLOYMENT.wanted, Source.POLL)
    due = inbox.next_due()
    assert due is not None
    return inbox.begin(due.id)


def python(program: str) -> str:
    return shlex.join([sys.executable, "-c", program]) + " {model_uri}"


@pytest.mark.parametrize(
    ("code", "answer", "words"),
    [
        (0, Said.DONE, "promoted"),
        (1, Said.DECLINED, "aborted"),
        (2, Said.AGAIN, "refused: why 2"),
        (3, Said.DECLINED, "inconclusive"),
        (4, Said.AGAIN, "infrastructure error: why 4"),
        (9, Said.AGAIN, "exit code 9"),
    ],
)
def test_exit_codes_mean_what_those_of_deploy_canary_do(
    inbox: Inbox, code: int, answer: Said, words: str
) -> None:
    """Verdicts are final; what may be different later is tried again, with the last line of the output."""
    trigger = CommandTrigger(
        inbox, python(f"print('why {code}'); raise SystemExit({code})"), threading.Event()
    )
    result = trigger.fire(begun(inbox))
    assert result.answer is answer
    assert words in result.detail


def test_a_command_gets_the_uri_and_none_of_our_secrets(
    inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a command needs of the environment it has; the relay's own variables it has not."""
    monkeypatch.setenv("RELAY_SECRET", "not-for-commands")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://registry")
    program = (
        "import os,sys; print(sys.argv[1], os.environ['MLFLOW_TRACKING_URI'], 'RELAY_SECRET' in os.environ)"
    )
    deployment = begun(inbox)
    CommandTrigger(inbox, python(program), threading.Event()).fire(deployment)
    log = tmp_path / "state" / "logs" / f"deployment-{deployment.id}-1.log"
    assert log.read_text() == "models:/Iris_v2.test/12 http://registry False\n"


def test_a_command_that_does_not_exist_is_said(inbox: Inbox) -> None:
    """The sentence names the setting."""
    result = CommandTrigger(inbox, "/no/such/program {model_uri}", threading.Event()).fire(begun(inbox))
    assert result.answer is Said.AGAIN
    assert "127" in result.detail
    assert "RELAY_COMMAND" in result.detail


def test_a_command_goes_on_when_the_relay_ends(
    inbox: Inbox, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    """The trigger lets go at once; the exit code is in the inbox when the command has ended."""
    hold = tmp_path / "hold"
    hold.touch()
    program = f"import os,time\nwhile os.path.exists({str(hold)!r}): time.sleep(0.01)\n"
    stopping = threading.Event()
    stopping.set()
    deployment = begun(inbox)
    trigger = CommandTrigger(inbox, python(program), stopping)
    assert trigger.fire(deployment).answer is Said.LEFT
    assert trigger.result_of(inbox.get(deployment.id)) is None
    hold.unlink()
    eventually(lambda: inbox.get(deployment.id).exit_code == 0)
    result = trigger.result_of(inbox.get(deployment.id))
    assert result is not None
    assert result.answer is Said.DONE


def test_only_one_command_runs_at_a_time(inbox: Inbox, capsys: pytest.CaptureFixture[str]) -> None:
    """While one process has the lock, another one does not begin, and says so."""
    deployment = begun(inbox)
    with command_lock(inbox.directory):
        assert main([str(inbox.directory), str(deployment.id), "1", sys.executable, "-c", "1/0"]) == 75
    assert "one at a time" in capsys.readouterr().err
    assert inbox.get(deployment.id).exit_code is None


def test_an_attempt_that_was_given_up_does_not_begin(
    inbox: Inbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """A child that starts late, after its relay died and the next one went on, does nothing."""
    deployment = begun(inbox)
    inbox.postpone(deployment, 0, "given up")
    assert main([str(inbox.directory), str(deployment.id), "1", sys.executable, "-c", "1/0"]) == 75
    assert "given up" in capsys.readouterr().err


def test_the_signal_that_ended_a_command_is_told(inbox: Inbox) -> None:
    """A command that was killed is tried again."""
    program = f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"
    result = CommandTrigger(inbox, python(program), threading.Event()).fire(begun(inbox))
    assert result.answer is Said.AGAIN
    assert "-9" in result.detail
