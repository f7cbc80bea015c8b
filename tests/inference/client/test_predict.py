"""Asking a real server with a real model, in every form."""

import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inference.client import InvalidRequestError, PredictionClient, PredictResult, frame_of

NAMES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
ROWS = np.random.default_rng(0).uniform(0, 8, (30, 4)).round(1)
FRAME = pd.DataFrame(ROWS, columns=list(NAMES), index=[f"flower-{n}" for n in range(30)])
CLASSES = ("setosa", "versicolor", "virginica")


def test_every_form_gives_the_same_answer(running: object, ask: object) -> None:
    """Sequences, mappings, arrays of both widths and frames, in any order of columns."""
    forms: list[object] = [
        ROWS.tolist(),
        FRAME.to_dict("records"),
        ROWS,
        ROWS.astype(np.float32),
        FRAME,
        FRAME[list(reversed(NAMES))],
        FRAME.astype(object),
    ]
    results = [ask(running.address, "predict", form) for form in forms]
    named = ask(running.address, "predict", ROWS[:, ::-1], feature_names=NAMES[::-1])
    assert {result.labels for result in [*results, named]} == {results[0].labels}
    for result in [*results, named]:
        assert len(result) == 30
        np.testing.assert_allclose(result.probabilities, results[0].probabilities, atol=1e-6)
    assert (results[0].classes, results[2].classes) == ((), CLASSES)


def test_a_frame_comes_back_as_a_frame(running: object, ask: object) -> None:
    """Label, one column a class, and the caller's own index, whatever it is."""
    for index in (FRAME.index, pd.MultiIndex.from_product([range(3), range(10)]), pd.Index([7] * 30)):
        answer = ask(running.address, "predict", FRAME.set_axis(index)).to_frame()
        assert list(answer.columns) == ["label", *CLASSES]
        pd.testing.assert_index_equal(answer.index, index)
        assert (answer[list(CLASSES)].idxmax(axis="columns") == answer["label"]).all()
        np.testing.assert_allclose(answer[list(CLASSES)].sum(axis="columns"), 1, rtol=1e-5)


def test_rows_sent_one_by_one_come_back_as_a_frame(running: object, ask: object) -> None:
    """Their answer does not name the classes, so the columns count them."""
    answer = ask(running.address, "predict", ROWS.tolist()).to_frame()
    assert list(answer.columns) == ["label", "probability_0", "probability_1", "probability_2"]
    assert list(answer.index) == list(range(30))


def test_a_regression_comes_back_as_values(make_service: object, make_bundle: object, ask: object) -> None:
    """One column, `value`, with the index; no labels."""
    running = make_service(make_bundle(regression=True, accuracy=None))
    result = ask(running.address, "predict", FRAME)
    assert (result.labels, result.probabilities) == ((), ())
    answer = result.to_frame()
    assert list(answer.columns) == ["value"]
    assert list(answer.index) == list(FRAME.index)
    assert tuple(answer["value"]) == result.values


def test_a_class_may_have_any_name(ask: object) -> None:
    """Also the name of the column that holds the labels, and one that is there twice."""
    outputs = {
        "labels": ("label",),
        "probabilities": ((0.75, 0.25),),
        "classes": ("label", "label"),
        "values": (),
    }
    texts = dict.fromkeys(
        ("model_name", "model_version", "model_digest", "event_id", "track", "request_id"), ""
    )
    answer = PredictResult(**outputs, **texts).to_frame()
    assert list(answer.columns) == ["label", "label", "label"]
    assert answer.iloc[0].tolist() == ["label", 0.75, 0.25]


def test_the_answer_says_who_gave_it(running: object, ask: object) -> None:
    """Model, version, digest, track, request id and event id."""
    result = ask(running.address, "predict", ROWS, request_id="mine")
    described = ask(running.address, "get_model")
    assert (result.model_name, result.model_version, result.track) == ("iris", "local", "stable")
    assert result.model_digest == described.model_digest
    assert result.request_id == "mine"
    assert result.event_id


def test_headers_are_sent(serve: object, ask: object) -> None:
    """Metadata of the client and of the call, a token that may change, and the mark of a replay."""
    backend = serve()
    tokens = iter(["one\n", "two"])
    options = {"token": lambda: next(tokens), "metadata": (("X-Team", "a"),)}
    with PredictionClient(backend.address, **options) as client:
        client.predict([[1.0]], metadata=(("x-run", "7"),), shadow=True)
        client.get_model()
    first, second = (seen.metadata for seen in backend.seen)
    assert (first["x-team"], first["x-run"], first["x-shadow-request"]) == ("a", "7", "true")
    assert (first["authorization"], second["authorization"]) == ("Bearer one", "Bearer two")
    ask(backend.address, "predict", [[1.0]], client={"token": "fixed"})
    assert backend.seen[-1].metadata["authorization"] == "Bearer fixed"
    assert "x-shadow-request" not in backend.seen[-1].metadata
    assert "secret" not in repr(PredictionClient("127.0.0.1:1", token="secret")._caller)


