"""How far a column has moved since a dataset was accepted: the population stability index, column by column.

PSI is the sum of (q - p) ln(q / p) over the bins of a column, p being the shares then and q the shares now:
0 for the same distribution; by convention below 0.1 is little, above 0.25 a lot (Siddiqi, Credit Risk
Scorecards, 2006). Numbers are binned at the quantiles of then, categories are bins of their own, and so is what is
missing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_numeric_dtype

__all__ = ["Profile", "profile_of", "stability_index"]

_BINS: Final = 10
#: With fewer rows a bin its share says little: two samples of n rows each, of the same distribution, have a PSI
#: of about 2 (bins - 1) / n.
_ROWS_A_BIN: Final = 50
#: What an empty bin counts as, so that the logarithm exists.
_LEAST_SHARE: Final = 1e-4
#: Texts kept by name; the share of all others is one bin.
_NAMED_TEXTS: Final = 1024


@dataclass(frozen=True)
class Profile:
    """The distribution of one column: shares of the bins that `edges` or `texts` make, and of what is missing.

    A number x is in bin i when edges[i - 1] < x <= edges[i]; the outermost are open. The last share of texts
    is that of all others.
    """

    missing: float
    shares: tuple[float, ...]
    edges: tuple[float, ...] | None = None
    texts: tuple[str, ...] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {key: value for key, value in vars(self).items() if value is not None}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Profile":
        """Read what `as_json` returned. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        edges, texts = content.get("edges"), content.get("texts")
        if (edges is None) == (texts is None):
            raise ValueError("a profile has either edges or texts")
        return cls(
            float(content["missing"]),
            tuple(map(float, content["shares"])),
            None if edges is None else tuple(map(float, edges)),
            None if texts is None else tuple(map(str, texts)),
        )


def profile_of(values: pd.Series) -> Profile:
    """Describe the distribution of a column of numbers or texts."""
    present = values.dropna()
    missing = 1 - len(present) / max(1, len(values))
    if is_numeric_dtype(values.dtype):
        numbers = present.to_numpy(dtype=np.float64)
        edges = _edges(numbers)
        return Profile(missing, _shares(_places(numbers, edges), len(edges) + 1, len(values)), edges=edges)
    counts = present.astype(str).value_counts().head(_NAMED_TEXTS)
    texts = tuple(sorted(map(str, counts.index)))
    return Profile(missing, _text_shares(present, texts, len(values)), texts=texts)


def stability_index(before: Profile, values: pd.Series) -> float | None:
    """Return the PSI of `values` against `before`; None when one holds numbers and the other texts."""
    present, rows = values.dropna(), max(1, len(values))
    if is_numeric_dtype(values.dtype) != (before.edges is not None):
        return None
    if before.edges is not None:
        places = _places(present.to_numpy(dtype=np.float64), before.edges)
        shares = _shares(places, len(before.edges) + 1, rows)
    else:
        shares = _text_shares(present, before.texts or (), rows)
    then = np.maximum([*before.shares, before.missing], _LEAST_SHARE)
    now = np.maximum([*shares, 1 - len(present) / rows], _LEAST_SHARE)
    return float(np.sum((now - then) * np.log(now / then)))


def _edges(numbers: NDArray[np.float64]) -> tuple[float, ...]:
    """Return quantiles that divide `numbers` evenly, and edges just outside them all."""
    if not len(numbers):
        return ()
    bins = int(np.clip(len(numbers) // _ROWS_A_BIN, 2, _BINS))
    quantiles = np.quantile(numbers, np.arange(1, bins) / bins, method="lower")
    outside = (np.nextafter(numbers.min(), -np.inf), numbers.max())
    return tuple(float(edge) for edge in np.unique([*quantiles, *outside]))


def _places(numbers: NDArray[np.float64], edges: tuple[float, ...]) -> NDArray[np.intp]:
    return np.searchsorted(np.asarray(edges, dtype=np.float64), numbers, side="left")


def _shares(places: NDArray[np.intp], bins: int, rows: int) -> tuple[float, ...]:
    return tuple((np.bincount(places, minlength=bins) / max(1, rows)).tolist())


def _text_shares(present: pd.Series, texts: tuple[str, ...], rows: int) -> tuple[float, ...]:
    counts = present.astype(str).value_counts()
    named = counts.reindex(list(texts), fill_value=0).to_numpy()
    return tuple((np.append(named, counts.sum() - named.sum()) / max(1, rows)).tolist())
