"""Ids seen before: known while they must be, forgotten in time, bounded."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from drift.current.seen import SeenIds


def add(seen: SeenIds, ids: list[int], moment: float) -> list[bool]:
    answer: list[bool] = seen.add(np.array(ids, dtype=np.int64), np.full(len(ids), moment)).tolist()
    return answer


@given(batches=st.lists(st.lists(st.integers(-5, 30), max_size=20), max_size=10), tidy=st.booleans())
def test_an_id_is_new_once(batches: list[list[int]], tidy: bool) -> None:
    """Within a batch and over batches, whatever was merged in between, the first of equal ids is the new one."""
    seen, known = SeenIds(), set[int]()
    for moment, batch in enumerate(batches):
        expected = []
        for one in batch:
            expected.append(one not in known)
            known.add(one)
        assert add(seen, batch, float(moment)) == expected
        if tidy:
            seen.forget(-1.0)
    assert len(seen) == len(known)


def test_ids_are_forgotten_by_time() -> None:
    """What is older than asked is new again."""
    seen = SeenIds()
    add(seen, [1, 2], 10.0)
    add(seen, [3], 20.0)
    seen.forget(15.0)
    assert add(seen, [1, 2, 3], 30.0) == [True, True, False]


def test_too_many_ids_cost_the_oldest() -> None:
    """The number of ids is bounded, and it is known from when on all are remembered."""
    seen = SeenIds(capacity=100)
    for moment in range(10):
        add(seen, list(range(moment * 50, moment * 50 + 50)), float(moment))
    seen.forget(0.0)
    assert len(seen) == 100
    assert seen.forgotten_until == 7.0
    assert not any(add(seen, list(range(400, 500)), 9.0))


def test_of_ids_of_one_time_only_the_surplus_is_forgotten() -> None:
    """A burst of one moment, one id more than there is room for: all but one are remembered."""
    seen = SeenIds(capacity=100)
    add(seen, list(range(101)), 5.0)
    seen.forget(0.0)
    assert len(seen) == 100
    assert sum(add(seen, list(range(101)), 5.0)) == 1
    assert seen.forgotten_until == 5.0
