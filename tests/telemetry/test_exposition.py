"""The text that Prometheus scrapes."""

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from telemetry import render_metrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.fixture
def registry() -> CollectorRegistry:
    """One counter at 2."""
    registry = CollectorRegistry()
    Counter("ml_swaps", "Swaps", ["outcome"], registry=registry).labels("ok").inc(2)
    return registry


@pytest.mark.parametrize("accept", [None, "", "text/plain", "*/*", "nonsense;;q=x"])
def test_plain_text_is_what_others_get(registry: CollectorRegistry, accept: str | None) -> None:
    """Without a wish for OpenMetrics the classic text format is answered."""
    body, content_type = render_metrics(registry, accept)
    assert content_type.startswith("text/plain")
    samples = [sample for family in parse_text(body.decode()) for sample in family.samples]
    assert any(s.name == "ml_swaps_total" and s.value == 2 and s.labels == {"outcome": "ok"} for s in samples)


def test_openmetrics_is_answered_to_who_prefers_it(registry: CollectorRegistry) -> None:
    """Prometheus asks for OpenMetrics and gets it, with its end marker."""
    body, content_type = render_metrics(registry, OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    families = parse_openmetrics(body.decode())  # type: ignore[no-untyped-call]
    assert [family.name for family in families] == ["ml_swaps"]
