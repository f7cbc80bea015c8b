"""Reading a bundle: what is sound is read, and everything else is refused with a sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inference.artifacts import read_bundle
from inference.artifacts.manifest import is_safe_path
from inference.errors import BundleError
from tests.inference.artifacts.bundle_kit import Fields, Kit, digest_of, seal


def test_sound_bundle(bundles: dict[str, Path], kit: Kit) -> None:
    """A sound bundle gives its manifest, metrics and digest."""
    digest = digest_of(bundles["forest"])
    bundle = read_bundle(bundles["forest"], expected_digest=digest)
    assert bundle.digest == digest
    assert bundle.manifest.name == "iris"
    assert list(bundle.manifest.classes) == ["0", "1", "2"]
    assert bundle.metrics is not None
    assert bundle.metrics.accuracy == 0.96


def test_unknown_fields(bundles: dict[str, Path], kit: Kit) -> None:
    """A manifest with fields that this server does not know is read: training may be newer."""
    newer = kit.change(bundles["forest"], lambda fields: fields.update(novelty={"deep": [1]}))
    assert read_bundle(newer).manifest.name == "iris"


def test_unlisted_file(bundles: dict[str, Path], kit: Kit) -> None:
    """Files that the manifest does not list are left alone."""
    copy = kit.copy(bundles["forest"])
    (copy / "registered_model_meta").write_text("MLflow's clients leave this")
    assert read_bundle(copy).manifest.name == "iris"


def test_no_metrics(bundles: dict[str, Path], kit: Kit) -> None:
    """Without a metrics.json the metrics are None, which the accuracy gate can tell from a bad figure."""
    copy = kit.copy(bundles["forest"])
    manifest = read_bundle(copy).manifest
    (copy / "metrics.json").unlink()
    seal(copy, manifest)
    assert read_bundle(copy).metrics is None


@pytest.mark.parametrize("content", ["[]", "{", '{"accuracy": "high"}', '"text"', "3"])
def test_broken_metrics(bundles: dict[str, Path], kit: Kit, content: str) -> None:
    """A metrics.json that is no ModelMetrics is refused, even when its digest is right."""
    copy = kit.copy(bundles["forest"])
    manifest = read_bundle(copy).manifest
    (copy / "metrics.json").write_text(content)
    seal(copy, manifest)
    with pytest.raises(BundleError, match=r"metrics\.json is not a ModelMetrics message"):
        read_bundle(copy)


def test_wrong_digest(bundles: dict[str, Path], kit: Kit) -> None:
    """A digest that is not the expected one is refused, and the sentence has both."""
    with pytest.raises(BundleError) as caught:
        read_bundle(bundles["forest"], expected_digest="a" * 64)
    assert digest_of(bundles["forest"]) in str(caught.value)
    assert "a" * 64 in str(caught.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda file: file.write_bytes(file.read_bytes()[:-1]),
            "model.onnx has .* bytes and .* are expected",
        ),
        (
            lambda file: file.write_bytes(file.read_bytes() + b"x"),
            "model.onnx has .* bytes and .* are expected",
        ),
        (
            lambda file: file.write_bytes(b"x" + file.read_bytes()[1:]),
            "model.onnx has the SHA-256 .* expected",
        ),
        (lambda file: file.unlink(), "model.onnx cannot be read: No such file"),
        (lambda file: (file.unlink(), file.mkdir()), "model.onnx (has .* bytes|cannot be read)"),
    ],
    ids=["truncated", "longer", "changed", "missing", "directory"],
)
def test_damaged_file(
    bundles: dict[str, Path], kit: Kit, change: Callable[[Path], object], sentence: str
) -> None:
    """A file that differs in length or content, or is not there, is refused by name."""
    copy = kit.copy(bundles["forest"])
    change(copy / "model.onnx")
    with pytest.raises(BundleError, match=sentence):
        read_bundle(copy)


@pytest.mark.parametrize(
    "path", ["../outside", "/etc/passwd", "data/../../outside", "..", "", ".", "C:/x", "a\\b", "a//b", "./a"]
)
def test_path_outside(bundles: dict[str, Path], kit: Kit, path: str) -> None:
    """A manifest that names a path outside the bundle is refused before any file is opened."""
    (kit.directory / "outside").write_text("secret")
    bad = kit.change(bundles["forest"], lambda fields: fields["files"][0].update(path=path))
    with pytest.raises(BundleError, match="a path inside the bundle is expected"):
        read_bundle(bad)


@given(st.text(max_size=20))
def test_safe_paths_stay_inside(path: str) -> None:
    """Whatever path is called safe leads into the directory that it is joined to."""
    root = Path("/bundle")
    if is_safe_path(path):
        assert root in (root / path).parents
        assert (root / path).resolve() == root / path


def _drop(name: str) -> Callable[[Fields], object]:
    return lambda fields: fields.pop(name)


def _set(**values: object) -> Callable[[Fields], object]:
    return lambda fields: fields.update(values)


def _row(**values: object) -> Callable[[Fields], object]:
    return lambda fields: fields["golden_rows"][1].update(values)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_set(schema_version=2), "has schema_version 2 and this server knows 1; upgrade the server"),
        (_drop("schema_version"), "has schema_version None"),
        (_drop("name"), "name is missing"),
        (_set(name="ir\x1bis"), r"name is 'ir\\x1bis' and one without control characters is expected"),
        (_set(features=[{"name": "a\nb", "type": "FEATURE_TYPE_FLOAT"}]), "without control characters"),
        (_drop("task"), "task is missing"),
        (_set(task="TASK_RANKING"), "task is missing or unknown"),
        (_drop("features"), "features is"),
        (_drop("classes"), "classes is"),
        (_set(classes=["a", "a", "b"]), "classes is"),
        (_drop("runtime"), "runtime is missing"),
        (_set(runtime="RUNTIME_SKLEARN", sklearn_file="model.pkl"), "sklearn_file is 'model.pkl'"),
        (_drop("parity"), "parity has not passed"),
        (_drop("golden_rows"), "golden_rows is empty"),
        (_row(features=[1.0]), r"golden_rows\[1\] has 1 features and 4 are expected"),
        (_row(class_index=3), r"golden_rows\[1\] has no class_index below 3"),
        (_row(probabilities=[1.0]), r"golden_rows\[1\] has 1 probabilities"),
        (_row(probabilities=["NaN", 0, 1]), r"golden_rows\[1\] has a number that is not finite"),
        (_set(files=[]), "files does not list model.onnx"),
        (_set(name=7), "is not a ModelManifest"),
        (lambda fields: fields["features"][0].pop("type"), "a feature has no type"),
        (lambda fields: fields["features"][0].update(name="f1"), "features is"),
        (lambda fields: fields["files"][0].update(sha256="abc"), "64 hexadecimal digits"),
        (lambda fields: fields["files"][0].update(size_bytes=-1), "size_bytes"),
        (lambda fields: fields["files"].append(fields["files"][0]), "twice"),
    ],
)
def test_broken_manifest(
    bundles: dict[str, Path], kit: Kit, change: Callable[[Fields], object], sentence: str
) -> None:
    """A manifest without what serving needs is refused, and the sentence names the field."""
    with pytest.raises(BundleError, match=sentence):
        read_bundle(kit.change(bundles["forest"], change))


def _feature(**values: object) -> Callable[[Fields], object]:
    return lambda fields: fields["features"][0].update(values)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            _feature(categories=[]),
            "the feature 'plan' has 0 categories and at least one, each once, is expected",
        ),
        (
            _feature(categories=["a", "b", "a"]),
            "the feature 'plan' has 3 categories and at least one, each once",
        ),
        (
            _feature(type="FEATURE_TYPE_FLOAT"),
            "has categories, or unknown_as_missing, and is no FEATURE_TYPE_CATEGORY",
        ),
        (_feature(nullable=False), "is unknown_as_missing and not nullable, so an unknown text has no value"),
        (_feature(categories=["a", "b", "c" * 1025]), "has a category of 1025 characters and at most 1024"),
        (
            _feature(categories=[f"{number:01000}" for number in range(1100)]),
            "the categories take 11000.. bytes and at most 1048576",
        ),
        (
            _row(features=[3, 1, 1, 1]),
            r"golden_rows\[1\] has 3 for the feature 'plan', the code of none of its 3",
        ),
        (_row(features=[0.5, 1, 1, 1]), r"golden_rows\[1\] has 0\.5 for the feature 'plan'"),
        (_row(features=[0, "NaN", 1, 1]), r"golden_rows\[1\] has a number that is not finite"),
        (_row(features=[0, 1, "Infinity", 1]), r"golden_rows\[1\] has a number that is not finite"),
    ],
)
def test_broken_categories(
    mixed_bundle: Path, kit: Kit, change: Callable[[Fields], object], sentence: str
) -> None:
    """Categories that could not be served are refused: none or the same twice, too long, codes of none."""
    with pytest.raises(BundleError, match=sentence):
        read_bundle(kit.change(mixed_bundle, change))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_no_manifest_at_all(tmp_path: Path, content: bytes) -> None:
    """Whatever bytes stand in manifest.json, the answer is a refusal."""
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json is not a JSON object"):
        read_bundle(tmp_path)


def test_missing_manifest(tmp_path: Path) -> None:
    """A directory without a manifest, and no directory, are told apart."""
    with pytest.raises(BundleError, match=r"there is no manifest\.json"):
        read_bundle(tmp_path)
    with pytest.raises(BundleError, match="there is no such directory"):
        read_bundle(tmp_path / "nothing")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_flipped_byte(bundles: dict[str, Path], data: st.DataObject) -> None:
    """Changing any one byte of any file of a bundle is refused when its digest is known."""
    bundle = bundles["forest"]
    good = read_bundle(bundle)
    names = ["manifest.json", *(file.path for file in good.manifest.files)]
    file = bundle / data.draw(st.sampled_from(names))
    content = file.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = content[place] ^ data.draw(st.integers(1, 255))
    file.write_bytes(content[:place] + bytes([flipped]) + content[place + 1 :])
    try:
        with pytest.raises(BundleError):
            read_bundle(bundle, expected_digest=good.digest)
    finally:
        file.write_bytes(content)
    assert read_bundle(bundle, expected_digest=good.digest).digest == good.digest


def test_manifest_round_trip(bundles: dict[str, Path], kit: Kit) -> None:
    """What is read from a manifest and written again is the same manifest."""
    copy = kit.copy(bundles["forest"])
    before = (copy / "manifest.json").read_text()
    seal(copy, read_bundle(copy).manifest)
    assert json.loads((copy / "manifest.json").read_text()) == json.loads(before)
