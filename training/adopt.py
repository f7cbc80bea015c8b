"""`python -m training.adopt`: a plain MLflow scikit-learn model becomes a bundle that a server can trust.

The server's fetching process runs it for a model version that somebody registered with
`mlflow.sklearn.log_model` and so without a manifest: one JSON object on standard input, one line of JSON back.
The line is `{}` when the directory is a bundle now, or has the `reason` and the `remedy` of a refusal. The
digest of the bundle depends on the model, the metrics and the versions of the libraries alone.
"""

import contextlib
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Order", "adopt", "main"]

_PARENT_CHECK_SECONDS: Final = 0.25
#: Seed of the rows that the model is compared on.
_SEED: Final = 0


@dataclass(frozen=True)
class Order:
    """What shall be adopted.

    `directory` has the files of the model, and becomes the bundle. `trusted_types` are the types that the
    server builds from a skops file; the artifact's own list is not read.
    """

    directory: Path
    name: str
    run_id: str
    metrics: Mapping[str, float]
    allow_pickle: bool
    trusted_types: Sequence[str]

    @classmethod
    def from_json(cls, text: str) -> "Order":
        """Read what the fetching process writes."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**{**fields, "directory": Path(fields["directory"])})


def adopt(order: Order) -> None:
    """Write `model.onnx` (if it passes parity), `metrics.json` and `manifest.json` beside the model.

    Raises `BundleError` for a model that cannot be adopted.
    """
    # Not before the request is read: these take seconds.
    from training.bundling.bundle import METRICS_FILE, write_compiled  # noqa: PLC0415
    from training.bundling.manifest import MANIFEST_FILE, build_manifest, list_files, message_to_json  # noqa: PLC0415
    from training.bundling.plain import known_metrics, read_plain, trace_plain  # noqa: PLC0415
    from training.storage import write_atomically  # noqa: PLC0415

    plain = read_plain(order.directory, order.name, order.trusted_types, allow_pickle=order.allow_pickle)
    parity = write_compiled(order.directory, plain.model, _SEED)
    metrics = known_metrics(plain.model, order.metrics)
    if metrics is not None:
        write_atomically(order.directory / METRICS_FILE, message_to_json(metrics))
    manifest = build_manifest(
        plain.model,
        name=order.name,
        sklearn_file=plain.sklearn_file,
        files=list_files(order.directory),
        lineage=trace_plain(plain, order.run_id),
        parity=parity,
        golden=plain.example_rows,
    )
    write_atomically(order.directory / MANIFEST_FILE, message_to_json(manifest))


def main(parent: int) -> int:
    """Answer the order on standard input with one line on standard output; end when `parent` does."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # what libraries print is no answer
        order = Order.from_json(sys.stdin.read())
        from training.errors import BundleError, StorageError  # noqa: PLC0415

        answer: dict[str, str] = {}
        with warnings.catch_warnings():
            # The model is somebody else's; what it warns of, its author has seen.
            warnings.simplefilter("ignore")
            try:
                adopt(order)
            except (BundleError, StorageError) as error:
                answer = {"reason": error.reason, "remedy": error.remedy}
        answers.write(f"{json.dumps(answer)}\n")
    return 0


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        sys.exit(main(int(sys.argv[1])))
