"""XGBoost and LightGBM: estimators like any other, served by ONNX."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io

from protos.inference.v1.manifest_pb2 import Runtime
from tests.training.mixed_tables import mixed_frame, mixed_sections
from training.bundling.bundle import build_bundle
from training.bundling.compile import OnnxModel, compile_to_onnx
from training.bundling.converters import float32_floor
from training.bundling.parity import compare_outputs
from training.bundling.thresholds import splits
from training.errors import EstimatorError
from training.fitting.estimator import plan_estimator
from training.fitting.fit import FittedModel
from training.fitting.preprocessing import matrix_part

Fit = Callable[..., FittedModel]

BOOSTERS = [
    ("xgboost.XGBClassifier", "y"),
    ("xgboost.XGBRegressor", "amount"),
    ("lightgbm.LGBMClassifier", "y"),
    ("lightgbm.LGBMRegressor", "amount"),
]


def boosted(path: str, target: str, **sections: Any) -> dict[str, Any]:  # noqa: ANN401 (of any section)
    return mixed_sections(target, estimator={"class": path, "parameters": {"n_estimators": 15}}, **sections)


@pytest.mark.parametrize(("path", "target"), BOOSTERS)
@pytest.mark.parametrize("preprocessing", [None, []], ids=["automatic", "none"])
def test_parity_holds(fit: Fit, path: str, target: str, preprocessing: list[Any] | None) -> None:
    """On rows at split thresholds too, with holes filled or left to the estimator, which sends them its own way."""
    pytest.importorskip(path.partition(".")[0])
    model = fit(**boosted(path, target, preprocessing=preprocessing))
    assert len(list(splits(matrix_part(model.estimator)))) > 50
    parity = compare_outputs(model, OnnxModel(compile_to_onnx(model)), seed=1)
    assert parity.passed, parity.reason


@pytest.mark.parametrize(("path", "target"), BOOSTERS[::2])
def test_bundle_keeps_labels_and_is_served_by_onnx(fit: Fit, path: str, target: str) -> None:
    """Whoever loads the model gets labels; the manifest has the package's version; the types are skops files."""
    package = path.partition(".")[0]
    pytest.importorskip(package)
    model = fit(**boosted(path, target))
    assert set(model.estimator.predict(model.inputs())) == {"no", "yes"}
    Path("b").mkdir()
    manifest = build_bundle(Path("b"), model, name="boosted", seed=7).manifest
    assert manifest.runtime == Runtime.RUNTIME_ONNX
    assert list(manifest.classes) == ["no", "yes"]
    assert any(name.startswith(package) for name in manifest.lineage.library_versions)
    assert any(name.startswith(package) for name in skops.io.get_untrusted_types(file="b/model.skops"))


@pytest.mark.parametrize(("path", "target"), BOOSTERS)
def test_columns_may_have_any_name(fit: Fit, path: str, target: str) -> None:
    """Numbers alone, called what XGBoost and LightGBM refuse in a name."""
    pytest.importorskip(path.partition(".")[0])
    names = {"length": 'le["n<g>th"]', "count": "c, ount"}
    frame = mixed_frame().dropna().rename(columns=names)
    frame.to_csv("odd.csv", index=False)
    dataset = {"source": "odd.csv", "target": target, "features": list(names.values())}
    model = fit(dataset=dataset, estimator={"class": path, "parameters": {"n_estimators": 5}})
    parity = compare_outputs(model, OnnxModel(compile_to_onnx(model)), seed=1)
    assert parity.passed, parity.reason


def test_booster_without_parity_is_refused(fit: Fit) -> None:
    """No server could run it: the reason and the way out, before anything is registered."""
    pytest.importorskip("xgboost")
    path = {"class": "xgboost.XGBClassifier", "parameters": {"n_estimators": 30}}
    scaler = [{"columns": ["numbers"], "steps": [{"class": "sklearn.preprocessing.StandardScaler"}]}]
    model = fit(estimator=path, preprocessing=scaler)
    Path("b").mkdir()
    with pytest.raises(EstimatorError, match=r"xgboost are served by ONNX only, and .* HistGradientBoosting"):
        build_bundle(Path("b"), model, name="boosted", seed=7)


def test_missing_package_names_the_extra() -> None:
    """In an environment without it, the sentence says what to install."""
    code = (
        "import sys; sys.modules['xgboost'] = None\n"  # what Python does with a package that is not there
        "from training.fitting.estimator import plan_estimator\n"
        "plan_estimator('xgboost.XGBClassifier', {}, 1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 'install it with the extra: pip install ".[boosting]" (xgboost)' in done.stderr


def test_number_of_threads_changes_nothing(fit: Fit) -> None:
    """The bytes of model.onnx are the same for one thread and for two."""
    for path, target in BOOSTERS:
        pytest.importorskip(path.partition(".")[0])
        contents = set()
        for jobs in (1, 2):
            parameters = {"n_estimators": 5, "n_jobs": jobs}
            sections = mixed_sections(target, estimator={"class": path, "parameters": parameters})
            contents.add(compile_to_onnx(fit(**sections)))
        assert len(contents) == 1, path


def test_float32_floor_is_never_above() -> None:
    """`x <= t` and `x <= floor(t)` agree for every float32 x: at the floor, and one above it."""
    random = np.random.default_rng(1)
    values = np.concatenate(
        [random.normal(size=500) * 10.0 ** random.integers(-30, 30, 500), [0.0, 1.0, 0.1]]
    )
    floor = float32_floor(values)
    assert (floor == floor.astype(np.float32)).all()
    assert (floor <= values).all()
    assert (np.nextafter(floor.astype(np.float32), np.float32(np.inf)).astype(np.float64) > values).all()


def test_open_parameters_are_passed_on() -> None:
    """LightGBM takes names that its signature does not have; XGBoost's are in its parameters."""
    pytest.importorskip("lightgbm")
    plan = plan_estimator("lightgbm.LGBMClassifier", {"feature_fraction": 0.5}, 3)
    assert plan.parameters["feature_fraction"] == 0.5
    assert json.loads(json.dumps(dict(plan.parameters)))["random_state"] == 3


@pytest.mark.parametrize(
    ("path", "wrong", "near"),
    [
        ("lightgbm.LGBMClassifier", "num_leavs", "num_leaves"),
        ("lightgbm.LGBMRegressor", "learning_rat", "learning_rate"),
        ("xgboost.XGBClassifier", "max_dept", "max_depth"),
        ("xgboost.XGBRegressor", "quantile_alfa", "quantile_alpha"),
    ],
)
def test_misspelt_parameters_are_refused(path: str, wrong: str, near: str) -> None:
    """Although the classes take any keyword; the nearest name is offered, and where all are documented."""
    pytest.importorskip(path.partition(".")[0])
    with pytest.raises(EstimatorError, match=rf"no parameter '{wrong}'; did you mean {near}\? see https://"):
        plan_estimator(path, {wrong: 1}, 3)


@pytest.mark.parametrize("path", [path for path, _ in BOOSTERS])
def test_one_thread_unless_asked_for_more(path: str) -> None:
    """By any name that the package has for it."""
    pytest.importorskip(path.partition(".")[0])
    assert plan_estimator(path, {}, 3).parameters["n_jobs"] == 1
    assert plan_estimator(path, {"n_jobs": 2}, 3).parameters["n_jobs"] == 2
    assert "n_jobs" not in plan_estimator(path, {"nthread": 2}, 3).parameters
    assert "n_jobs" not in plan_estimator("sklearn.ensemble.RandomForestClassifier", {}, 3).parameters
