"""The types of a model file: what training stores and what servers read are one list."""

from inference.artifacts.trusted_types import TRUSTED_TYPES as SERVED
from training.bundling.trusted_types import BOOSTING_TYPES, TRUSTED_TYPES


def test_training_trusts_what_servers_trust() -> None:
    """Whatever is bundled can be served; boosted models, which servers do not trust, go by ONNX alone."""
    assert set(TRUSTED_TYPES) == set(SERVED)
    assert not set(BOOSTING_TYPES) & set(SERVED)
