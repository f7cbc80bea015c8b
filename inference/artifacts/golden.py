"""The last check before a model serves: it must give the outputs that training recorded."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.artifacts.bundle import Bundle
from inference.artifacts.outputs import Outputs, Predictor
from inference.artifacts.refusal import refusing_failures
from inference.errors import BundleError
from protos.inference.v1.manifest_pb2 import TASK_CLASSIFICATION, GoldenRow

__all__ = ["PROBABILITY_BOUND", "VALUE_BOUND", "check_golden_rows"]

#: Largest difference of a probability. Parity asks for 1e-5 on the machine that trained; another processor
#: sums float32 in another order.
PROBABILITY_BOUND: Final = 1e-4
#: Largest difference of a regression value, relative to the expected one.
VALUE_BOUND: Final = 1e-4
#: Beside it, a share of the largest golden value: near zero, float32 sums keep no relative precision.
_VALUE_FLOOR: Final = 1e-6

_REMEDY: Final = (
    "its outputs are not those of training: register the model again, with the libraries of this server"
)


def check_golden_rows(bundle: Bundle, predictor: Predictor) -> None:
    """Compare the predictor with every golden row of the manifest; the calls also warm the model up.

    Raises `BundleError` naming the first row that differs, what was expected and what was found, or saying
    that predicting failed.
    """
    rows = bundle.manifest.golden_rows
    with refusing_failures(bundle, "predicting the golden rows"):
        features = np.array([row.features for row in rows], dtype=np.float32)
        outputs = predictor.predict(features)
        predictor.predict(features[:1])  # the shape that most requests have
        if bundle.manifest.task == TASK_CLASSIFICATION:
            _check_classes(bundle, outputs)
        else:
            _check_values(bundle, outputs)


def _check_classes(bundle: Bundle, outputs: Outputs) -> None:
    rows = bundle.manifest.golden_rows
    assert outputs.class_index is not None
    assert outputs.probabilities is not None
    _check_shape(bundle, outputs.probabilities, (len(rows), len(bundle.manifest.classes)))
    for number, row in enumerate(rows):
        found = outputs.probabilities[number]
        expected = np.array(row.probabilities)
        # Written so that NaN, which compares false with everything, is refused.
        close = bool((np.abs(found - expected) <= PROBABILITY_BOUND).all())
        if int(outputs.class_index[number]) != row.class_index or not close:
            found_text = f"class {outputs.class_index[number]} with {_text(found)}"
            expected_text = f"class {row.class_index} with {_text(expected)}"
            raise _differs(bundle, number, row, expected_text, found_text)


def _check_values(bundle: Bundle, outputs: Outputs) -> None:
    rows = bundle.manifest.golden_rows
    assert outputs.values is not None
    _check_shape(bundle, outputs.values, (len(rows),))
    floor = _VALUE_FLOOR * max(abs(row.value) for row in rows)
    for number, row in enumerate(rows):
        found = float(outputs.values[number])
        if not abs(found - row.value) <= VALUE_BOUND * abs(row.value) + floor:
            raise _differs(bundle, number, row, f"{row.value:.9g}", f"{found:.9g}")


def _check_shape(bundle: Bundle, found: NDArray[np.floating], expected: tuple[int, ...]) -> None:
    if found.shape != expected:
        reason = f"the model gives outputs of shape {found.shape} and {expected} is expected"
        raise BundleError(str(bundle.path), reason, _REMEDY)


def _differs(bundle: Bundle, number: int, row: GoldenRow, expected: str, found: str) -> BundleError:
    reason = (
        f"golden row {number} {list(row.features)} is expected to give {expected} and the model gives {found}"
    )
    return BundleError(str(bundle.path), reason, _REMEDY)


def _text(numbers: NDArray[np.floating]) -> str:
    return "[" + ", ".join(f"{number:.6g}" for number in numbers) + "]"
