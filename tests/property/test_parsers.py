"""Model URIs, manifests, settings and correlation ids: any text is taken, or refused with the declared error."""

import json
import string
from typing import Any, Final

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from inference.artifacts.manifest import parse_manifest
from inference.artifacts.model_uri import ModelUri, parse_model_uri
from inference.errors import BundleError, InvalidRequestError, ModelNotFoundError
from inference.gateway.admin import asked_model_uri
from inference.settings import Settings
from protos.inference.v1.manifest_pb2 import ModelManifest
from telemetry import SettingsError, choose_correlation_id, load_settings
from tests.property import wire
from tests.property.effort import converting
from tests.property.laws import check_manifest
from tests.property.seeds import MANIFEST

_URI_PARTS: Final = (
    "models:/",
    "runs:/",
    "/",
    "@",
    "..",
    "latest",
    "7",
    "Production",
    "none",
    " ",
    "\n",
    "٣",
)
_uris = st.lists(st.sampled_from(_URI_PARTS) | st.text(max_size=4), max_size=7).map("".join)
_FIELDS: Final = tuple(ModelManifest.DESCRIPTOR.fields_by_name)
#: What goes through an environment: no NUL (os.environ) and whatever bytes, as surrogates.
_values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
_LIKELY: Final = (
    *(
        "",
        " ",
        "0",
        "-1",
        "1",
        "1e400",
        "nan",
        "inf",
        "99999999999999999999",
        "true",
        "yes",
        "None",
        "null",
        "[]",
    ),
    *(
        "local",
        "mlflow",
        "native",
        "models:/a/1",
        "models:/",
        ",,",
        "INFO",
        "info",
        "/",
        "\udcff",
        "é" * 5000,
        "{}",
    ),
)


@converting
@given(_uris)
def test_a_model_uri_has_one_spelling_or_none(text: str) -> None:
    """Any text is refused with the accepted forms, or parsed to a URI that its own spelling gives again."""
    try:
        uri = parse_model_uri(text)
    except ModelNotFoundError as refused:
        sentence = str(refused)
    else:
        assert isinstance(uri, ModelUri)
        assert parse_model_uri(str(uri)) == uri
        return
    assert "models:/name/7" in sentence


@converting
@given(wire.any_bytes | wire.mutated(st.just(MANIFEST)) | wire.json_bodies)
def test_a_manifest_is_parsed_or_refused(content: bytes) -> None:
    """Damaged manifests and other JSON end as BundleError, never as another error or as half a manifest."""
    check_manifest(content)


@converting
@given(st.data())
def test_a_manifest_with_any_value_in_any_field_is_parsed_or_refused(data: st.DataObject) -> None:
    """The fields of a manifest may hold any JSON value, at any depth."""
    fields: dict[str, Any] = json.loads(MANIFEST)
    for _ in range(data.draw(st.integers(1, 3))):
        place: Any = fields
        while isinstance(place, dict | list) and place:
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            key = data.draw(st.sampled_from(keys))
            if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
                place[key] = data.draw(_json_values)
                break
            place = place[key]
    check_manifest(json.dumps(fields).encode())


def test_half_a_surrogate_pair_is_no_json() -> None:
    """JSON text may spell what UTF-8 has no bytes for; protobuf, given that as the name of a field, fails."""
    with pytest.raises(BundleError, match=r"manifest\.json is not a JSON object"):
        parse_manifest(MANIFEST.replace(b'"git_commit"', rb'"\ud800"'), "b")


def test_a_sound_manifest_is_taken() -> None:
    """What the laws above start from is a manifest."""
    assert parse_manifest(MANIFEST, "b") == json_format.Parse(MANIFEST, ModelManifest())


@converting
@given(st.sampled_from(sorted(Settings.model_fields)), st.sampled_from(_LIKELY) | _values)
def test_any_value_of_a_variable_gives_settings_or_a_sentence(name: str, value: str) -> None:
    """One variable may hold anything; what is wrong is told by name, and secrets are never repeated."""
    loaded = _load({name: value})
    secret = any(word in name for word in ("token", "password")) and len(value) >= 8
    assert not (secret and value in (repr(loaded) if isinstance(loaded, Settings) else str(loaded)))


@converting
@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), st.sampled_from(_LIKELY), max_size=12))
def test_wrong_settings_are_all_told_at_once(values: dict[str, str]) -> None:
    """Whatever goes wrong together, loading ends with settings or with SettingsError."""
    loaded = _load(values)
    if isinstance(loaded, Settings):
        assert loaded.configured_uris


def _load(values: dict[str, str]) -> Settings | SettingsError:
    """Load settings from an environment with no other variables of ours."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        for name, value in values.items():
            patch.setenv(name.upper(), value)
        try:
            return load_settings(Settings)
        except SettingsError as error:
            named = [problem.partition(":")[0].lower() for problem in error.problems]
            assert set(named) <= set(Settings.model_fields)
            assert len(set(named)) == len(named)
            return error


@converting
@given(
    st.dictionaries(
        st.sampled_from(["x-request-id", "x-correlation-id", "traceparent", "x-other"]),
        st.text() | st.just("a-1"),
    )
)
def test_a_correlation_id_can_be_logged_and_sent_back(headers: dict[str, str]) -> None:
    """Whatever a caller sends, the id is 1 to 128 characters that need no escaping anywhere."""
    chosen = choose_correlation_id(headers)
    assert 1 <= len(chosen) <= 128
    assert set(chosen) <= set(string.ascii_letters + string.digits + "._:/=+@-")


@converting
@given(wire.json_bodies | wire.any_bytes | _uris.map(lambda uri: json.dumps({"model_uri": uri}).encode()))
def test_a_reload_asks_for_a_model_uri_or_nothing(body: bytes) -> None:
    """The body of a reload names a model URI, is empty, or is refused with a short sentence."""
    try:
        uri = asked_model_uri(body)
    except InvalidRequestError as refused:
        sentence = str(refused)
    else:
        assert uri is None or uri.startswith(("models:/", "runs:/"))
        return
    assert len(sentence) < 500


_json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 3)
    | st.sampled_from(
        [2**31, 2**64, -(2**63), 1e400, float("nan"), 1.5, "1", "NaN", "2020-01-01T00:00:00Z", "\ud800"]
    )
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_FIELDS) | st.text(), inner, max_size=3)
    ),
    max_leaves=6,
)
