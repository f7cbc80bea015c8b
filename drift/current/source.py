"""Where current rows come from, behind one small interface."""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from drift.current.event_filter import EventFilter, ServedModel, SkipReason
from drift.current.intake import Intake
from drift.current.loki.access import Access
from drift.current.loki.client import LokiClient
from drift.current.loki.loki_log import LokiLog
from drift.current.prediction_log import PredictionLog
from drift.data.location import is_dataset, local_path
from drift.data.table import read_current
from drift.rows import Rows, Schema
from drift.settings import Settings

__all__ = ["CurrentSource", "Dataset", "open_source"]


class CurrentSource(Protocol):
    """Something that current rows are read from, again and again, by one thread at a time."""

    def read(self, now: float) -> Rows | None:
        """Return the window that ends at `now` (seconds since 1970), None when it is empty.

        Raises `DriftError` when the source cannot be read; a later call may succeed.
        """

    def take_skipped(self) -> Counter[SkipReason]:
        """Return how many lines were skipped since the last call, by reason."""

    @property
    def rows_missing(self) -> int | None:
        """How many rows of the last window the source has and could not give, None where nothing tells."""

    @property
    def served(self) -> tuple[ServedModel, ...]:
        """The models that answered the rows of the last window, as far as the source tells."""

    def close(self) -> None:
        """Let go of what is open."""


class Dataset:
    """A dataset of the shape of the reference, read anew each time. It has no times: all rows count."""

    def __init__(self, location: str, schema: Schema, *, max_rows: int) -> None:
        self._location, self._schema, self._max_rows = location, schema, max_rows

    def read(self, now: float) -> Rows | None:  # noqa: ARG002 - a source with times needs it
        """Return the rows of the dataset, sampled when there are many. Raises `DriftError`."""
        return read_current(self._location, self._schema, self._max_rows)

    def take_skipped(self) -> Counter[SkipReason]:
        """Return nothing: a dataset is taken as a whole or refused."""
        return Counter()

    @property
    def rows_missing(self) -> int | None:
        """Nothing: all rows of a dataset are there."""
        return 0

    @property
    def served(self) -> tuple[ServedModel, ...]:
        """None: a dataset does not tell."""
        return ()

    def close(self) -> None:
        """Do nothing: it is open only while it is read."""


def open_source(settings: Settings, schema: Schema, labels: Iterable[object] = ()) -> CurrentSource:
    """Return Loki if the settings have one, else the dataset or log of `CURRENT_DATASET_URI`.

    `labels` are those of the reference: a log shortens other labels that are very long. Nothing is opened yet, and it
    need not exist. Raises `LokiError` for an address that none can have.
    """
    chosen = EventFilter(settings.current_track, settings.current_model, settings.current_version)
    if settings.loki_base_url is not None:
        return _loki(settings, schema, chosen, labels)
    location = settings.current_dataset_uri
    assert location is not None
    if is_dataset(location):
        return Dataset(location, schema, max_rows=settings.drift_max_rows)
    return PredictionLog(
        local_path(location),
        schema,
        range_seconds=settings.current_range_minutes * 60,
        max_rows=settings.drift_max_rows,
        event_filter=chosen,
        labels=labels,
    )


def _loki(settings: Settings, schema: Schema, chosen: EventFilter, labels: Iterable[object]) -> LokiLog:
    assert settings.loki_base_url is not None
    access = Access(
        settings.loki_base_url,
        tenant_id=settings.loki_tenant_id,
        username=settings.loki_username,
        password=settings.loki_password.get_secret_value() if settings.loki_password else None,
        token=settings.loki_token.get_secret_value() if settings.loki_token else None,
    )
    range_seconds = settings.loki_range_minutes * 60
    intake = Intake(
        schema, chosen, range_seconds=range_seconds, max_rows=settings.drift_max_rows, labels=labels
    )
    return LokiLog(LokiClient(access), settings.loki_query, intake, range_seconds=range_seconds)
