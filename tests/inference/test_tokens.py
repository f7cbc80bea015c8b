"""Tokens: who passes, how often one may guess, and that no secret is ever shown."""

import hmac
import itertools
import json
from collections.abc import Callable, Iterator

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from inference import tokens
from inference.errors import OverloadError, UnauthenticatedError
from inference.tokens import MAX_FAILURES, TokenGuard
from protos.inference.v1 import inference_pb2 as pb
from tests.inference.artifacts.faulty_server import FaultyServer

TOKEN = "the-right-token"
REQUEST = pb.PredictRequest(rows=[pb.Row(values=[5.1, 3.5, 1.4, 0.2])])
RIGHT = (("authorization", f"Bearer {TOKEN}"),)
WRONG = (("authorization", "Bearer no"),)


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the guards."""
    clock = Clock()
    monkeypatch.setattr(tokens, "time", clock)
    return clock


@pytest.fixture
def guard() -> TokenGuard:
    """One that asks for the token, and locks out who guesses."""
    return TokenGuard(TOKEN, variable="ADMIN_API_TOKEN", required=False, locks_out=True)


def _show(guard: TokenGuard, token: str, address: str = "a") -> None:
    guard.check({"authorization": f"Bearer {token}"}, lambda: address)


def _fail(guard: TokenGuard, address: str = "a", times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(UnauthenticatedError):
            _show(guard, "no", address)


@pytest.mark.parametrize("shown", ["", "no", TOKEN[:-1], TOKEN + "x", "ü", "\udc80"[:0] + "é" * 50])
def test_tokens_are_compared_in_constant_time(
    guard: TokenGuard, monkeypatch: pytest.MonkeyPatch, shown: str
) -> None:
    """Every comparison, of whatever length, is one of hmac.compare_digest over bytes."""
    compared: list[tuple[bytes, bytes]] = []
    compare: Callable[[bytes, bytes], bool] = hmac.compare_digest

    def note(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(tokens.hmac, "compare_digest", note)
    with pytest.raises(UnauthenticatedError):
        _show(guard, shown)
    assert compared == [(shown.encode(), TOKEN.encode())]


def test_guessing_is_limited_by_address(guard: TokenGuard, clock: Clock) -> None:
    """Ten wrong tokens a minute from one address; then it waits, and others are asked as before."""
    _fail(guard, times=MAX_FAILURES)
    for token in ("no", TOKEN):
        with pytest.raises(OverloadError) as caught:
            _show(guard, token)
        assert caught.value.retry_after_seconds == 60
    _show(guard, TOKEN, "b")
    _fail(guard, "c")
    clock.now += 59
    with pytest.raises(OverloadError) as caught:
        _show(guard, TOKEN)
    assert caught.value.retry_after_seconds == 1
    clock.now += 1
    _show(guard, TOKEN)
    _fail(guard)


def test_predictions_lock_nobody_out(clock: Clock) -> None:
    """Behind a proxy all callers have one address: whoever shows the right token passes, whatever others guess."""
    guard = TokenGuard(TOKEN, variable="PREDICT_API_TOKEN", required=False)
    _fail(guard, times=MAX_FAILURES)
    with pytest.raises(OverloadError):
        _show(guard, "no")
    _show(guard, TOKEN)
    clock.now += 60
    _fail(guard)


def test_mistakes_are_forgotten(guard: TokenGuard, clock: Clock) -> None:
    """Who mistypes less often than the limit is never turned away."""
    for _ in range(10 * MAX_FAILURES):
        _fail(guard)
        _show(guard, TOKEN)
        clock.now += 60 / (MAX_FAILURES - 1)


def test_memory_is_bounded(guard: TokenGuard, clock: Clock) -> None:
    """However many addresses guess, so many are remembered, the latest ones."""
    for number in range(5000):
        _fail(guard, str(number))
    assert len(guard._failures) == tokens._MAX_ADDRESSES
    assert all(len(moments) <= MAX_FAILURES for moments in guard._failures.values())
    _fail(guard, "4999", times=MAX_FAILURES - 1)
    with pytest.raises(OverloadError):
        _show(guard, TOKEN, "4999")


def _code(running: object, metadata: tuple[tuple[str, str], ...]) -> tuple[grpc.StatusCode, dict[str, str]]:
    try:
        running.stub.Predict(REQUEST, timeout=5, metadata=metadata)
    except grpc.RpcError as error:
        return error.code(), dict(error.trailing_metadata())
    return grpc.StatusCode.OK, {}


def test_the_token_over_grpc(make_service: object) -> None:
    """Predictions and descriptions ask for it; guessing ends in RESOURCE_EXHAUSTED; health and reflection do not."""
    running = make_service(predict_api_token=TOKEN)
    assert _code(running, RIGHT)[0] is grpc.StatusCode.OK
    assert running.stub.GetModel(pb.GetModelRequest(), timeout=5, metadata=RIGHT).model_version == "local"
    for wrong in itertools.islice(itertools.cycle([WRONG, (), (("authorization", TOKEN),)]), MAX_FAILURES):
        assert _code(running, wrong)[0] is grpc.StatusCode.UNAUTHENTICATED
    code, trailers = _code(running, WRONG)
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert 50_000 < int(trailers["grpc-retry-pushback-ms"]) <= 60_000
    assert _code(running, RIGHT)[0] is grpc.StatusCode.OK
    assert 'ml_requests_shed_total{reason="tokens"} 1.0' in running.metrics()
    health = health_pb2_grpc.HealthStub(running.channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status
    reflection = reflection_pb2_grpc.ServerReflectionStub(running.channel)
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    assert next(reflection.ServerReflectionInfo(iter([question]), timeout=5)).list_services_response.service


def test_the_token_over_http(make_service: object) -> None:
    """As over gRPC: 401, and after too much guessing 429 with Retry-After; health and metrics stay open."""
    running = make_service(predict_api_token=TOKEN)
    body = {"rows": [[5.1, 3.5, 1.4, 0.2]]}
    right, wrong = ({"Authorization": f"Bearer {token}"} for token in (TOKEN, "no"))
    assert running.http.post("/predict", json=body, headers=right).status_code == 200
    for _ in range(MAX_FAILURES):
        refused = running.http.post("/predict", json=body, headers=wrong)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    limited = running.http.post("/predict", json=body, headers=wrong)
    assert limited.status_code == 429
    assert 50 < int(limited.headers["retry-after"]) <= 60
    assert running.http.post("/predict", json=body, headers=right).status_code == 200
    assert running.http.get("/health").status_code == 200
    assert running.metrics()
    assert _code(running, RIGHT)[0] is grpc.StatusCode.OK  # an address of gRPC is one of its own


@pytest.mark.parametrize(
    ("method", "path", "settings"),
    [
        ("POST", "/admin/reload", {"admin_api_token": TOKEN}),
        ("POST", "/v2/repository/models/iris/load", {"admin_api_token": TOKEN}),
        ("GET", "/v2", {"predict_api_token": TOKEN}),
        ("GET", "/docs", {"predict_api_token": TOKEN}),
    ],
)
def test_guessing_is_counted_wherever_it_happens(
    make_service: object, method: str, path: str, settings: dict[str, str]
) -> None:
    """Refusals for guessing are in the metrics, whatever the guesser asked for."""
    running = make_service(**settings)
    for _ in range(MAX_FAILURES):
        assert running.http.request(method, path).status_code == 401
    assert running.http.request(method, path).status_code == 429
    assert 'ml_requests_shed_total{reason="tokens"} 1.0' in running.metrics()


@pytest.fixture
def registry(bundle: object) -> Iterator[FaultyServer]:
    """A registry that works, until a test says otherwise."""
    server = FaultyServer()
    server.serve(bundle)
    yield server
    server.close()


SECRETS = {
    "ADMIN_API_TOKEN": "admin-s3cret-1",
    "PREDICT_API_TOKEN": "predict-s3cret-2",
    "MLFLOW_TRACKING_PASSWORD": "password-s3cret-3",
    "MLFLOW_TRACKING_TOKEN": "token-s3cret-4",
}
IN_THE_ADDRESS = "userinfo-s3cret-5"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("left_out", "user"),
    [("MLFLOW_TRACKING_TOKEN", {"MLFLOW_TRACKING_USERNAME": "somebody"}), ("MLFLOW_TRACKING_PASSWORD", {})],
)
def test_no_secret_is_shown(
    make_process: object, registry: FaultyServer, tmp_path: object, left_out: str, user: dict[str, str]
) -> None:
    """After errors of every kind no secret is on standard output, in health, metrics or an error."""
    address = registry.address.replace("://", f"://somebody:{IN_THE_ADDRESS}@")
    given = {name: secret for name, secret in SECRETS.items() if name != left_out}
    process = make_process(
        MODEL_SOURCE="mlflow",
        MLFLOW_TRACKING_URI=address,
        MODEL_CACHE_DIR=tmp_path,
        LOG_LEVEL="DEBUG",
        **given,
        **user,
    )
    ports = process.wait_for("listening")
    process.wait_for("serving", 60)
    seen: list[str] = []
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{ports['http_port']}", timeout=60) as http,
        grpc.insecure_channel(f"127.0.0.1:{ports['grpc_port']}") as channel,
    ):
        admin = {"X-Admin-Token": SECRETS["ADMIN_API_TOKEN"]}
        predict = f"Bearer {SECRETS['PREDICT_API_TOKEN']}"
        told = [address, registry.asked[0][1], *(given[name] for name in given if "MLFLOW" in name)]
        echo = json.dumps({"error_code": "INTERNAL_ERROR", "message": f"oh no {told}"}).encode()
        for status, body in ((500, echo), (401, echo), (404, echo), (200, b"<html>" + echo)):
            registry.answer = lambda _path, status=status, body=body: (status, body)
            seen.append(http.post("/admin/reload", headers=admin).text)
        wrong = {"Authorization": "Bearer no"}
        seen += [http.post(path, headers=wrong).text for path in ("/admin/reload", "/predict")]
        seen.append(http.post("/predict", headers={"Authorization": predict}, content=predict).text)
        call = channel.unary_unary("/inference.v1.InferenceService/Predict")
        for metadata in ((("authorization", "Bearer no"),), (("authorization", predict),)):
            with pytest.raises(grpc.RpcError) as caught:
                call(b"\xff\xff", metadata=metadata, timeout=5)
            seen.append(f"{caught.value.details()} {caught.value.trailing_metadata()}")
        seen += [http.get(path).text for path in ("/health", "/metrics")]
    process.popen.terminate()
    assert process.end() == 0
    seen += [line.decode() for line in process.lines]
    assert any("oh no" in text for text in seen)
    for secret in (*given.values(), IN_THE_ADDRESS, registry.asked[0][1].partition(" ")[2]):
        assert not [text for text in seen if secret in text], secret
