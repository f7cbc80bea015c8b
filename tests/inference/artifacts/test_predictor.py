"""Loading models: what loads predicts as training said, and what could run code is refused."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression, TweedieRegressor
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from inference.artifacts import check_golden_rows, load_predictor, read_bundle
from inference.errors import BundleError
from tests.inference.artifacts.bundle_kit import Fields, Kit, seal, write_bundle

X, Y = load_iris(return_X_y=True)


@pytest.mark.parametrize(
    ("name", "runtime"),
    [("forest", "onnx"), ("boosting", "sklearn"), ("regression", "onnx"), ("sklearn regression", "sklearn")],
)
def test_golden_rows_pass(bundles: dict[str, Path], name: str, runtime: str) -> None:
    """A model of each kind and runtime loads and gives the outputs that training recorded."""
    bundle = read_bundle(bundles[name])
    predictor = load_predictor(bundle)
    assert predictor.runtime == runtime
    check_golden_rows(bundle, predictor)


def test_classifier_outputs(bundles: dict[str, Path]) -> None:
    """A classifier gives class indices (rows,) and float32 probabilities (rows, classes), and no values."""
    outputs = load_predictor(read_bundle(bundles["forest"])).predict(X[::40].astype(np.float32))
    assert outputs.class_index is not None
    assert outputs.probabilities is not None
    assert (outputs.class_index.dtype.name, outputs.class_index.shape) == ("int64", (4,))
    assert (outputs.probabilities.dtype.name, outputs.probabilities.shape) == ("float32", (4, 3))
    assert outputs.values is None
    assert (outputs.probabilities.argmax(axis=1) == outputs.class_index).all()
    assert np.abs(outputs.probabilities.sum(axis=1) - 1).max() < 1e-6


@pytest.mark.parametrize("name", ["regression", "sklearn regression"])
def test_regression_outputs(bundles: dict[str, Path], name: str) -> None:
    """A regression gives float64 values (rows,) and nothing else."""
    outputs = load_predictor(read_bundle(bundles[name])).predict(np.zeros((3, 10), np.float32))
    assert outputs.values is not None
    assert (outputs.values.dtype.name, outputs.values.shape) == ("float64", (3,))
    assert outputs.class_index is None
    assert outputs.probabilities is None


@pytest.mark.parametrize("name", ["forest", "boosting"])
def test_threads(bundles: dict[str, Path], name: str) -> None:
    """Eight threads that share one predictor get what one alone gets."""
    predictor = load_predictor(read_bundle(bundles[name]))
    rows = X.astype(np.float32)
    alone = predictor.predict(rows).probabilities
    assert alone is not None
    with ThreadPoolExecutor(8) as threads:
        together = threads.map(lambda _: predictor.predict(rows).probabilities, range(160))
        assert all(found is not None and (found == alone).all() for found in together)


def _golden(**values: object) -> Callable[[Fields], object]:
    return lambda fields: fields["golden_rows"][2].update(values)


def test_golden_class_differs(bundles: dict[str, Path], kit: Kit) -> None:
    """A golden row that the model does not reproduce is refused with the row, the expected and the found."""
    bundle = read_bundle(kit.change(bundles["forest"], _golden(class_index=2, probabilities=[0, 0, 1])))
    with pytest.raises(
        BundleError, match=r"golden row 2 .* expected to give class 2 with \[0, 0, 1\] and .*class 0"
    ):
        check_golden_rows(bundle, load_predictor(bundle))


@pytest.mark.parametrize(("shift", "passes"), [(5e-5, True), (2e-4, False)])
def test_probability_bound(bundles: dict[str, Path], kit: Kit, shift: float, passes: bool) -> None:
    """A probability may differ by 1e-4 and no more."""

    def change(fields: Fields) -> None:
        fields["golden_rows"][0]["probabilities"][0] -= shift

    bundle = read_bundle(kit.change(bundles["forest"], change))
    if passes:
        check_golden_rows(bundle, load_predictor(bundle))
    else:
        with pytest.raises(BundleError, match="golden row 0"):
            check_golden_rows(bundle, load_predictor(bundle))


@pytest.mark.parametrize(("factor", "passes"), [(1 + 5e-5, True), (1 + 2e-4, False)])
def test_value_bound(bundles: dict[str, Path], kit: Kit, factor: float, passes: bool) -> None:
    """A regression value may differ by 1e-4 of itself and no more."""

    def change(fields: Fields) -> None:
        fields["golden_rows"][0]["value"] *= factor

    bundle = read_bundle(kit.change(bundles["regression"], change))
    if passes:
        check_golden_rows(bundle, load_predictor(bundle))
    else:
        with pytest.raises(BundleError, match="golden row 0"):
            check_golden_rows(bundle, load_predictor(bundle))


def _replace_onnx(kit: Kit, bundle: Path, content: bytes) -> Path:
    copy = kit.copy(bundle)
    manifest = read_bundle(copy).manifest
    (copy / "model.onnx").write_bytes(content)
    seal(copy, manifest)
    return copy


def test_broken_onnx(bundles: dict[str, Path], kit: Kit) -> None:
    """A model.onnx with the right digest that is no model is refused."""
    bundle = read_bundle(_replace_onnx(kit, bundles["forest"], b"no protobuf"))
    with pytest.raises(BundleError, match=r"loading model\.onnx failed with InvalidProtobuf"):
        load_predictor(bundle)


def test_other_shape(bundles: dict[str, Path], kit: Kit) -> None:
    """A model.onnx of another model than the manifest describes is refused with both shapes."""
    content = (bundles["regression"] / "model.onnx").read_bytes()
    with pytest.raises(BundleError, match=r"has the inputs .* float32 \(rows, 4\) is expected"):
        load_predictor(read_bundle(_replace_onnx(kit, bundles["forest"], content)))


def test_zipmap(bundles: dict[str, Path], kit: Kit) -> None:
    """A classifier compiled with zipmap gives dictionaries, which the sentence tells."""
    from skl2onnx import to_onnx

    content = to_onnx(DecisionTreeClassifier().fit(X, Y), X[:1].astype(np.float32)).SerializeToString()
    with pytest.raises(BundleError, match="zipmap"):
        load_predictor(read_bundle(_replace_onnx(kit, bundles["forest"], content)))


def test_other_model_is_caught(bundles: dict[str, Path], kit: Kit) -> None:
    """A sound model that is not the one that was trained fails on the golden rows."""
    content = (bundles["other forest"] / "model.onnx").read_bytes()
    bundle = read_bundle(_replace_onnx(kit, bundles["forest"], content))
    with pytest.raises(BundleError, match=r"golden row \d"):
        check_golden_rows(bundle, load_predictor(bundle))


@pytest.mark.parametrize(
    "model",
    [
        CalibratedClassifierCV(LogisticRegression(), cv=2),
        GradientBoostingClassifier(n_estimators=3),
        GaussianProcessClassifier(),
        MLPClassifier(max_iter=2000, tol=1e-2),
        RandomForestClassifier(3, n_jobs=-1),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_trusted_types(kit: Kit, model: BaseEstimator) -> None:
    """Estimators of scikit-learn load from skops under our list of types."""
    bundle = read_bundle(write_bundle(kit.directory / "b", model.fit(X, Y), X[::30], onnx=False))
    check_golden_rows(bundle, load_predictor(bundle))


def test_trusted_regression(kit: Kit) -> None:
    """A regression with a loss of its own loads under our list."""
    model = TweedieRegressor().fit(X[:, :2], Y + 1.0)
    bundle = read_bundle(write_bundle(kit.directory / "b", model, X[::30, :2], onnx=False))
    check_golden_rows(bundle, load_predictor(bundle))


class ForeignClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator that scikit-learn does not have."""


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (ForeignClassifier(), "ForeignClassifier"),
        (FunctionTransformer(os.system), "posix.system"),
        (KNeighborsClassifier().fit(X, Y), "KDTree"),
    ],
    ids=["class", "function", "unbounded tree"],
)
def test_foreign_types(kit: Kit, model: BaseEstimator, name: str) -> None:
    """skops files with types beyond our list are refused by name, whatever the artifact's MLmodel trusts."""
    directory = write_bundle(kit.directory / "b", DecisionTreeClassifier().fit(X, Y), X[::30], onnx=False)
    manifest = read_bundle(directory).manifest
    skops.io.dump(model, directory / "model.skops")
    trusted = skops.io.get_untrusted_types(file=directory / "model.skops")
    (directory / "MLmodel").write_text(f"flavors: {{sklearn: {{skops_trusted_types: {trusted}}}}}\n")
    seal(directory, manifest)
    with pytest.raises(BundleError, match=f"types that this server does not trust: .*{name}"):
        load_predictor(read_bundle(directory))


