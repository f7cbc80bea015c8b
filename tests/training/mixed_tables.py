"""A table with numbers, whole numbers, texts and holes, as a file and as configuration sections."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

#: `size` may be missing and its unknown texts count as missing; `length` may be missing; the others may not.
COLUMNS = {
    "length": {"nullable": True},
    "kind": {"type": "category", "values": ["red", "blue|green", 'ünï; "x"']},
    "count": {"type": "integer"},
    "size": {"type": "category", "values": ["s", "m", "l", "xl"], "nullable": True, "unknown": "missing"},
}


def mixed_frame(rows: int = 240, seed: int = 5) -> pd.DataFrame:
    """Return a table whose label `y` depends on all of its columns."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "length": random.normal(10, 3, rows).round(3),
            "kind": random.choice(COLUMNS["kind"]["values"], rows),
            "count": random.integers(0, 9, rows),
            "size": random.choice(["s", "m", "l"], rows),
        }
    )
    tendency = (
        frame["length"] - 10 + 3 * (frame["kind"] == "red") + frame["count"] - 4 + 2 * (frame["size"] == "l")
    )
    frame["y"] = np.where(tendency + random.normal(0, 1, rows) > 1, "yes", "no")
    frame["amount"] = (tendency * 2.5 + 40).round(2)
    frame.loc[random.random(rows) < 0.15, "length"] = np.nan
    frame.loc[random.random(rows) < 0.2, "size"] = None
    return frame


def mixed_sections(target: str = "y", **sections: Any) -> dict[str, Any]:  # noqa: ANN401 (of any section)
    """Write the table to `mixed.csv` in the working directory and return sections that describe it."""
    mixed_frame().to_csv(Path("mixed.csv"), index=False)
    return {
        "dataset": {"source": "mixed.csv", "target": target, "features": list(COLUMNS)},
        "contract": {"columns": COLUMNS},
        **sections,
    }
