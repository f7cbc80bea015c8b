"""What is fuzzed: a law over bytes, and the sound bytes that fuzzing starts from."""

from collections.abc import Callable
from typing import Final, NamedTuple

from tests.property.laws import check_infer, check_manifest, check_predict, check_predict_json
from tests.property.seeds import INFER, MANIFEST, PREDICT, PREDICT_JSON

__all__ = ["TARGETS", "Target"]


class Target(NamedTuple):
    """One thing to fuzz; `check` raises when a law does not hold."""

    check: Callable[[bytes], str]
    seeds: tuple[bytes, ...]


TARGETS: Final = {
    "predict": Target(check_predict, PREDICT),
    "infer": Target(check_infer, INFER),
    "predict-json": Target(check_predict_json, PREDICT_JSON),
    "manifest": Target(check_manifest, (MANIFEST, MANIFEST.replace(b'"name"', rb'"\ud800"', 1))),
}
