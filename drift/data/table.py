"""Datasets in CSV files: columns `feature_0…N`, `prediction`, and others that drift does not need."""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from drift.current.window import Window
from drift.errors import DatasetError
from drift.rows import Features, Predictions, Reference, Rows, Schema, infer_kind

__all__ = ["SAMPLE_SEED", "read_current", "read_reference"]

#: Seed of every sample of rows, so that the same files give the same result.
SAMPLE_SEED: Final = 20020106

_FEATURE = re.compile(r"feature_(0|[1-9]\d*)")
_CHUNK_ROWS = 20_000
# Only feature columns know missing values: a class may be called NA or null.
_MISSING = ["", "NA", "N/A", "NaN", "nan", "None", "null"]
# A column of more texts than this is one of numbers with a mistake in it.
_MAX_CATEGORIES = 10_000
# A category may be called None or NA; what is missing training writes as nothing.
_NO_TEXT = [""]
_SHAPE = "it needs feature_0..N and prediction, as training writes them to reference.csv of a bundle"


def read_reference(path: Path, max_rows: int) -> Reference:
    """Read the reference, at most `max_rows` sampled rows of it. Raises `DatasetError`."""
    dataset = _Dataset("Reference", path)
    names = dataset.feature_names()
    found = Schema(names, "label")
    try:
        rows, total = dataset.sample(found, max_rows)
    except DatasetError:  # not only numbers
        found = replace(found, categories=dataset.categories(names))
        if not found.categories:
            raise
        rows, total = dataset.sample(found, max_rows)
    if rows is None:
        raise dataset.error("is empty", "give a file with rows: reference.csv of a bundle")
    texts = [str(value) for value in rows.predictions]
    schema = replace(found, kind=infer_kind(texts))
    return Reference(schema, Rows(rows.features, dataset.predictions(schema, texts)), total)


def read_current(path: Path, schema: Schema, max_rows: int) -> Rows | None:
    """Read current rows of the shape of the reference, None when there are none. Raises `DatasetError`."""
    dataset = _Dataset("Current", path)
    names = dataset.feature_names()
    if names != schema.feature_names:
        raise dataset.error(
            f"has {len(names)} feature columns where the reference has {len(schema.feature_names)}",
            "compare it with the reference of the same model",
        )
    rows, _ = dataset.sample(schema, max_rows)
    if rows is None:
        return None
    return Rows(rows.features, dataset.predictions(schema, [str(value) for value in rows.predictions]))


class _Dataset:
    """One CSV file, with the sentences of its errors."""

    def __init__(self, role: str, path: Path) -> None:
        self._role, self._path = role, path

    def error(self, reason: str, remedy: str) -> DatasetError:
        return DatasetError(self._role, str(self._path), reason, remedy)

    def feature_names(self) -> tuple[str, ...]:
        columns = self._header()
        repeated = sorted(name for name, times in Counter(columns).items() if name and times > 1)
        if repeated:
            raise self.error(f"names {', '.join(repeated)} more than once", "give every column its own name")
        numbers = sorted(int(found.group(1)) for name in columns if (found := _FEATURE.fullmatch(name)))
        if not numbers:
            raise self.error(f"must contain feature columns (found {', '.join(columns) or 'none'})", _SHAPE)
        if numbers != list(range(len(numbers))):
            listed = ", ".join(f"feature_{number}" for number in numbers)
            raise self.error(f"must number its feature columns from 0 without gaps (found {listed})", _SHAPE)
        if "prediction" not in columns:
            raise self.error(f"must contain the column prediction (found {', '.join(columns)})", _SHAPE)
        return tuple(f"feature_{number}" for number in numbers)

    def categories(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
        """Return the texts of each feature that has any, in their order; nothing when none has, or one too many."""
        found: dict[str, set[str]] = {name: set() for name in names}
        texts = set[str]()
        for chunk in self._read(names, str, _NO_TEXT):
            for name in names:
                values = chunk[name].dropna().unique()
                found[name].update(map(str, values))
                if name not in texts and not all(map(_is_number, values)):
                    texts.add(name)
        if max((len(found[name]) for name in texts), default=0) > _MAX_CATEGORIES:
            return ()
        return tuple(tuple(sorted(found[name])) if name in texts else () for name in names) if texts else ()

    def sample(self, schema: Schema, max_rows: int) -> tuple[Rows | None, int]:
        """Return at most `max_rows` rows, chosen without bias, and how many the file has."""
        window = Window(max_rows, float("inf"), SAMPLE_SEED)
        total = 0
        for features, predictions in self._chunks(schema):
            window.add(np.zeros(len(features)), Rows(features, predictions))
            total += len(features)
        return window.sample(0.0), total

    def predictions(self, schema: Schema, texts: list[str]) -> Predictions:
        try:
            return schema.predictions(texts)
        except ValueError as error:
            raise self.error(
                f"has a prediction that is no {schema.kind} ({error})", "give every row one"
            ) from None

    def _header(self) -> list[str]:
        # Read as a row: pandas renames columns of one name, and would take one of them for the feature.
        try:
            header = pd.read_csv(
                self._path, header=None, nrows=1, dtype=str, keep_default_na=False, encoding="utf-8-sig"
            )
            return [str(name) for name in header.iloc[0]]
        except pd.errors.EmptyDataError:
            raise self.error("is empty", "give a file with a header and rows") from None
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None

    def _chunks(self, schema: Schema) -> Iterator[tuple[Features, Predictions]]:
        names = schema.feature_names
        texts = {names[place] for place in schema.category_places}
        for chunk in self._read(names, np.float64, _MISSING, texts):
            for place in schema.category_places:
                column = chunk[names[place]]
                chunk[names[place]] = schema.codes(
                    place, column.astype(object).where(column.notna(), None).tolist()
                )
            yield chunk[list(names)].to_numpy(np.float64), chunk["prediction"].to_numpy(dtype=object)

    def _read(
        self, names: tuple[str, ...], kind: type, missing: list[str], texts: Collection[str] = ()
    ) -> Iterator[pd.DataFrame]:
        """Read chunks whose features are `kind`, and those of `texts` text."""
        of_kind = [name for name in names if name not in texts]
        try:
            with pd.read_csv(
                self._path,
                usecols=[*names, "prediction"],
                dtype={**dict.fromkeys(of_kind, kind), **dict.fromkeys([*texts, "prediction"], str)},
                na_values={**dict.fromkeys(of_kind, missing), **dict.fromkeys(texts, _NO_TEXT)},
                keep_default_na=False,
                encoding="utf-8-sig",
                chunksize=_CHUNK_ROWS,
            ) as chunks:
                yield from chunks
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError | ValueError) -> DatasetError:
        if isinstance(error, FileNotFoundError):
            return self.error(
                "is missing, no such file", f"set {self._role.upper()}_DATASET_URI to one that exists"
            )
        return self.error(f"cannot be read ({error})", "give a readable CSV whose features are numbers")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in _MISSING
    return True
