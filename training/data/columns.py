"""The columns that a model takes: what each may hold, as the manifest says it to servers."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from protos.inference.v1.manifest_pb2 import Feature, FeatureType

__all__ = ["Column", "columns_of", "decode_rows", "encode_rows", "features_of", "listed"]


@dataclass(frozen=True)
class Column:
    """One feature. A category is known to the model by its code: its place in `categories`, from 0."""

    name: str
    type: "FeatureType.ValueType" = FeatureType.FEATURE_TYPE_FLOAT
    nullable: bool = False
    categories: tuple[str, ...] = ()
    unknown_as_missing: bool = False

    @property
    def is_category(self) -> bool:
        """Whether it holds texts of a fixed set."""
        return self.type == FeatureType.FEATURE_TYPE_CATEGORY


def listed(categories: Sequence[str], limit: int) -> str:
    """Return the first `limit` of `categories` in words; one that would be read as two stands in quotes."""
    shown = ", ".join(_quoted(one) for one in categories[:limit])
    more = len(categories) - limit
    return f"{shown} and {more} more" if more > 0 else shown


def _quoted(category: str) -> str:
    plain = category and category == category.strip() and not set(',;"\n') & set(category)
    return category if plain else json.dumps(category, ensure_ascii=False)


def features_of(columns: Sequence[Column]) -> list[Feature]:
    """Return what the manifest says about `columns`."""
    return [
        Feature(
            name=column.name,
            type=column.type,
            nullable=column.nullable,
            categories=column.categories,
            unknown_as_missing=column.unknown_as_missing,
        )
        for column in columns
    ]


def encode_rows(frame: pd.DataFrame, columns: Sequence[Column]) -> NDArray[np.float32]:
    """Return `frame` as the matrix that compiled models take: (rows, columns), float32.

    A category becomes its code; a missing value, and a text that is not among the categories, becomes NaN.
    """
    encoded = np.empty((len(frame), len(columns)), dtype=np.float32)
    for place, column in enumerate(columns):
        values = frame[column.name]
        if column.is_category:
            codes = pd.Index(column.categories, dtype=object).get_indexer(pd.Index(values, dtype=object))
            encoded[:, place] = np.where(codes < 0, np.nan, codes)
        else:
            encoded[:, place] = values.to_numpy(dtype=np.float32, na_value=np.nan)
    return encoded


def decode_rows(matrix: NDArray[np.float32], columns: Sequence[Column]) -> pd.DataFrame:
    """Return the table that `encode_rows` makes `matrix` from: texts (None when missing) and float32 numbers."""
    decoded: dict[str, object] = {}
    for place, column in enumerate(columns):
        values = np.asarray(matrix[:, place], dtype=np.float32)
        if column.is_category:
            texts = np.array([*column.categories, None], dtype=object)
            decoded[column.name] = texts[np.where(np.isnan(values), -1, values).astype(np.int64)]
        else:
            decoded[column.name] = values
    return pd.DataFrame(decoded, columns=[column.name for column in columns])


def columns_of(features: Iterable[Feature]) -> tuple[Column, ...]:
    """Return the columns that a manifest describes."""
    return tuple(
        Column(
            feature.name,
            feature.type,
            feature.nullable,
            tuple(feature.categories),
            feature.unknown_as_missing,
        )
        for feature in features
    )
