"""From a validated table to a compiled model: estimator, fit, gates, ONNX, parity."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from protos.inference.v1.manifest_pb2 import ModelMetrics
from training.bundling.compile import CompileError, OnnxModel, compile_to_onnx
from training.bundling.parity import compare_outputs, parity_bound, probe_rows
from training.configuration.sections import GatesSection
from training.errors import ContractError, EstimatorError, ExitCode, GateError
from training.fitting.estimator import plan_estimator
from training.fitting.fit import FittedModel
from training.judging.gates import judge_gates, require_gates

Fit = Callable[..., FittedModel]


def estimator(name: str, **parameters: object) -> dict[str, object]:
    return {"class": f"sklearn.{name}", "parameters": parameters}


@pytest.fixture
def numbers() -> dict[str, object]:
    """A regression table with a float and an integer feature, as a [dataset] section."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame({"a": random.random(120), "n": np.arange(120) % 9})
    frame["y"] = 3 * frame["a"] - frame["n"] + 100
    frame.to_csv("numbers.csv", index=False)
    return {"source": "numbers.csv", "target": "y"}


@pytest.mark.parametrize(
    ("path", "parameters", "reason"),
    [
        (
            "sklearn.ensemble.RandomForrestClassifier",
            {},
            "did you mean sklearn.ensemble.RandomForestClassifier",
        ),
        ("sklearn.nowhere.Thing", {}, "No module named 'sklearn.nowhere'"),
        ("sklearn.preprocessing.StandardScaler", {}, "neither a classifier nor a regressor"),
        ("os.path.join", {}, "not a scikit-learn estimator class"),
        ("sklearn.pipeline.Pipeline", {}, "missing 1 required"),
        ("sklearn.svm.LinearSVC", {}, "no predict_proba"),
        ("sklearn.linear_model.Ridge", {"alfa": 1}, "no parameter 'alfa'; did you mean alpha"),
    ],
)
def test_estimator_that_cannot_be_used_is_a_sentence(
    path: str, parameters: dict[str, object], reason: str
) -> None:
    """What was asked, what exists and what to do, before any data is read."""
    with pytest.raises(EstimatorError, match=reason):
        plan_estimator(path, parameters, 1)


def test_seed_reaches_the_estimator_unless_it_says_otherwise() -> None:
    """random_state is the seed by default, the user's value when there is one."""
    path = "sklearn.ensemble.RandomForestClassifier"
    assert plan_estimator(path, {}, 5).parameters == {"random_state": 5}
    assert plan_estimator(path, {"random_state": 6}, 5).parameters == {"random_state": 6}
    assert plan_estimator("sklearn.neighbors.KNeighborsClassifier", {}, 5).parameters == {}


