"""Which source the settings mean."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from drift.current.loki.loki_log import LokiLog
from drift.current.prediction_log import PredictionLog
from drift.current.source import CurrentSource, Dataset, open_source
from drift.rows import Reference
from drift.settings import Settings
from tests.drift.current.loki_stand_in import LokiStandIn


def opened(reference: Reference, **settings: object) -> CurrentSource:
    values = {"reference_dataset_uri": "reference.csv", **settings}
    return open_source(Settings.model_validate(values), reference.schema)


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("current.csv", Dataset),
        ("/data/current.CSV.gz", Dataset),
        ("file:///data/current.parquet", Dataset),
        ("s3://bucket/today", Dataset),
        ("/var/log/predictions", PredictionLog),
        ("stable-0.log", PredictionLog),
        ("file:///var/log/stable-0.jsonl", PredictionLog),
    ],
)
def test_a_location_tells_a_dataset_from_a_log(location: str, kind: type, reference: Reference) -> None:
    """CSV and Parquet are datasets, and so is what a store has; all else on a disk is a log."""
    assert type(opened(reference, current_dataset_uri=location)) is kind


def test_a_dataset_gives_all_its_rows(reference: Reference, reference_csv: Path) -> None:
    """A dataset has no times and misses nothing: all of it counts, at any time."""
    source = opened(reference, current_dataset_uri=str(reference_csv))
    rows = source.read(0.0)
    assert rows is not None
    assert len(rows) == 150
    assert source.rows_missing == 0
    assert not source.take_skipped()


def test_a_log_is_filtered_as_the_settings_say(
    tmp_path: Path, reference: Reference, event_line: Callable[..., bytes]
) -> None:
    """CURRENT_TRACK, CURRENT_MODEL and CURRENT_VERSION choose the events."""
    path = tmp_path / "0.log"
    changes: list[dict[str, str]] = [{}, {"track": "canary"}, {"model": "wine"}, {"version": "8"}]
    path.write_bytes(b"".join(event_line(timestamp="2026-11-23T08:00:00Z", **one) for one in changes))
    source = opened(
        reference,
        current_dataset_uri=str(path),
        current_track="stable",
        current_model="iris",
        current_version="7",
    )
    rows = source.read(1_795_420_800.0)
    assert rows is not None
    assert len(rows) == 1
    assert dict(source.take_skipped()) == {"other_track": 1, "other_model": 1, "other_version": 1}


def test_loki_wins_over_a_dataset(
    loki: LokiStandIn, reference: Reference, event_line: Callable[..., bytes]
) -> None:
    """With LOKI_BASE_URL set, current rows come from there, with its credentials, tenant and query."""
    loki.tenant, loki.authorization = "team-a", "Bearer t0ken"
    now = 1_795_420_800
    loki.store.push(
        [(now * 10**9 - 1, event_line(timestamp="2026-11-23T07:59:00Z").decode())], {"app": "iris"}
    )
    source = opened(
        reference,
        current_dataset_uri="current.csv",
        loki_base_url=loki.url,
        loki_tenant_id="team-a",
        loki_token=SecretStr("t0ken"),
        loki_query='{app="iris"}',
    )
    assert isinstance(source, LokiLog)
    # The stand-in's clock is that of today, and the source goes by it.
    loki.clock_ahead_seconds = now - time.time()
    try:
        rows = source.read(time.time())
    finally:
        source.close()
    assert rows is not None
    assert len(rows) == 1
