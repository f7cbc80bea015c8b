"""The setting that chooses methods: what it reads, and what it says of what it cannot read."""

import pytest

from drift.statistics import METHODS, Methods
from tests.drift.statistics.conftest import Evidently


def test_choices_are_read_by_column() -> None:
    """Columns have a method each, and perhaps a threshold."""
    methods = Methods.parse(" feature_3 = psi:0.2 , prediction=ks,")
    assert {column: (choice.method.name, choice.threshold) for column, choice in methods.choices.items()} == {
        "feature_3": ("psi", 0.2),
        "prediction": ("ks", None),
    }
    assert Methods.parse(methods.text) == methods
    assert methods.text == "feature_3=psi:0.2,prediction=ks"


def test_nothing_is_chosen_by_default() -> None:
    """An empty text is Evidently's defaults for all columns."""
    assert Methods.parse("") == Methods()
    assert Methods().of("feature_0", "numerical") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("feature_0=pse", r"'pse' is no method \(did you mean psi"),
        ("feature_0=nothing-like-it", "'nothing-like-it' is no method; there are anderson, chisquare"),
        ("feature_0", "'feature_0' is no choice of a method; write column=method"),
        ("=psi", "'=psi' is no choice"),
        ("feature_0=psi:much", "'much' is no threshold; give a number above 0"),
        ("feature_0=psi:nan", "'nan' is no threshold"),
        ("feature_0=psi:-1", "'-1' is no threshold"),
        ("feature_0=psi,feature_0=ks", "feature_0 has two methods"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(text: str, sentence: str) -> None:
    """A `ValueError`, so that the settings list it."""
    with pytest.raises(ValueError, match=sentence):
        Methods.parse(text)


def test_every_tabular_method_of_evidently_is_there(evidently: Evidently) -> None:
    """All names that Evidently registers, but those for texts."""
    from evidently.legacy.calculations.stattests.registry import _registered_stat_tests as registered

    assert set(METHODS) == {name for name in registered if "text_content" not in name}
