"""What may be asked of the history and the page, and what is said to those who ask otherwise."""

import pytest

from drift.errors import HistoryRequestError
from drift.service.queries import HistoryRequest, PageRequest, history_request, page_request


def test_what_is_not_asked_for_has_a_default() -> None:
    """An empty query is answered with the newest hundred runs, and the page of a day."""
    assert history_request({}) == HistoryRequest(limit=100, before=None)
    assert page_request({}) == PageRequest(span="day", refreshing=True)


def test_what_is_asked_for_is_given() -> None:
    """Whole numbers within their bounds, and each span."""
    assert history_request({"limit": "1000", "before": "17"}) == HistoryRequest(limit=1000, before=17)
    assert page_request({"span": "week", "refresh": "off"}) == PageRequest(span="week", refreshing=False)


@pytest.mark.parametrize("value", ["0", "1001", "-1", "1.5", "", "abc", "1_0", " 1", "+1", "٣", "9" * 5000])
def test_a_limit_that_cannot_be_is_refused(value: str) -> None:
    """The sentence names the parameter and what it may be, and repeats no more than the head of the value."""
    with pytest.raises(HistoryRequestError, match="give a whole number from 1 to 1000") as refused:
        history_request({"limit": value})
    assert str(refused.value).startswith("limit is ")
    assert len(str(refused.value)) < 120


def test_a_parameter_that_does_not_exist_is_refused() -> None:
    """A typing error is not answered with something else."""
    with pytest.raises(HistoryRequestError, match="the parameters are limit and before"):
        history_request({"offset": "1"})


def test_a_span_that_does_not_exist_is_refused() -> None:
    """The sentence lists the spans."""
    with pytest.raises(HistoryRequestError, match="give one of 6h, day, week, month"):
        page_request({"span": "year"})
