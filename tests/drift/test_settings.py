"""The settings: defaults, and every problem at once."""

import re

import pytest

from drift.settings import Settings
from telemetry import SettingsError, load_settings


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("REFERENCE_DATASET_URI", "reference.csv")
    monkeypatch.setenv("CURRENT_DATASET_URI", "file:///var/log/coalmine")


def test_the_defaults_are_those_of_the_specification() -> None:
    """Two locations are enough to start."""
    settings = load_settings(Settings)
    assert (settings.port, settings.host) == (9000, "0.0.0.0")  # noqa: S104
    assert (settings.drift_evaluation_interval_seconds, settings.current_range_minutes) == (300, 60)
    assert (settings.drift_min_rows, settings.drift_max_rows) == (50, 50_000)
    assert settings.current_track is None


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts and compose files set empty values for what is not given."""
    monkeypatch.setenv("CURRENT_TRACK", "")
    monkeypatch.setenv("PORT", "")
    assert load_settings(Settings).port == 9000


def test_all_problems_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One start is enough to learn of every wrong variable."""
    monkeypatch.delenv("REFERENCE_DATASET_URI")
    monkeypatch.setenv("CURRENT_DATASET_URI", "ftp://host/events")
    monkeypatch.setenv("PORT", "web")
    with pytest.raises(SettingsError) as refused:
        load_settings(Settings)
    assert [problem.split(":")[0] for problem in refused.value.problems] == [
        "REFERENCE_DATASET_URI",
        "CURRENT_DATASET_URI",
        "PORT",
    ]


