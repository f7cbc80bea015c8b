"""Plans: defaults, files, and every problem of a file at once."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout import ExitCode, Plan, Step, load_plan
from rollout.errors import PlanError

ROOT = Path(__file__).resolve().parents[2]


def written(directory: Path, text: str) -> Path:
    path = directory / "plan.toml"
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(path: Path) -> list[str]:
    with pytest.raises(PlanError) as caught:
        load_plan(path)
    assert caught.value.exit_code is ExitCode.USAGE
    assert str(path) in str(caught.value)
    return caught.value.problems


def test_without_a_file_the_default_plan_is_careful() -> None:
    """Three growing weights, every check, one percent of false aborts."""
    plan = load_plan(None)
    assert [step.weight for step in plan.steps] == [5, 25, 50]
    assert all(check.enabled for _, check in plan.checks)
    assert plan.alpha == 0.01


def test_an_empty_file_is_the_default_plan(tmp_path: Path) -> None:
    """Every key has a default."""
    assert load_plan(written(tmp_path, "")) == Plan()


def test_a_file_sets_what_it_names(tmp_path: Path) -> None:
    """Keys of the file win, the others keep their defaults."""
    text = "alpha = 0.05\nsteps = [{ weight = 10, min_requests = 7 }]\n[checks.latency]\nenabled = false\n"
    plan = load_plan(written(tmp_path, text))
    assert (plan.alpha, plan.steps) == (0.05, (Step(weight=10, min_requests=7),))
    assert not plan.checks.latency.enabled
    assert plan.checks.agreement.enabled


def test_the_plan_of_the_demo_is_one(tmp_path: Path) -> None:
    """The plan that ships loads."""
    assert load_plan(ROOT / "rollout" / "demo" / "plan.toml").steps


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    """Unknown keys and wrong values are each named by where they stand."""
    text = """
alpha = 2
wieght = 3
steps = [{ weight = 0 }, { weight = 50, min_seconds = 9, max_seconds = 3 }, { min_requests = 1 }]
[checks.accuracy]
minimum = "high"
"""
    problems = problems_of(written(tmp_path, text))
    assert [problem.split(":")[0] for problem in problems] == [
        "steps.0.weight",
        "steps.1",
        "steps.2.weight",
        "checks.accuracy.minimum",
        "alpha",
        "wieght",
    ]
    assert problems[1] == "steps.1: min_seconds 9 is above max_seconds 3"
    assert problems[-1] == "wieght: no such key"


@pytest.mark.parametrize("weights", [(5, 5), (25, 5), (1, 50, 49)])
def test_weights_that_do_not_grow_are_refused(tmp_path: Path, weights: tuple[int, ...]) -> None:
    """A step that repeats a weight or goes back is a mistake."""
    steps = ", ".join(f"{{ weight = {weight} }}" for weight in weights)
    (problem,) = problems_of(written(tmp_path, f"steps = [{steps}]"))
    assert "weights must grow" in problem
    assert str(list(weights)) in problem


@pytest.mark.parametrize("weight", [0, 100, -5, 101])
def test_a_step_leaves_something_to_compare(tmp_path: Path, weight: int) -> None:
    """At weight 100 stable would take no call, so that nothing could be judged."""
    (problem,) = problems_of(written(tmp_path, f"steps = [{{ weight = {weight} }}]"))
    assert problem.startswith("steps.0.weight")


@pytest.mark.parametrize("text", ["steps = []", "alpha = nan", "poll_seconds = 0", "deadline_seconds = -1"])
def test_a_plan_that_cannot_end_well_is_refused(tmp_path: Path, text: str) -> None:
    """No steps, no level, no time: refused."""
    assert len(problems_of(written(tmp_path, text))) == 1


def test_a_file_that_is_missing_or_no_toml_is_one_sentence(tmp_path: Path) -> None:
    """The file is named, and what is wrong with it."""
    assert problems_of(tmp_path / "none.toml") == ["it cannot be read: No such file or directory"]
    assert problems_of(tmp_path) == ["it cannot be read: Is a directory"]
    assert "not valid TOML" in problems_of(written(tmp_path, "steps = ["))[0]
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'# "\xff"')
    assert "not valid TOML" in problems_of(latin)[0]


def test_equal_plans_have_equal_digests_however_they_are_written(tmp_path: Path) -> None:
    """The digest is of the content: order, number form and defaults written out do not change it."""
    one = load_plan(written(tmp_path, "alpha = 0.01\npoll_seconds = 1\n[checks.error_rate]\nenabled = true"))
    assert one.digest == Plan().digest
    assert load_plan(written(tmp_path, "alpha = 0.02")).digest != one.digest


@given(st.sets(st.integers(1, 99), min_size=1, max_size=10))
def test_any_growing_weights_are_a_plan(weights: set[int]) -> None:
    """Every strictly growing list of percentages is accepted, in its order."""
    steps = tuple(Step(weight=weight) for weight in sorted(weights))
    assert Plan(steps=steps).steps == steps


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("steps = [{ weight = true }]", "steps.0.weight"),
        ('steps = [{ weight = "5" }]', "steps.0.weight"),
        ("steps = [{ weight = 5.0 }]", "steps.0.weight"),
        ('[checks.latency]\nenabled = "off"', "checks.latency.enabled"),
        ('alpha = "0.01"', "alpha"),
        ("alpha = 1e-7", "alpha"),
        ("deadline_seconds = 14", "plan: deadline_seconds 14 is below the 15 s that the steps'"),
        ("[checks.agreement]\nminimum = 0.0", "checks.agreement.minimum"),
        (
            "".join(
                f"[checks.{name}]\nenabled = false\n"
                for name in ("error_rate", "latency", "accuracy", "agreement")
            ),
            "checks: every check is off",
        ),
    ],
)
def test_a_plan_that_means_something_else_than_it_says_is_refused(
    tmp_path: Path, text: str, problem: str
) -> None:
    """Other types are not taken for what they might mean, and nothing that could never pass or fail is begun."""
    (found,) = problems_of(written(tmp_path, text))
    assert found.startswith(problem)


@pytest.mark.parametrize("text", ["alpha = " + "1" * 5000, "steps = " + "[" * 100_000])
def test_numbers_and_lists_beyond_all_measure_are_one_sentence(tmp_path: Path, text: str) -> None:
    """Python's own limits of digits and of depth end in a sentence as well."""
    (problem,) = problems_of(written(tmp_path, text))
    assert problem.startswith("it is not valid TOML")


def test_integers_stand_for_numbers_with_a_point(tmp_path: Path) -> None:
    """TOML's 60 is as good as 60.0 for seconds."""
    assert load_plan(written(tmp_path, "deadline_seconds = 60")).deadline_seconds == 60