def test_function_may_build_the_estimator(fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parameters are those of the configuration, and every part of what it returns gets the seed."""
    (tmp_path / "own_models.py").write_text(
        "from sklearn.ensemble import RandomForestClassifier, VotingClassifier\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "from sklearn.pipeline import make_pipeline\n"
        "from sklearn.preprocessing import StandardScaler\n"
        "def build(trees=3):\n"
        "    line = make_pipeline(StandardScaler(), LogisticRegression(random_state=1))\n"
        "    forest = RandomForestClassifier(trees)\n"
        "    return VotingClassifier([('line', line), ('forest', forest)], voting='soft')\n"
        "def broken():\n"
        "    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    section = {"class": "own_models.build", "parameters": {"trees": 4}}
    built = plan_estimator("own_models.build", {"trees": 4}, 9).build().get_params()
    assert (built["forest__random_state"], built["forest__n_estimators"]) == (9, 4)
    assert built["line__logisticregression__random_state"] == 1
    model, again = fit(estimator=section), fit(estimator=section)
    assert compile_to_onnx(model) == compile_to_onnx(again)
    with pytest.raises(EstimatorError, match="no parameter 'tree'; did you mean trees"):
        plan_estimator("own_models.build", {"tree": 4}, 9)
    with pytest.raises(EstimatorError, match="and gave a int"):
        plan_estimator("own_models.broken", {}, 9)


def test_wrong_parameter_value_and_small_table_are_sentences(fit: Fit, numbers: dict[str, object]) -> None:
    """scikit-learn's own refusals arrive as errors of ours."""
    with pytest.raises(EstimatorError, match="n_estimators"):
        fit(estimator=estimator("ensemble.RandomForestClassifier", n_estimators=-1))
    with pytest.raises(ContractError, match=r"test_ratio = 0\.01"):
        fit(split={"test_ratio": 0.01})


def test_split_is_stratified_and_repeatable(fit: Fit, iris_model: FittedModel) -> None:
    """Each class keeps its share on both sides; the same seed gives the same rows and figures."""
    species = iris_model.table.frame["species"].to_numpy()
    assert np.unique(species[iris_model.train_rows], return_counts=True)[1].tolist() == [40, 40, 40]
    assert (iris_model.metrics.train_rows, iris_model.metrics.test_rows) == (120, 30)
    again = fit()
    assert again.metrics == iris_model.metrics
    assert fit(split={"seed": 8}).metrics != iris_model.metrics


def test_model_speaks_in_the_original_labels(iris_model: FittedModel) -> None:
    """Whoever loads the model with stock tools gets labels; class indexes are places in `classes_`."""
    inputs = iris_model.inputs().iloc[[0, 60, 140]]
    assert iris_model.estimator.predict(inputs).tolist() == ["setosa", "versicolor", "virginica"]
    assert iris_model.predict(inputs).tolist() == [0, 1, 2]


def test_whoever_writes_to_the_inputs_changes_a_copy(iris_model: FittedModel) -> None:
    """They are made once; a model that writes to what it is given leaves them to others as they were."""
    before = iris_model.inputs()
    spoilt = iris_model.inputs()
    spoilt.iloc[:, 0] = -1
    spoilt["more"] = 0
    pd.testing.assert_frame_equal(iris_model.inputs(), before)


def test_gates_ask_what_the_model_has() -> None:
    """A limit applies when the metric exists and the limit is set; the refusal has every failed gate."""
    gates = GatesSection(accuracy=0.9, f1_macro=0.9)
    found = judge_gates(ModelMetrics(accuracy=0.8, f1_macro=0.7), gates)
    with pytest.raises(GateError, match=r"accuracy 0\.8000 is below 0\.9, f1_macro 0\.7000 is below 0\.9"):
        require_gates("iris", found)
    assert judge_gates(ModelMetrics(r2=0.1), gates) == []
    require_gates("iris", judge_gates(ModelMetrics(accuracy=0.9), GatesSection(accuracy=0.9)))


@given(accuracy=st.floats(), limit=st.floats(min_value=0, max_value=1))
def test_law_gate_passes_exactly_at_or_above_its_limit(accuracy: float, limit: float) -> None:
    """No number, and not even NaN, slips through a gate."""
    (gate,) = judge_gates(ModelMetrics(accuracy=accuracy), GatesSection(accuracy=limit))
    assert gate.passed == (accuracy >= limit)


def test_onnx_has_the_agreed_inputs_and_outputs(iris_model: FittedModel) -> None:
    """float32 `input` in; int64 class index and float32 probabilities out; no newer operator sets than agreed."""
    content = compile_to_onnx(iris_model)
    model = onnx.load_from_string(content)
    assert [entry.name for entry in model.graph.input] == ["input"]
    assert [entry.name for entry in model.graph.output] == ["label", "probabilities"]
    versions = {entry.domain: entry.version for entry in model.opset_import}
    assert versions[""] <= 18  # the converter names the least version that its operators need
    assert versions["ai.onnx.ml"] <= 3
    label, probabilities = OnnxModel(content).run(iris_model.inputs().to_numpy())
    assert (label.dtype, label.shape) == (np.int64, (150,))
    assert (probabilities.dtype, probabilities.shape) == (np.float32, (150, 3))


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(min_value=0, max_value=2**31 - 1), depth=st.integers(min_value=1, max_value=4))
def test_law_same_data_and_seed_give_the_same_onnx(fit: Fit, seed: int, depth: int) -> None:
    """ONNX bytes are a function of data, parameters and seed, and agree with scikit-learn."""
    sections = {
        "split": {"seed": seed},
        "estimator": estimator("ensemble.RandomForestClassifier", n_estimators=3, max_depth=depth),
    }
    model, again = fit(**sections), fit(**sections)
    content = compile_to_onnx(model)
    assert content == compile_to_onnx(again)
    assert compare_outputs(model, OnnxModel(content), seed).passed


