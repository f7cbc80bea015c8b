"""The alarm of an evaluation: level, power, and rows of every kind."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from drift.alarm.calibration import EXACT_REFERENCE_ROWS, LEVELS, Calibration
from drift.alarm.verdict import SCOPES, Finding
from drift.rows import Reference, Rows, Schema

AsReference = Callable[..., Reference]
NormalRows = Callable[..., Rows]


def raised(finding: Finding) -> list[str]:
    return [scope for scope in SCOPES if finding.exceeds(scope)]


def test_levels_are_one_in_a_hundred_together() -> None:
    """Every scope has one, and chance alone raises any of them in less than 1 % of the evaluations."""
    assert set(LEVELS) == set(SCOPES)
    assert sum(LEVELS.values()) <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("reference_rows", "rows"), [(60, 30), (200, 1000)])
def test_false_findings_stay_below_the_level(
    as_reference: AsReference, normal_rows: NormalRows, reference_rows: int, rows: int
) -> None:
    """Of 200 windows without a change about 1 % is found at most: the bound is crossed once in a million runs.

    Each has a reference of its own: against one unlucky reference all windows would be unlucky together.
    """
    random = np.random.default_rng(7)
    found = 0
    for seed in range(200):
        calibration = Calibration(as_reference(normal_rows(random, reference_rows)), seed)
        found += bool(raised(calibration.test(normal_rows(random, rows))))
    assert found <= binom.isf(1e-6, 200, 0.01)


@pytest.mark.parametrize("reference_rows", [1000, EXACT_REFERENCE_ROWS + 1])
def test_a_shift_of_one_deviation_is_found(
    as_reference: AsReference, normal_rows: NormalRows, reference_rows: int
) -> None:
    """One feature of four, shifted by its deviation, is found in all of ten windows of 200, and it is named."""
    random = np.random.default_rng(8)
    calibration = Calibration(as_reference(normal_rows(random, reference_rows)))
    for _ in range(10):
        current = normal_rows(random, 200)
        current.features[:, 2] += np.sqrt(2)
        finding = calibration.test(current)
        assert finding.exceeds("features")
        assert min(finding.feature_p_values, key=finding.feature_p_values.__getitem__) == "feature_2"


def test_scopes_speak_for_themselves(as_reference: AsReference, normal_rows: NormalRows) -> None:
    """Other labels are found for the prediction alone, other correlations for the features together alone."""
    random = np.random.default_rng(9)
    calibration = Calibration(as_reference(normal_rows(random, 20_000)))
    window = normal_rows(random, 300)
    assert raised(calibration.test(window)) == []
    turned = Rows(window.features, np.full(300, "yes", dtype=object))
    assert raised(calibration.test(turned)) == ["prediction"]
    mixed = window.features.copy()
    mixed[:, 3] = random.permutation(mixed[:, 3])
    assert raised(calibration.test(Rows(mixed, window.predictions))) == ["joint"]


def test_unknown_labels_are_found(as_reference: AsReference, normal_rows: NormalRows) -> None:
    """A label that the reference does not have counts for the prediction."""
    random = np.random.default_rng(10)
    calibration, window = Calibration(as_reference(normal_rows(random, 1000))), normal_rows(random, 100)
    window.predictions[:15] = "perhaps"
    assert calibration.test(window).exceeds("prediction")


def test_numbers_are_compared_as_numbers(as_reference: AsReference) -> None:
    """Regression: predictions shifted by a deviation are found, the same ones are not."""
    random = np.random.default_rng(11)
    reference = Rows(random.normal(size=(500, 1)), random.normal(size=500))
    calibration = Calibration(as_reference(reference, "number"))
    features, numbers = random.normal(size=(100, 1)), random.normal(size=100)
    assert raised(calibration.test(Rows(features, numbers))) == []
    assert raised(calibration.test(Rows(features, numbers + 1))) == ["prediction"]


def test_a_swapped_mix_of_texts_is_found(as_reference: AsReference) -> None:
    """Codes of texts are compared without an order; texts that are new count too."""
    random = np.random.default_rng(12)
    labels = np.full(1000, "a", dtype=object)
    codes = random.choice(3, 1000, p=[0.6, 0.3, 0.1]).astype(float)
    calibration = Calibration(as_reference(Rows(codes[:, None], labels), categories=(("x", "y", "z"),)))
    window = codes[:200]
    assert raised(calibration.test(Rows(window[:, None], labels[:200]))) == []
    for turned in (2 - window, np.where(window == 2, 3, window)):
        assert raised(calibration.test(Rows(turned[:, None], labels[:200]))) == ["features"]


def test_one_feature_has_no_joint_scope(as_reference: AsReference, normal_rows: NormalRows) -> None:
    """Where there are no pairs the joint p-value is 1."""
    random = np.random.default_rng(13)
    calibration = Calibration(as_reference(normal_rows(random, 100, columns=1)))
    assert calibration.test(normal_rows(random, 50, columns=1)).p_values["joint"] == 1


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(2, 60), seed=st.integers(0, 2**32 - 1))
def test_constant_data_is_never_found(rows: int, seed: int) -> None:
    """When all rows are equal every draw is a tie, so that p = 1 exactly."""
    same = Rows(np.ones((rows, 2)), np.full(rows, "a", dtype=object))
    finding = Calibration(Reference(Schema(("feature_0", "feature_1"), "label"), same, rows), seed).test(same)
    assert set(finding.p_values.values()) == set(finding.feature_p_values.values()) == {1.0}


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), reference_rows=st.integers(1, 40), rows=st.integers(1, 80))
def test_rows_of_every_kind_have_p_values(seed: int, reference_rows: int, rows: int) -> None:
    """Missing values, infinities, constants, ties, new texts and labels, one row: numbers in (0, 1], no warning."""
    random = np.random.default_rng(seed)
    values = [np.nan, np.inf, -np.inf, 0.0, 1.0, 1e300, -1e-300]

    def draw(count: int) -> Rows:
        features = np.stack(
            [
                random.choice(values, count),
                np.full(count, np.nan),
                np.full(count, random.choice([1.0, 2.0])),
                random.choice([0.0, 1.0, 2.0, np.nan], count),
            ],
            axis=1,
        )
        return Rows(features, random.choice(np.array(["a", "b", "c"], dtype=object), count))

    names = tuple(f"feature_{place}" for place in range(4))
    schema = Schema(names, "label", ((), (), (), ("x", "y")))
    finding = Calibration(Reference(schema, draw(reference_rows), reference_rows)).test(draw(rows))
    assert tuple(finding.feature_p_values) == names
    assert all(
        0 < p_value <= 1 for p_value in (*finding.p_values.values(), *finding.feature_p_values.values())
    )


def test_the_same_rows_give_the_same_answer(as_reference: AsReference, normal_rows: NormalRows) -> None:
    """Everything is seeded, the sampling of large windows and the second, exact test included."""
    random = np.random.default_rng(14)
    reference = as_reference(normal_rows(random, 300))
    for shift in (0.0, 0.1):
        current = normal_rows(random, 3000)
        current.features[:, 0] += shift
        assert Calibration(reference).test(current) == Calibration(reference).test(current)


def test_preparing_while_testing(as_reference: AsReference, normal_rows: NormalRows) -> None:
    """Another thread may prepare other sizes, and the same one, meanwhile; answers are those of a single thread."""
    random = np.random.default_rng(15)
    reference = as_reference(normal_rows(random, 2000))
    windows = [normal_rows(random, rows) for rows in (30, 60, 90)]
    alone = [Calibration(reference).test(window) for window in windows]
    calibration = Calibration(reference)
    threads = [threading.Thread(target=calibration.prepare, args=(rows,)) for rows in (90, 60, 30, 90)]
    for thread in threads:
        thread.start()
    assert [calibration.test(window) for window in windows] == alone
    for thread in threads:
        thread.join()
