"""A model of texts, numbers and missing values in service: every way in, and scikit-learn's idea of the answer."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
import numpy as np
import pandas as pd
import pytest
from google.protobuf import struct_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from inference.artifacts import load_predictor, read_bundle
from inference.client import InvalidRequestError, PredictionClient, frame_of
from inference.errors import BundleError
from protos.inference.v1 import inference_pb2 as pb
from tests.inference.mixed_models import (
    CLASSES,
    COLUMNS,
    NAMES,
    ROWS,
    mixed_frame,
    mixed_pipeline,
    write_mixed_bundle,
)
from training.data.columns import encode_rows

Cells = Sequence[float | str | None]
BOUND = 1e-5


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """The probabilities of the rows, by the whole pipeline on the table's own columns."""
    return mixed_pipeline().predict_proba(pd.DataFrame(ROWS, columns=NAMES))


def cells(row: Cells) -> pb.Row:
    values = struct_pb2.ListValue()
    for cell in row:
        values.append(cell)
    return pb.Row(cells=values)


def shares_of(answer: pb.PredictResponse) -> np.ndarray:
    return np.array([prediction.probabilities for prediction in answer.predictions])


def refused(running: object, request: pb.PredictRequest) -> dict[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        running.stub.Predict(request, timeout=5)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = error_details_pb2.BadRequest()
    assert rpc_status.from_call(caught.value).details[0].Unpack(details)
    return {violation.field: violation.description for violation in details.field_violations}


def test_cells_are_answered_as_scikit_learn_does(mixed: object, expected: np.ndarray) -> None:
    """Texts, numbers and null in a row, in the model's order or named."""
    answer = mixed.stub.Predict(pb.PredictRequest(rows=map(cells, ROWS)), timeout=5)
    np.testing.assert_allclose(shares_of(answer), expected, atol=BOUND)
    assert {prediction.label for prediction in answer.predictions} == set(CLASSES)
    named = pb.PredictRequest(rows=[cells(row[::-1]) for row in ROWS], feature_names=NAMES[::-1])
    np.testing.assert_allclose(shares_of(mixed.stub.Predict(named, timeout=5)), expected, atol=BOUND)


def test_codes_are_answered_too(mixed: object, expected: np.ndarray) -> None:
    """Numbers alone, as rows and as a block: of a category its code, nan for what is missing."""
    codes = encode_rows(pd.DataFrame(ROWS, columns=NAMES), COLUMNS)
    rows = pb.PredictRequest(rows=[pb.Row(values=row) for row in codes.tolist()])
    np.testing.assert_allclose(shares_of(mixed.stub.Predict(rows, timeout=5)), expected, atol=BOUND)
    tensor = pb.RowTensor(row_count=4, column_count=4, float32_values=codes.tobytes())
    columns = mixed.stub.Predict(pb.PredictRequest(tensor=tensor), timeout=5).columns
    np.testing.assert_allclose(np.reshape(columns.probabilities, (4, 2)), expected, atol=BOUND)
    both = pb.PredictRequest(rows=[pb.Row(values=codes[0]), *map(cells, ROWS[1:3]), pb.Row(values=codes[3])])
    np.testing.assert_allclose(shares_of(mixed.stub.Predict(both, timeout=5)), expected, atol=BOUND)


def test_a_row_has_one_form(mixed: object, running: object) -> None:
    """Values beside cells are refused, whatever the model takes."""
    row = cells(ROWS[0])
    row.values.extend([1, 2, 3, 4])
    for server in (mixed, running):
        assert refused(server, pb.PredictRequest(rows=[row, row])) == {
            "rows[0]": "found values and cells, expected one of them",
            "rows[1]": "found values and cells, expected one of them",
        }


def test_values_beside_rows_of_cells_are_codes(mixed: object) -> None:
    """A row of numbers takes codes, also where other rows have texts, and is told so."""
    wrong = pb.Row(values=[9, 0.5, 31.5, 14])
    assert refused(mixed, pb.PredictRequest(rows=[cells(["basic", "west", 1, 1]), wrong])) == {
        "rows[0].cells.values[1]": "found 'west', expected one of 'north', 'south', '1' (feature region)",
        "rows[1].values[0]": "found 9.0, expected the code of a category, a whole number from 0 to 2 or nan "
        "(feature plan)",
        "rows[1].values[1]": "found 0.5, expected the code of a category, a whole number from 0 to 2 "
        "(feature region)",
    }


def test_numbers_may_come_as_cells(running: object) -> None:
    """A model of numbers takes cells of numbers, and refuses every other one by its place."""
    answers = [
        running.stub.Predict(pb.PredictRequest(rows=[row]), timeout=5).predictions[0]
        for row in (pb.Row(values=[5.1, 3.5, 1.4, 0.2]), cells([5.1, 3.5, 1.4, 0.2]))
    ]
    assert answers[0] == answers[1]
    assert refused(running, pb.PredictRequest(rows=[cells([5.1, "x", None, math.nan])])) == {
        "rows[0].cells.values[1]": "found 'x', expected a number",
        "rows[0].cells.values[2]": "found null, expected a number",
        "rows[0].cells.values[3]": "found nan, expected a finite number (feature petal_width)",
    }


def test_what_is_no_cell_is_refused(mixed: object) -> None:
    """Truth values, lists, objects and values that were never filled have a place and a sentence."""
    row = struct_pb2.ListValue(
        values=[
            struct_pb2.Value(bool_value=True),
            struct_pb2.Value(list_value=struct_pb2.ListValue()),
            struct_pb2.Value(struct_value=struct_pb2.Struct()),
            struct_pb2.Value(),
        ]
    )
    found = refused(mixed, pb.PredictRequest(rows=[pb.Row(cells=row)]))
    assert [sentence.split(",")[0] for sentence in found.values()] == [
        *("found true", "found a list", "found an object", "found nothing")
    ]
    assert refused(mixed, pb.PredictRequest(rows=[pb.Row(cells=struct_pb2.ListValue())])) == {
        "rows[0]": "found 0 values, expected 4"
    }


@pytest.mark.parametrize("text", ["\0", "x" * 1_000_000, "</script>", "zaz\u0307", "'; DROP TABLE", "\ufdd0"])
def test_hostile_texts_are_refused_shortly(mixed: object, text: str) -> None:
    """An unknown text is quoted a little, and is no label of any metric."""
    (sentence,) = refused(mixed, pb.PredictRequest(rows=[cells(["basic", text, 1, 1])])).values()
    assert len(sentence) < 200
    reply = mixed.http.post("/predict", content=json.dumps({"rows": [["basic", text, 1, 1]]}))
    assert reply.status_code == 400
    assert len(reply.content) < 1000
    assert all(text not in line for line in mixed.metrics())


def test_json_takes_texts_and_null(mixed: object, expected: np.ndarray) -> None:
    """Lists, objects and cells; `values` are numbers alone, as in the message."""
    codes = [[0, 0, 31.5, 14], [None, 1, 64.0, 0], [2, 2, None, 12], [None, 0, None, 7]]
    for rows in (
        ROWS,
        [dict(zip(NAMES, row, strict=True)) for row in ROWS],
        [{"cells": row} for row in ROWS],
    ):
        reply = mixed.http.post("/predict", json={"rows": rows})
        assert reply.status_code == 200, reply.text
        shares = [prediction["probabilities"] for prediction in reply.json()["predictions"]]
        np.testing.assert_allclose(shares, expected, atol=BOUND)
    reply = mixed.http.post("/predict", json={"rows": [{"values": row} for row in codes[:1]]})
    assert reply.json()["predictions"][0]["probabilities"] == pytest.approx(expected[0].tolist(), abs=BOUND)


def test_json_says_where_a_cell_is_wrong(mixed: object) -> None:
    """The place is in the caller's own form."""
    wrong = ["basic", "west", 1, None]
    for row, places in (
        (wrong, ["rows[0].values[1]", "rows[0].values[3]"]),
        ({"cells": wrong}, ["rows[0].cells[1]", "rows[0].cells[3]"]),
        (dict(zip(NAMES, wrong, strict=True)), ["rows[0].region", "rows[0].visits"]),
        ({"values": ["basic", 1, 1, 1]}, ["rows[0].values[0]"]),
        ({"values": [0, 9, 1, 1]}, ["rows[0].values[1]"]),
    ):
        reply = mixed.http.post("/predict", json={"rows": [row]})
        assert reply.status_code == 400
        assert [each["field"] for each in reply.json()["error"]["violations"]] == places


def test_events_have_the_texts(make_service: Callable[..., object], mixed_bundle: Path) -> None:
    """The prediction log has the words of the table: texts, numbers, and null for what is missing."""
    running = make_service(mixed_bundle)
    asked = [*ROWS, ("gold", "1", None, 1)]
    running.stub.Predict(pb.PredictRequest(rows=map(cells, asked)), timeout=5)
    (line,) = running.events(1)
    assert json.loads(line["message"])["features"] == [*map(list, ROWS), [None, "1", None, 1]]


def test_events_of_many_rows_stay_short(make_service: Callable[..., object], mixed_bundle: Path) -> None:
    """Parts of a large request have all rows, in order."""
    running = make_service(mixed_bundle)
    running.stub.Predict(pb.PredictRequest(rows=[cells(ROWS[n % 4]) for n in range(2000)]), timeout=5)
    events = [json.loads(line["message"]) for line in running.events(8)]
    assert len(events) == events[0]["parts"]
    assert [row for event in events for row in event["features"]] == [list(ROWS[n % 4]) for n in range(2000)]
    assert max(map(len, running.output.read_text().splitlines())) <= 12 * 1024


def test_the_client_sends_what_people_have(mixed: object, expected: np.ndarray) -> None:
    """Lists, mappings, and DataFrames with columns of objects, categories and missing values."""
    frame = pd.DataFrame(ROWS, columns=NAMES, index=list("abcd"))
    tidy = frame.astype({"plan": "category", "region": "category", "age": "float32", "visits": "int64"})
    with PredictionClient(mixed.address) as client:
        for rows in (ROWS, frame.to_dict("records"), frame, tidy, tidy[[*NAMES[::-1]]]):
            np.testing.assert_allclose(client.predict(rows).probabilities, expected, atol=BOUND)
        assert list(client.predict(tidy).to_frame().index) == list("abcd")
        large = mixed_frame(500)
        answers = frame_of(client.predict_batches(large, rows_per_call=128))
    np.testing.assert_allclose(
        answers.filter(like="probability").to_numpy(), mixed_pipeline().predict_proba(large), atol=BOUND
    )


def test_the_client_tells_row_and_column(mixed: object) -> None:
    """A text that the model does not know is found in the caller's table."""
    frame = mixed_frame(300).astype({"region": object})
    frame.loc[261, "region"] = "west"
    with PredictionClient(mixed.address) as client, pytest.raises(InvalidRequestError) as caught:
        list(client.predict_batches(frame, rows_per_call=100))
    (violation,) = caught.value.violations
    assert (violation.row, violation.column) == (261, 1)
    assert "expected one of 'north', 'south', '1'" in violation.description


@pytest.mark.slow
def test_scikit_learn_serves_the_steps_after_the_encoding(
    make_service: Callable[..., object], tmp_path: Path, expected: np.ndarray
) -> None:
    """A model that was not compiled is asked with the same matrix, and answers the same."""
    running = make_service(write_mixed_bundle(tmp_path / "bundles" / "sklearn", onnx=False))
    answer = running.stub.Predict(pb.PredictRequest(rows=map(cells, ROWS)), timeout=5)
    np.testing.assert_allclose(shares_of(answer), expected, atol=BOUND)
    assert running.service.plane.serving.predictor.runtime == "sklearn"


def test_a_model_that_takes_no_codes_is_refused(tmp_path: Path) -> None:
    """With categories and no step `encode` nobody knows which codes the model was fitted on."""
    bundle = write_mixed_bundle(tmp_path / "b", onnx=False, encode="other")
    with pytest.raises(BundleError, match="a Pipeline whose first step is `encode` is expected"):
        load_predictor(read_bundle(bundle))


def test_the_model_is_described_with_its_categories(mixed: object) -> None:
    """GetModel has the features as the manifest has them."""
    features = mixed.stub.GetModel(pb.GetModelRequest(), timeout=5).manifest.features
    assert [feature.name for feature in features] == list(NAMES)
    assert list(features[0].categories) == ["basic", "plus", "zażółć"]
    assert (features[0].nullable, features[0].unknown_as_missing, features[1].nullable) == (True, True, False)
