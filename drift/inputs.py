"""What an evaluation reads: the reference when it changed, the current rows, and labels that have come."""

from collections import Counter
from dataclasses import dataclass

import structlog

from drift.baseline import Baseline, make_baseline
from drift.current.event_filter import ServedModel, SkipReason
from drift.current.source import CurrentSource, open_source
from drift.data.labels import join, read_labels
from drift.data.table import ReferenceDataset
from drift.errors import DriftError
from drift.rows import Rows
from drift.settings import Settings
from drift.statistics.choice import Methods

__all__ = ["Current", "Inputs"]

log = structlog.stdlib.get_logger("drift")


@dataclass(frozen=True, slots=True)
class Current:
    """The window: its rows, None when it is empty, and how many the source has and could not give.

    `models` are those that answered, as far as the source tells; `notes` are sentences about what else went wrong.
    """

    rows: Rows | None
    rows_missing: int | None
    models: tuple[ServedModel, ...] = ()
    notes: tuple[str, ...] = ()


class Inputs:
    """Reads everything by the settings. Used by one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._methods = Methods.parse(settings.drift_methods)
        self._dataset = ReferenceDataset(settings.reference_dataset_uri, settings.drift_max_rows)
        self._baseline: Baseline | None = None
        self._source: CurrentSource | None = None

    def baseline(self) -> tuple[Baseline, tuple[str, ...]]:
        """Return the prepared reference, read anew if its object changed, and notes.

        One that cannot be read again stays as it was, which a note says. Raises `DriftError` while there is none.
        """
        if self._baseline is None:
            return self._replace(), ()
        try:
            return (self._replace() if self._dataset.changed() else self._baseline), ()
        except DriftError as error:
            note = f"the reference stays as it was: {error}"
            log.warning("the reference cannot be read again", reason=str(error))
            return self._baseline, (note,)

    def current(self, baseline: Baseline, now: float) -> Current:
        """Return the window that ends at `now`, with labels where they have come. Raises `DriftError`."""
        if self._source is None:
            reference = baseline.reference
            self._source = open_source(self._settings, reference.schema, reference.rows.predictions)
        rows = self._source.read(now)
        if rows is None:
            return Current(None, self._source.rows_missing)
        rows, notes = self._labelled(rows, baseline)
        models = self._source.served
        if len(models) > 1:
            several = ", ".join(f"{model.name} {model.version}" for model in models)
            notes += (
                f"the window has answers of several models ({several}); CURRENT_MODEL and CURRENT_VERSION choose",
            )
        return Current(rows, self._source.rows_missing, models, notes)

    def close(self) -> None:
        """Let go of the source of current rows."""
        if self._source is not None:
            self._source.close()
        self._source = None

    def take_skipped(self) -> Counter[SkipReason]:
        """Return how many lines were skipped since the last call, by reason."""
        return Counter() if self._source is None else self._source.take_skipped()

    def _replace(self) -> Baseline:
        reference = self._dataset.read()
        baseline = make_baseline(reference, self._methods)
        if self._baseline is not None:
            log.info("the reference changed, and is read again")
            if self._baseline.reference.schema != reference.schema:
                self.close()  # its rows have the old shape
        self._baseline = baseline
        self._dataset.accept()
        return baseline

    def _labelled(self, rows: Rows, baseline: Baseline) -> tuple[Rows, tuple[str, ...]]:
        uri = self._settings.labels_uri
        if uri is None or rows.keys is None:
            return rows, ()
        try:
            labels = read_labels(uri, baseline.reference.schema, rows.keys)
            return join(rows, labels), labels.notes()
        except DriftError as error:
            log.warning("labels cannot be read", reason=str(error))
            return rows, (f"labels cannot be read: {error}",)