@pytest.mark.parametrize(
    "uri", ["ftp://host/a.csv", "https://host/a.csv", "file://host/a.csv", "s3://bucket"]
)
def test_a_location_that_cannot_be_says_what_can(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    """Another scheme, another host, or no object is refused at start."""
    monkeypatch.setenv("REFERENCE_DATASET_URI", uri)
    with pytest.raises(SettingsError, match=r"REFERENCE_DATASET_URI: .*(s3://|path)"):
        load_settings(Settings)


@pytest.mark.parametrize(
    "uri", ["s3://bucket/a.csv", "gs://bucket/a.parquet", "az://container/a.csv.gz", "a.csv"]
)
def test_objects_and_paths_are_locations(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    """Nothing is opened at start."""
    monkeypatch.setenv("REFERENCE_DATASET_URI", uri)
    assert load_settings(Settings).reference_dataset_uri == uri


def test_some_source_of_current_rows_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset, a log or Loki."""
    monkeypatch.delenv("CURRENT_DATASET_URI")
    with pytest.raises(SettingsError, match="set CURRENT_DATASET_URI or LOKI_BASE_URL"):
        load_settings(Settings)
    monkeypatch.setenv("LOKI_BASE_URL", "http://loki:3100")
    assert load_settings(Settings).loki_range_minutes == 60


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"DRIFT_METHODS": "feature_0=psy"}, "DRIFT_METHODS: .*psi"),
        ({"DRIFT_ACTION_WEBHOOK_URL": "argo"}, "DRIFT_ACTION_WEBHOOK_URL: .*expected an address"),
    ],
)
def test_choices_that_make_no_sense_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    """With what would make sense."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=sentence):
        load_settings(Settings)


ARGO = {"DRIFT_ACTION_ARGO_URL": "http://argo:2746", "DRIFT_ACTION_ARGO_TEMPLATE": "retrain"}
WEBHOOK = {"DRIFT_ACTION_WEBHOOK_URL": "http://receiver"}
LOKI = {"LOKI_BASE_URL": "http://loki:3100"}
DATASET = {"CURRENT_DATASET_URI": "s3://key:hunter2@bucket/today.csv"}


@pytest.mark.parametrize(
    ("variables", "sentences"),
    [
        ({"LOKI_TENANT_ID": "a"}, ["LOKI_TENANT_ID has no effect without LOKI_BASE_URL"]),
        ({"LOKI_TOKEN": "hunter2"}, ["LOKI_TOKEN has no effect without LOKI_BASE_URL"]),
        (
            {"LOKI_USERNAME": "a", "LOKI_PASSWORD": "hunter2"},
            [f"LOKI_{name} has no effect without LOKI_BASE_URL" for name in ("USERNAME", "PASSWORD")],
        ),
        ({**LOKI, "LOKI_USERNAME": "a"}, ["LOKI_USERNAME and LOKI_PASSWORD belong together; set both"]),
        (
            {**LOKI, "LOKI_PASSWORD": "hunter2"},
            ["LOKI_USERNAME and LOKI_PASSWORD belong together; set both"],
        ),
        (
            {**LOKI, "LOKI_USERNAME": "a", "LOKI_PASSWORD": "hunter2", "LOKI_TOKEN": "hunter2"},
            ["LOKI_TOKEN and LOKI_USERNAME are both set; choose one"],
        ),
        (
            {"DRIFT_ACTION_WEBHOOK_SECRET": "hunter2"},
            ["DRIFT_ACTION_WEBHOOK_SECRET has no effect without DRIFT_ACTION_WEBHOOK_URL"],
        ),
        ({**WEBHOOK, **ARGO}, ["DRIFT_ACTION_WEBHOOK_URL and DRIFT_ACTION_ARGO_URL are both set"]),
        (
            {"DRIFT_ACTION_ARGO_URL": "http://argo:2746"},
            ["DRIFT_ACTION_ARGO_URL and DRIFT_ACTION_ARGO_TEMPLATE belong together; set both"],
        ),
        (
            {**ARGO, "DRIFT_ACTION_ARGO_TOKEN": "hunter2", "DRIFT_ACTION_ARGO_TOKEN_FILE": "/token"},
            ["DRIFT_ACTION_ARGO_TOKEN and DRIFT_ACTION_ARGO_TOKEN_FILE are both set"],
        ),
        *(
            ({name: value}, [f"{name} has no effect without DRIFT_ACTION_ARGO_URL"])
            for name, value in (
                ("DRIFT_ACTION_ARGO_TOKEN", "hunter2"),
                ("DRIFT_ACTION_ARGO_TOKEN_FILE", "/token"),
                ("DRIFT_ACTION_ARGO_NAMESPACE", "default"),
            )
        ),
        *(
            ({**DATASET, name: value}, [f"{name} has no effect on a dataset, which has no events"])
            for name, value in (
                ("LABELS_URI", "labels.csv"),
                ("CURRENT_TRACK", "stable"),
                ("CURRENT_MODEL", "iris"),
                ("CURRENT_VERSION", "7"),
            )
        ),
        (
            {"LOKI_TENANT_ID": "a", **DATASET, "CURRENT_TRACK": "stable", "DRIFT_MAX_ROWS": "5"},
            [
                "LOKI_TENANT_ID has no effect",
                "CURRENT_TRACK has no effect",
                "DRIFT_MIN_ROWS \\(50\\) is above",
            ],
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentences: list[str]
) -> None:
    """What would have no effect, lacks its other half or contradicts: every case, each with a sentence."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        load_settings(Settings)
    assert len(refused.value.problems) == len(sentences)
    for problem, sentence in zip(refused.value.problems, sentences, strict=True):
        assert re.match(sentence, problem)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "variables",
    [
        {"CURRENT_TRACK": "stable", "CURRENT_MODEL": "iris", "LABELS_URI": "labels.csv"},
        {**LOKI, **DATASET, "CURRENT_TRACK": "stable", "LABELS_URI": "labels.csv"},
        {**LOKI, "LOKI_TENANT_ID": "a", "LOKI_USERNAME": "a", "LOKI_PASSWORD": "hunter2"},
        {**LOKI, "LOKI_TOKEN": "hunter2"},
        {**WEBHOOK, "DRIFT_ACTION_WEBHOOK_SECRET": "hunter2"},
        {**ARGO, "DRIFT_ACTION_ARGO_NAMESPACE": "ml", "DRIFT_ACTION_ARGO_TOKEN": "hunter2"},
        {**DATASET, **WEBHOOK},
    ],
)
def test_what_fits_together_is_taken(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Each with what it needs."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings(Settings).reference_dataset_uri == "reference.csv"


@pytest.mark.parametrize(
    "variables",
    [
        {**LOKI, "LOKI_USERNAME": "a", "LOKI_PASSWORD": "hunter2"},
        {**LOKI, "LOKI_TOKEN": "hunter2"},
        {**WEBHOOK, "DRIFT_ACTION_WEBHOOK_SECRET": "hunter2"},
        {**ARGO, "DRIFT_ACTION_ARGO_TOKEN": "hunter2"},
    ],
)
def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Not by repr, and so not by a log line or a traceback."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert "hunter2" not in repr(load_settings(Settings))


def test_limits_that_exclude_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows needed than ever kept would mean no verdict for ever."""
    monkeypatch.setenv("DRIFT_MIN_ROWS", "100")
    monkeypatch.setenv("DRIFT_MAX_ROWS", "50")
    with pytest.raises(SettingsError, match=r"DRIFT_MIN_ROWS \(100\) is above DRIFT_MAX_ROWS \(50\)"):
        load_settings(Settings)


def test_every_setting_is_explained() -> None:
    """`--help` and the JSON schema show a sentence for each."""
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize("seconds", ["86401", "1e300", "0", "inf"])
def test_an_interval_beyond_a_day_or_without_length_is_refused(
    monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    """A monitor that never looks again watches nothing, and a wait of 1e300 seconds is an error of the system."""
    monkeypatch.setenv("REFERENCE_DATASET_URI", "reference.csv")
    monkeypatch.setenv("CURRENT_DATASET_URI", "logs")
    monkeypatch.setenv("DRIFT_EVALUATION_INTERVAL_SECONDS", seconds)
    with pytest.raises(SettingsError, match="DRIFT_EVALUATION_INTERVAL_SECONDS"):
        load_settings(Settings)
