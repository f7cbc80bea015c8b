"""The same test without any approximation, for references that are small: a permutation test.

If nothing changed, current rows are as good as drawn from reference and current rows together. Bins, scores and
gauges are chosen on both together and are the same for every split of them, so that the p-value is exact: at any
level it is at or below it at most so often (Phipson & Smyth 2010, doi:10.2202/1544-6115.1585), whatever the rows.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from drift.alarm.distances import Floats
from drift.alarm.null import Null, PValues, batches
from drift.alarm.sample import Sample
from drift.rows import Reference, Rows, Schema

__all__ = ["exact_p_values"]

#: Codes of the smaller side, which is drawn some 2,000 times: one or two seconds.
_MOST_CODES: Final = 200_000
#: Current rows at most, of more a sample: twice the largest reference that comes here.
_MOST_ROWS: Final = 20_000
#: What stands for the texts that the reference does not have.
_NEW_TEXT: Final = ""


def exact_p_values(reference: Reference, current: Rows, random: np.random.Generator) -> PValues:
    """Compare the current rows with random splits of reference and current rows, themselves being one of them."""
    current = _at_most(current, reference, random)
    known, rows = len(reference.rows), len(current)
    total, size = known + rows, min(known, rows)
    pool = Rows.concatenate([_plain(reference.rows), _plain(current)])
    sample = Sample.of(Reference(_with_new(reference.schema), pool, total), random)
    smaller = random.permutation(rows) + known if rows <= known else random.permutation(known)
    distances: list[Floats] = []
    pairs: list[Floats] = []
    for count in batches(size * sample.codes.shape[1]):
        windows = np.stack([random.choice(total, size, replace=False) for _ in range(count)])
        if not distances:
            windows[0] = smaller
        counts, statistics = sample.measure(windows)
        effective = size * (total - size) / total
        distances.append(sample.distances(counts, sample.counts - counts, share=size / total, size=effective))
        pairs.append(statistics)
    all_distances, all_pairs = np.concatenate(distances), np.concatenate(pairs)
    return Null.of(all_distances, all_pairs, unseen=0).p_values(all_distances[0], all_pairs[0])


def _at_most(current: Rows, reference: Reference, random: np.random.Generator) -> Rows:
    budget = max(_MOST_CODES // (len(reference.schema.feature_names) + 1), 1)
    most = _MOST_ROWS if len(reference.rows) <= budget else budget
    if len(current) <= most:
        return current
    kept: NDArray[np.intp] = random.choice(len(current), most, replace=False)
    return current.take(kept)


def _plain(rows: Rows) -> Rows:
    return Rows(rows.features, rows.predictions)


def _with_new(schema: Schema) -> Schema:
    return replace(
        schema, categories=tuple((*texts, _NEW_TEXT) if texts else () for texts in schema.categories)
    )