def test_pickle_named_skops(kit: Kit) -> None:
    """A pickle under the name of a skops file is not unpickled."""
    model = DecisionTreeClassifier().fit(X, Y)
    directory = write_bundle(kit.directory / "b", model, X[::30], onnx=False, sklearn_file="model.pkl")
    manifest = read_bundle(directory).manifest
    (directory / "model.pkl").rename(directory / "model.skops")
    manifest.sklearn_file = "model.skops"
    seal(directory, manifest)
    with pytest.raises(BundleError, match=r"loading model\.skops failed with BadZipFile"):
        load_predictor(read_bundle(directory), allow_pickle=True)


@pytest.mark.parametrize("file", ["model.pkl", "model.joblib", "model.bin"])
def test_pickles(kit: Kit, file: str) -> None:
    """A pickle is refused with the variable that allows it, and loads when allowed."""
    model = DecisionTreeClassifier().fit(X, Y)
    bundle = read_bundle(write_bundle(kit.directory / "b", model, X[::30], onnx=False, sklearn_file=file))
    with pytest.raises(BundleError, match="MODEL_ALLOW_PICKLE=true"):
        load_predictor(bundle)
    check_golden_rows(bundle, load_predictor(bundle, allow_pickle=True))


def test_no_probabilities(kit: Kit) -> None:
    """A classifier without probabilities is refused by the name of the method that it lacks."""
    directory = write_bundle(kit.directory / "b", DecisionTreeClassifier().fit(X, Y), X[::30], onnx=False)
    manifest = read_bundle(directory).manifest
    skops.io.dump(LinearSVC().fit(X, Y), directory / "model.skops")
    seal(directory, manifest)
    with pytest.raises(BundleError, match=r"LinearSVC in model\.skops has no `predict_proba`"):
        load_predictor(read_bundle(directory))


def test_named_features(kit: Kit) -> None:
    """A model fitted on a table with column names predicts rows without a warning."""
    import pandas

    table = pandas.DataFrame(X, columns=list("abcd"))
    model = RandomForestClassifier(3).fit(X, Y)
    directory = write_bundle(kit.directory / "b", model, X[::30], onnx=False)
    manifest = read_bundle(directory).manifest
    skops.io.dump(RandomForestClassifier(3, random_state=1).fit(table, Y), directory / "model.skops")
    seal(directory, manifest)
    load_predictor(read_bundle(directory)).predict(X.astype(np.float32))


def test_missing_extra(bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scikit-learn or skops, the refusal says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "skops.io", None)
    with pytest.raises(BundleError, match="install the extra `training`"):
        load_predictor(read_bundle(bundles["boosting"]))
