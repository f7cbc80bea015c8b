"""Which variables fit together: one that would have no effect is refused, as whoever set it meant something by it."""

from collections.abc import Iterator, Mapping
from typing import Final

from drift.data.location import is_dataset, parse_location

__all__ = ["conflicts"]

#: Variables that say something about another one, and nothing without it.
_NEEDED: Final = {
    "LOKI_TENANT_ID": "LOKI_BASE_URL",
    "LOKI_USERNAME": "LOKI_BASE_URL",
    "LOKI_PASSWORD": "LOKI_BASE_URL",
    "LOKI_TOKEN": "LOKI_BASE_URL",
    "DRIFT_ACTION_WEBHOOK_SECRET": "DRIFT_ACTION_WEBHOOK_URL",
    "DRIFT_ACTION_ARGO_NAMESPACE": "DRIFT_ACTION_ARGO_URL",
    "DRIFT_ACTION_ARGO_TOKEN": "DRIFT_ACTION_ARGO_URL",
    "DRIFT_ACTION_ARGO_TOKEN_FILE": "DRIFT_ACTION_ARGO_URL",
}
_PAIRS: Final = (
    ("LOKI_USERNAME", "LOKI_PASSWORD"),
    ("DRIFT_ACTION_ARGO_URL", "DRIFT_ACTION_ARGO_TEMPLATE"),
)
_EITHER: Final = (
    ("LOKI_TOKEN", "LOKI_USERNAME"),
    ("DRIFT_ACTION_WEBHOOK_URL", "DRIFT_ACTION_ARGO_URL"),
    ("DRIFT_ACTION_ARGO_TOKEN", "DRIFT_ACTION_ARGO_TOKEN_FILE"),
)
#: What chooses among events, or joins with their ids; a dataset has neither.
_FOR_EVENTS: Final = ("CURRENT_MODEL", "CURRENT_VERSION", "CURRENT_TRACK", "LABELS_URI")


def conflicts(given: Mapping[str, object]) -> Iterator[str]:
    """Yield a sentence for each mistake among the variables that are set; their values are those of the settings."""
    for name, needed in _NEEDED.items():
        if name in given and needed not in given:
            yield f"{name} has no effect without {needed}; set that too, or leave out the first"
    for pair in _PAIRS:
        if len(given.keys() & {*pair}) == 1:
            yield f"{pair[0]} and {pair[1]} belong together; set both"
    for one, other in _EITHER:
        if one in given and other in given:
            yield f"{one} and {other} are both set; choose one"
    location = str(given.get("CURRENT_DATASET_URI", ""))
    if "LOKI_BASE_URL" not in given and is_dataset(location):
        dataset = parse_location(location)  # as people may see it
        for name in _FOR_EVENTS:
            if name in given:
                yield (
                    f"{name} has no effect on a dataset, which has no events (CURRENT_DATASET_URI is {dataset}); "
                    "leave it out, or give a log or LOKI_BASE_URL"
                )
