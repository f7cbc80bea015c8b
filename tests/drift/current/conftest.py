"""A Loki stand-in for each test that wants one."""

from collections.abc import Iterator

import pytest

from tests.drift.current.loki_stand_in import LokiStandIn


@pytest.fixture
def loki() -> Iterator[LokiStandIn]:
    with LokiStandIn() as running:
        yield running