def test_many_rows_go_in_batches(running: object) -> None:
    """The answers come in order, each with its part of the index, and make one frame."""
    with PredictionClient(running.address) as client:
        results = list(client.predict_batches(FRAME, rows_per_call=7))
        whole = client.predict(FRAME)
        assert [len(result) for result in results] == [7, 7, 7, 7, 2]
        assert len({result.request_id for result in results}) == 5
        answer = frame_of(results)
        pd.testing.assert_frame_equal(answer.drop(columns="model_version"), whole.to_frame())
        assert set(answer["model_version"]) == {"local"}
        for form in (ROWS, ROWS.tolist(), iter(ROWS.tolist()), FRAME.to_dict("records")):
            parts = client.predict_batches(form, rows_per_call=7)
            assert sum((part.labels for part in parts), ()) == whole.labels
        assert list(client.predict_batches(FRAME[:0])) == []
        assert frame_of([]).empty


def test_batches_count_violations_from_the_first_row(running: object) -> None:
    """A wrong row in the third batch has its number in the whole table."""
    wrong = FRAME.copy()
    wrong.iloc[20, 2] = np.inf
    with PredictionClient(running.address) as client, pytest.raises(InvalidRequestError) as caught:
        list(client.predict_batches(wrong, rows_per_call=9))
    assert (caught.value.violations[0].row, caught.value.violations[0].column) == (20, 2)


@pytest.mark.parametrize(
    ("rows", "place"), [([[1.0, 2.0]] * 5 + [[b"x", 2.0]], (5, 0)), ([[1.0]] * 4 + [5.0], (4, None))]
)
def test_batches_count_what_is_refused_here_too(serve: object, rows: object, place: object) -> None:
    """The number of a row that cannot be sent is that of the whole as well."""
    with PredictionClient(serve().address) as client, pytest.raises(InvalidRequestError) as caught:
        list(client.predict_batches(rows, rows_per_call=2))
    (violation,) = caught.value.violations
    assert (violation.row, violation.column) == place
    assert f"row {place[0]}" in str(caught.value)


def test_batches_are_read_as_they_are_needed(serve: object) -> None:
    """An endless iterator is fine for who stops."""
    with PredictionClient(serve().address) as client:
        endless = iter(lambda: [1.0, 2.0], None)
        assert len(next(client.predict_batches(endless, rows_per_call=3))) == 3
        with pytest.raises(ValueError, match="rows_per_call"):
            next(client.predict_batches(endless, rows_per_call=0))
        with pytest.raises(InvalidRequestError, match="rows: found 'text'"):
            next(client.predict_batches("text"))


def test_threads_share_a_client(serve: object) -> None:
    """Calls of many threads are on the server at the same time, on one connection."""
    import threading

    backend = serve()
    backend.gate = threading.Event()
    with PredictionClient(backend.address) as client, ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(client.predict, [[float(n)]], deadline_seconds=20) for n in range(8)]
        backend.wait_in_flight(8)
        backend.gate.set()
        assert [call.result().labels for call in calls] == [("low",)] * 8
    assert len({seen.metadata["x-request-id"] for seen in backend.seen}) == 8


def test_limits_of_the_channel_hold(serve: object, ask: object) -> None:
    """A smaller message limit refuses before sending; further gRPC arguments pass through."""
    from inference.client import ChannelOptions, OverloadError

    backend = serve()
    small = ChannelOptions(
        max_message_bytes=1000, keepalive_seconds=600, extra=(("grpc.primary_user_agent", "me"),)
    )
    with pytest.raises(OverloadError):
        ask(backend.address, "predict", [[1.0]] * 500, client={"options": small})
    ask(backend.address, "predict", [[1.0]], client={"options": small})
    assert len(backend.seen) == 1
    assert backend.seen[0].metadata["user-agent"].startswith("me ")


def test_importing_costs_neither_numpy_nor_pandas() -> None:
    """Not even asking with plain rows imports them, nor what only the server needs."""
    heavy = (
        "numpy",
        "pandas",
        "onnxruntime",
        "sklearn",
        "pydantic",
        "structlog",
        "starlette",
        "httpx",
        "mlflow",
    )
    code = (
        "import sys; from inference.client import *; from inference.client.rows import encode; encode([[1.0]]); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    root = Path(__file__).parents[3]
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == "[]"


def test_a_server_of_another_kind_is_an_error_in_words(running: object, ask: object) -> None:
    """The port of the HTTP gateway, and a socket that never speaks, end as PredictionError."""
    from inference.client import PredictionError

    with pytest.raises(PredictionError):
        ask(f"127.0.0.1:{running.service.http_port}", "predict", ROWS, deadline_seconds=2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(PredictionError):
            ask(f"127.0.0.1:{silent.getsockname()[1]}", "predict", ROWS, deadline_seconds=0.3)
