"""The text that Prometheus scrapes."""

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

__all__ = ["render_metrics"]


def render_metrics(registry: CollectorRegistry, accept: str | None) -> tuple[bytes, str]:
    """Return `(body, content type)` of all metrics, in the format that `accept` (the header) prefers."""
    encode, content_type = choose_encoder(accept or "")
    return encode(registry), content_type
