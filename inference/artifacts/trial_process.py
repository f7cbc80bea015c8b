"""The trial itself: `python -m inference.artifacts.trial_process`, a request on standard input, a line back.

It does what the serving process does later, with the same functions. The answer is `{}`, or why the bundle is
refused.
"""

import json
import sys
from pathlib import Path
from typing import Final

import numpy as np

from inference.artifacts.bundle import Bundle, read_bundle
from inference.artifacts.child import tells_out_of_memory
from inference.artifacts.childhood import end_with, take_stdout
from inference.artifacts.golden import check_golden_rows
from inference.artifacts.outputs import Outputs, Predictor
from inference.artifacts.predictor import load_predictor
from inference.artifacts.refusal import refusing_failures
from inference.artifacts.trial import TrialRequest, memory_reason
from inference.errors import BundleError

__all__ = ["main", "try_bundle"]

#: One row, as most requests have; what a client sends at a time; more than buffers of the first hold.
_BATCHES: Final = (1, 64, 1024)
_REMEDY_MEMORY: Final = "register a smaller model, or raise MODEL_TRIAL_MEMORY_BYTES if it is meant so"


def main(parent: int) -> int:
    """Answer the request on standard input with one line on standard output; end when `parent` does."""
    end_with(parent)
    answers = take_stdout()
    request = TrialRequest.from_json(sys.stdin.read())
    answer = {}
    try:
        try_bundle(Path(request.path), request.digest, allow_pickle=request.allow_pickle)
    except (BundleError, MemoryError) as error:
        answer = _refusal(error, request.memory_bytes)
    answers.write(f"{json.dumps(answer)}\n")
    answers.flush()
    return 0


def try_bundle(path: Path, digest: str, *, allow_pickle: bool) -> None:
    """Load the bundle, check its golden rows and predict a few batches. Raises `BundleError`."""
    bundle = read_bundle(path, expected_digest=digest)
    predictor = load_predictor(bundle, allow_pickle=allow_pickle)
    check_golden_rows(bundle, predictor)
    golden = np.array([row.features for row in bundle.manifest.golden_rows], dtype=np.float32)
    for rows in _BATCHES:
        batch = np.ascontiguousarray(np.resize(golden, (rows, golden.shape[1])))
        with refusing_failures(bundle, f"predicting {rows} rows"):
            _check_rows(bundle, predictor, batch)


def _check_rows(
    bundle: Bundle, predictor: Predictor, batch: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"
) -> None:
    outputs = predictor.predict(batch)
    found = len(_first(outputs))
    if found != len(batch):
        raise BundleError(str(bundle.path), f"{len(batch)} rows give {found} outputs")


def _first(outputs: Outputs) -> "np.ndarray[tuple[int, ...], np.dtype[np.floating]]":
    first = outputs.values if outputs.probabilities is None else outputs.probabilities
    assert first is not None
    return first


def _refusal(error: BundleError | MemoryError, memory_bytes: int) -> dict[str, str]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or tells_out_of_memory(str(cause)):
            return {"reason": memory_reason(memory_bytes), "remedy": _REMEDY_MEMORY}
        cause = cause.__cause__
    assert isinstance(error, BundleError)
    return {"reason": error.reason, "remedy": error.remedy}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