@pytest.mark.slow
def test_onnx_is_the_same_in_every_process(tmp_path: Path) -> None:
    """The order of sets, which changes from process to process, does not reach the bytes."""
    config = tmp_path / "c.toml"
    text = '[estimator]\nclass = "sklearn.ensemble.GradientBoostingClassifier"\nparameters = {n_estimators = 3}\n'
    config.write_text(text)
    code = (
        "import hashlib; from pathlib import Path; from training.configuration.config import load_config\n"
        "from training import pipeline; from training.bundling import compile; from training.fitting import fit\n"
        f"config = load_config(Path({str(config)!r}))\n"
        "plan = pipeline.plan_estimator(config.estimator.class_path, config.estimator.parameters, 1)\n"
        "model = fit.fit_model(pipeline.check_data(config).require_valid(), plan, config.split)\n"
        "raise SystemExit(hashlib.sha256(compile.compile_to_onnx(model)).hexdigest())\n"
    )
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        digests.add(done.stderr.strip())
    assert len(digests) == 1
    assert len(digests.pop()) == 64


@pytest.mark.parametrize(
    "section",
    [
        estimator("linear_model.LogisticRegression", max_iter=1000),
        estimator("ensemble.GradientBoostingClassifier", n_estimators=3),
        estimator("ensemble.ExtraTreesClassifier", n_estimators=10),
        estimator("tree.DecisionTreeClassifier"),
        estimator("ensemble.HistGradientBoostingClassifier", max_iter=20),
    ],
    ids=lambda section: str(section["class"]),
)
def test_parity_holds_for_common_classifiers(fit: Fit, section: dict[str, object]) -> None:
    """Labels are equal on every probed row and probabilities within the bound."""
    model = fit(estimator=section)
    parity = compare_outputs(model, OnnxModel(compile_to_onnx(model)), seed=1)
    assert (parity.passed, parity.mismatches, parity.reason) == (True, 0, "")
    assert parity.max_difference <= parity_bound(model) == 1e-5


@pytest.mark.parametrize("name", ["ensemble.RandomForestRegressor", "linear_model.LinearRegression"])
def test_parity_holds_for_regressors(fit: Fit, numbers: dict[str, object], name: str) -> None:
    """Values are compared relative to their spread."""
    model = fit(dataset=numbers, estimator=estimator(name))
    assert model.metrics.r2 > 0.9
    assert not model.metrics.HasField("accuracy")
    parity = compare_outputs(model, OnnxModel(compile_to_onnx(model)), seed=1)
    assert parity.passed, parity.reason


def test_scaler_before_a_forest_is_caught(iris_model: FittedModel) -> None:
    """The known case where float32 moves values across splits: found by the probes, and told."""
    scaled = make_pipeline(StandardScaler(), iris_model.plan.build())
    target = iris_model.table.frame["species"].to_numpy(str)
    scaled.fit(iris_model.inputs(), target)
    model = FittedModel(scaled, iris_model.plan, iris_model.table, iris_model.train_rows, iris_model.metrics)
    parity = compare_outputs(model, OnnxModel(compile_to_onnx(model)), seed=1)
    assert not parity.passed
    assert "got another label from ONNX than from scikit-learn" in parity.reason


def test_model_of_somebody_else_is_caught(fit: Fit, iris_model: FittedModel) -> None:
    """A compiled model that belongs to another estimator never passes."""
    other = fit(estimator=estimator("ensemble.RandomForestClassifier", n_estimators=3))
    assert not compare_outputs(iris_model, OnnxModel(compile_to_onnx(other)), seed=1).passed


def test_probes_hit_thresholds_and_respect_whole_numbers(
    fit: Fit, iris_model: FittedModel, numbers: dict[str, object]
) -> None:
    """Thresholds appear exactly and one float beside; a feature of whole numbers gets no other value."""
    rows = probe_rows(iris_model, seed=1)
    tree = iris_model.estimator.estimators_[0].tree_
    threshold, feature = np.float32(tree.threshold[0]), tree.feature[0]
    for value in (threshold, np.nextafter(threshold, np.float32(9)), np.nextafter(threshold, np.float32(0))):
        assert value in rows[:, feature]
    assert (probe_rows(iris_model, seed=1) == rows).all()
    whole = probe_rows(fit(dataset=numbers, estimator=estimator("tree.DecisionTreeRegressor")), seed=1)[:, 1]
    assert (whole == np.rint(whole)).all()


