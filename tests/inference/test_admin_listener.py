"""ADMIN_HOST and ADMIN_PORT: changes of the model on a port of their own."""

import json
import socket

import httpx
import pytest

from inference.errors import PermissionDeniedError
from inference.settings import Settings
from inference.tokens import admin_guards
from telemetry import SettingsError, load_settings

TOKEN = "a-token"
SHOWN = {"X-Admin-Token": TOKEN}


def _admin(running: object) -> str:
    return f"http://127.0.0.1:{running.service.admin_port}"


@pytest.fixture
def running(make_service: object) -> object:
    """A server with a port for admin requests."""
    return make_service(admin_host="127.0.0.1", admin_port=0, admin_api_token=TOKEN)


def test_without_admin_host_there_is_one_port(make_service: object) -> None:
    """Nothing else listens, and HTTP_PORT answers admin requests."""
    running = make_service(admin_api_token=TOKEN)
    assert running.service.admin_port is None
    assert running.http.post("/admin/reload", headers=SHOWN).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/admin/reload", "/admin/rollback/", "/admin/reload?x=1", "/%61dmin/reload", "/admin", "/admin/other"],
)
def test_the_public_port_knows_no_admin_requests(running: object, path: str) -> None:
    """However it is written, a path of /admin is not found there, the right token or not."""
    reply = running.http.post(path, headers=SHOWN)
    assert reply.status_code == 404
    assert "ADMIN_HOST" in reply.json()["error"]["message"]
    assert running.http.get("/health").json()["model"]["generation"] == 1


def test_the_admin_port_changes_the_model(running: object) -> None:
    """It takes the token as ever, and the change is one of the same server."""
    with httpx.Client(base_url=_admin(running)) as http:
        assert http.post("/admin/reload").status_code == 401
        assert http.post("/admin/reload", headers=SHOWN).json()["outcome"] == "unchanged"
        assert http.post("/admin/rollback", headers=SHOWN).status_code == 409
    assert 'ml_model_swaps_total{outcome="unchanged"} 1.0' in running.metrics()


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/health"), ("GET", "/metrics"), ("POST", "/predict"), ("GET", "/administer")],
)
def test_the_admin_port_does_nothing_else(running: object, method: str, path: str) -> None:
    """What HTTP_PORT answers is not found on ADMIN_PORT, and the answer says which port has it."""
    reply = httpx.request(method, _admin(running) + path, headers=SHOWN)
    assert reply.status_code == 404
    assert "HTTP_PORT" in reply.json()["error"]["message"]


def test_the_public_guard_lets_nobody_pass() -> None:
    """Also over gRPC and the Open Inference Protocol the right token is refused, with where to go."""
    guards = admin_guards(TOKEN, elsewhere=True)
    with pytest.raises(PermissionDeniedError, match="answered on ADMIN_HOST"):
        guards.public.check({"x-admin-token": TOKEN}, str)
    guards.admin.check({"x-admin-token": TOKEN}, str)
    assert admin_guards(TOKEN, elsewhere=False).public.check({"x-admin-token": TOKEN}, str) is None


def test_the_ports_are_told(make_process: object) -> None:
    """The line that says where the server listens has the admin port."""
    listening = make_process(ADMIN_HOST="127.0.0.1", ADMIN_PORT=0).wait_for("listening")
    refused = httpx.post(f"http://127.0.0.1:{listening['admin_port']}/admin/reload")
    assert refused.status_code == 403
    assert "ADMIN_API_TOKEN" in refused.json()["error"]["message"]


def test_a_taken_admin_port(make_process: object) -> None:
    """It is one line that names ADMIN_PORT, and exit code 2."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = make_process(ADMIN_HOST="127.0.0.1", ADMIN_PORT=taken.getsockname()[1])
        assert process.end() == 2
    (line,) = map(json.loads, process.lines)
    assert "in use by another process" in line["message"]
    assert "ADMIN_PORT" in line["message"]


def test_an_admin_address_that_is_not_ours(make_process: object) -> None:
    """An address of another machine (RFC 5737) is one line that names ADMIN_HOST, and exit code 2."""
    process = make_process(ADMIN_HOST="192.0.2.1")
    assert process.end() == 2
    (line,) = map(json.loads, process.lines)
    assert "cannot listen on 192.0.2.1" in line["message"]
    assert "ADMIN_HOST" in line["message"]


def test_the_same_port_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """ADMIN_PORT and HTTP_PORT differ, if there is an ADMIN_HOST at all."""
    monkeypatch.setenv("ADMIN_PORT", "8000")
    assert load_settings(Settings).http_port == 8000
    monkeypatch.setenv("ADMIN_HOST", "127.0.0.1")
    with pytest.raises(SettingsError, match="HTTP_PORT: expected a port other than ADMIN_PORT"):
        load_settings(Settings)
