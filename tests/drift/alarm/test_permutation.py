"""The alarm: exact distances, a false-alarm rate that holds, and power."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from drift.alarm.permutation import evaluate_alarm, ks_distance, total_variation
from drift.rows import PredictionKind, Reference, Rows, Schema

# Few distinct values, so that ties within and between the samples are the rule.
SAMPLES = st.lists(st.integers(-3, 3).map(float) | st.floats(-2, 2), min_size=1, max_size=40)


def normal_rows(random: np.random.Generator, count: int, shift: float = 0.0) -> Rows:
    """Four correlated normal features; the label depends on the first one."""
    features = random.normal(size=(count, 4)) + random.normal(size=(count, 1)) + shift
    labels = np.where(features[:, 0] > 0, "yes", "no").astype(object)
    return Rows(features, labels)


def as_reference(rows: Rows, kind: PredictionKind = "label") -> Reference:
    names = tuple(f"feature_{column}" for column in range(rows.features.shape[1]))
    return Reference(Schema(names, kind), rows, len(rows))


# About its p-value, which is not compared here: on some samples SciPy cannot compute it exactly.
@pytest.mark.filterwarnings("ignore:ks_2samp. Exact calculation:RuntimeWarning")
@given(reference=SAMPLES, current=SAMPLES)
def test_ks_distance_equals_scipy(reference: list[float], current: list[float]) -> None:
    """Our distance is SciPy's, ties included, to the last places of a float."""
    ours = ks_distance(np.array(reference), np.array(current))
    assert ours == pytest.approx(ks_2samp(reference, current).statistic, abs=1e-12)


@given(sample=SAMPLES, other=SAMPLES)
def test_ks_distance_is_a_distance(sample: list[float], other: list[float]) -> None:
    """It is 0 of a sample to itself, symmetric, and never beyond 1."""
    first, second = np.array(sample), np.array(other)
    assert ks_distance(first, first) == 0
    assert ks_distance(first, second) == ks_distance(second, first) <= 1


def test_missing_values_count_as_a_value() -> None:
    """A feature that loses half of its values moves by half, instead of dropping out of the comparison."""
    reference = np.array([1.0, 2.0, 3.0, 4.0])
    assert ks_distance(reference, np.array([np.nan, np.nan, 3.0, 4.0])) == 0.5


def test_total_variation_by_hand() -> None:
    """Shares (3/4, 1/4) and (1/2, 0, 1/2) differ by half of 1/4 + 1/4 + 1/2; a sample from itself by 0."""
    reference = np.array(["a", "a", "a", "b"], dtype=object)
    current = np.array(["a", "c"], dtype=object)
    assert total_variation(reference, current) == pytest.approx(0.5)
    assert total_variation(reference, reference) == 0


@pytest.mark.parametrize(("reference_rows", "current_rows"), [(1000, 50), (60, 80)])
def test_false_alarms_stay_at_the_level(reference_rows: int, current_rows: int) -> None:
    """Of 200 windows without a change at most 2 % raise an alarm (the level is 1 %).

    Each has a reference of its own: against one unlucky reference all windows would be unlucky together.
    """
    random = np.random.default_rng(7)
    alarms = [
        evaluate_alarm(
            as_reference(normal_rows(random, reference_rows)), normal_rows(random, current_rows), seed=seed
        ).any
        for seed in range(200)
    ]
    assert sum(alarms) <= 4


def test_a_shift_of_one_deviation_is_found() -> None:
    """One feature of four, shifted by one standard deviation, alarms in more than 95 % of 100-row windows."""
    random = np.random.default_rng(8)
    reference = as_reference(normal_rows(random, 1000))
    found = 0
    for _ in range(100):
        current = normal_rows(random, 100)
        current.features[:, 2] += reference.rows.features[:, 2].std()
        alarm = evaluate_alarm(reference, current)
        found += alarm.features and min(alarm.feature_p_values, key=alarm.feature_p_values.__getitem__) == (
            "feature_2"
        )
    assert found > 95


def test_changed_labels_alarm_without_changed_features() -> None:
    """The two scopes are separate: new shares of labels alarm for `prediction` and `any` only."""
    random = np.random.default_rng(9)
    reference, current = normal_rows(random, 1000), normal_rows(random, 100)
    turned = Rows(current.features, np.full(100, "yes", dtype=object))
    alarm = evaluate_alarm(as_reference(reference), turned)
    assert (alarm.features, alarm.prediction, alarm.any) == (False, True, True)
    assert alarm.p_values["prediction"] == 0.001


def test_numbers_are_compared_as_numbers() -> None:
    """Regression: predictions shifted by a deviation alarm, the same ones do not."""
    random = np.random.default_rng(10)
    reference = Rows(random.normal(size=(500, 1)), random.normal(size=500))
    features = random.normal(size=(100, 1))
    quiet = evaluate_alarm(as_reference(reference, "number"), Rows(features, random.normal(size=100)))
    shifted = evaluate_alarm(as_reference(reference, "number"), Rows(features, random.normal(size=100) + 1))
    assert (quiet.prediction, shifted.prediction) == (False, True)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(2, 60), seed=st.integers(0, 2**32 - 1))
def test_constant_data_never_alarms(rows: int, seed: int) -> None:
    """When all rows are equal every draw is a tie, so that p = 1 exactly."""
    same = Rows(np.ones((rows, 2)), np.full(rows, "a", dtype=object))
    alarm = evaluate_alarm(as_reference(same), same, seed=seed)
    assert not alarm.any
    assert set(alarm.p_values.values()) == set(alarm.feature_p_values.values()) == {1.0}


def test_the_same_rows_give_the_same_answer() -> None:
    """The test is seeded, sampling of large windows included."""
    random = np.random.default_rng(11)
    reference, current = as_reference(normal_rows(random, 300)), normal_rows(random, 3000)
    assert evaluate_alarm(reference, current) == evaluate_alarm(reference, current)


def test_it_is_fast_enough_for_every_evaluation() -> None:
    """150 current rows against 5000 reference rows of 4 features take less than 2 s."""
    random = np.random.default_rng(12)
    reference, current = as_reference(normal_rows(random, 5000)), normal_rows(random, 150)
    started = time.process_time()
    evaluate_alarm(reference, current)
    assert time.process_time() - started < 2