def test_estimator_without_a_converter_has_a_reason(fit: Fit) -> None:
    """What skl2onnx cannot convert ends in one line, not in a traceback."""
    model = fit(estimator=estimator("semi_supervised.LabelSpreading"))
    with pytest.raises(CompileError, match="Unable to find a shape calculator for type") as caught:
        compile_to_onnx(model)
    assert "\n" not in str(caught.value)


def test_ties_are_no_mismatch(fit: Fit) -> None:
    """Where half of the trees say one thing and half the other, rounding chooses the label, and nobody is wrong."""
    bunch = load_breast_cancer(as_frame=True)
    bunch.frame.to_csv("cancer.csv", index=False)
    trees = estimator("ensemble.ExtraTreesClassifier", n_estimators=50)
    model = fit(dataset={"source": "cancer.csv", "target": "target"}, estimator=trees)
    rows, compiled = probe_rows(model, 1), OnnxModel(compile_to_onnx(model))
    other = compiled.run(rows)[0] != model.predict(model.inputs(rows))
    assert other.any()
    assert np.abs(model.probabilities(model.inputs(rows[other])) - 0.5).max() < 1e-9
    parity = compare_outputs(model, compiled, seed=1)
    assert parity.passed, parity.reason


#: Estimators that fail in every way that somebody else's code can.
_FAILING = """
import sys
import numpy as np
from sklearn.ensemble import RandomForestClassifier
def exits():
    sys.exit(3)
class Plain(RandomForestClassifier):
    def fit(self, X, y): raise Exception("plain words")
class Asserts(RandomForestClassifier):
    def fit(self, X, y): raise AssertionError
class Imports(RandomForestClassifier):
    def fit(self, X, y): import no_such_module
class Disk(RandomForestClassifier):
    def fit(self, X, y): raise OSError(28, "No space left on device", "/x")
class Leaves(RandomForestClassifier):
    def fit(self, X, y): sys.exit(4)
class Constructs(RandomForestClassifier):
    def __init__(self): raise RuntimeError("no licence")
"""


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `failing_models` that can be imported."""
    (tmp_path / "failing_models.py").write_text(_FAILING)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("failing")
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("exits", "it ends the process with exit code 3"),
        ("Plain", "Exception: plain words; correct"),
        ("Asserts", "used: AssertionError; correct"),
        ("Imports", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("Disk", "OSError: .*No space left on device"),
        ("Leaves", "it ends the process with exit code 4"),
        ("Constructs", "RuntimeError: no licence"),
    ],
)
def test_whatever_an_estimator_raises_is_its_error(fit: Fit, name: str, sentence: str) -> None:
    """Somebody else's code may raise anything, even leave the process: never a defect of ours, nor our disk."""
    with pytest.raises(EstimatorError, match=sentence) as caught:
        fit(estimator={"class": f"failing_models.{name}"})
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_module_that_fails_to_import_is_an_estimator_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it ends the process, or is no Python at all."""
    monkeypatch.syspath_prepend(tmp_path)
    for name, text, sentence in (
        ("leaving_module", "raise SystemExit(5)", "ends the process with exit code 5"),
        ("broken_module", "def", "SyntaxError"),
    ):
        (tmp_path / f"{name}.py").write_text(text)
        with pytest.raises(EstimatorError, match=f"importing {name} fails: .*{sentence}"):
            plan_estimator(f"{name}.Model", {}, 1)


def test_an_estimator_that_fails_on_rows_it_never_saw_is_refused(fit: Fit) -> None:
    """CategoricalNB counts the values of its fit: parity asks it for larger ones, and gets a sentence."""
    model = fit(dataset={"source": "iris"}, estimator={"class": "sklearn.naive_bayes.CategoricalNB"})
    larger = model.inputs() + 100
    for ask in (model.predict, model.probabilities):
        with pytest.raises(EstimatorError, match=r"IndexError: .*choose another estimator") as caught:
            ask(larger)
        assert caught.value.estimator == "sklearn.naive_bayes.CategoricalNB"
