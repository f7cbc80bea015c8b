"""The settings: defaults, and every problem at once."""

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
    monkeypatch.setenv("CURRENT_DATASET_URI", "s3://bucket/events")
    monkeypatch.setenv("PORT", "web")
    with pytest.raises(SettingsError) as refused:
        load_settings(Settings)
    assert [problem.split(":")[0] for problem in refused.value.problems] == [
        "REFERENCE_DATASET_URI",
        "CURRENT_DATASET_URI",
        "PORT",
    ]


@pytest.mark.parametrize(
    "uri", ["s3://bucket/a.csv", "gs://bucket/a.csv", "az://c/a.csv", "file://host/a.csv"]
)
def test_an_unsupported_scheme_says_what_is_supported(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    """Object storage is refused at start, with the way that works today."""
    monkeypatch.setenv("REFERENCE_DATASET_URI", uri)
    with pytest.raises(SettingsError, match="is not supported; a local path and file:// are"):
        load_settings(Settings)


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
