"""What XGBoost and LightGBM take beyond scikit-learn's habits: names of parameters, and defaults of ours.

Their classes take any keyword and hand it on, so a misspelt one would be left out of the model in silence.
"""

import importlib
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["PARAMETER_PAGES", "default_parameters", "native_names"]

#: Where each package documents its parameters.
PARAMETER_PAGES: Final = {
    "lightgbm": "https://lightgbm.readthedocs.io/en/stable/Parameters.html",
    "xgboost": "https://xgboost.readthedocs.io/en/stable/parameter.html",
}

#: LightGBM's own words for sums that do not depend on the number of threads
#: (https://lightgbm.readthedocs.io/en/stable/Parameters.html#deterministic); -1 keeps it silent.
_LIGHTGBM_DEFAULTS: Final = {"deterministic": True, "force_row_wise": True, "verbosity": -1}

#: Where processors are busy, the threads of a booster wait for each other after every split: 2,000 rows took
#: 20 s with all processors and 0.2 s with one. Whoever has a large table and a free machine sets n_jobs.
_DEFAULT_JOBS: Final = 1
#: Other names of `n_jobs` (LightGBM's aliases of num_threads; XGBoost's nthread).
_JOBS: Final = frozenset({"n_jobs", "n_thread", "nthread", "nthreads", "num_thread", "num_threads"})

#: Documented parameters of XGBoost that its scikit-learn classes have no argument for, and hand on.
_XGBOOST_NATIVE: Final = frozenset(
    {
        *(
            "eta",
            "lambda",
            "reg_lambda",
            "alpha",
            "reg_alpha",
            "min_split_loss",
            "nthread",
            "seed",
            "updater",
        ),
        *("refresh_leaf", "process_type", "max_cached_hist_node", "extmem_single_page", "seed_per_iteration"),
        *("sample_type", "normalize_type", "rate_drop", "one_drop", "skip_drop", "feature_selector", "top_k"),
        *("tweedie_variance_power", "huber_slope", "quantile_alpha", "expectile_alpha", "num_class"),
        *(
            "aft_loss_distribution",
            "aft_loss_distribution_scale",
            "disable_default_eval_metric",
            "sketch_ratio",
        ),
    }
)


def native_names(package: str) -> frozenset[str] | None:
    """Return the names that estimators of `package` hand on; None where nobody knows them."""
    if package == "xgboost":
        return _XGBOOST_NATIVE
    if package != "lightgbm":
        return None
    table = getattr(importlib.import_module("lightgbm.basic"), "_ConfigAliases", None)
    if table is None:
        return None
    table.get("num_threads")  # fills the table, which the library itself writes
    return frozenset(name for names in table.aliases.values() for name in names)


def default_parameters(package: str, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what we set for `package` where `chosen` does not."""
    if package not in PARAMETER_PAGES:
        return {}
    defaults: dict[str, Any] = {} if _JOBS & chosen.keys() else {"n_jobs": _DEFAULT_JOBS}
    return defaults | (_LIGHTGBM_DEFAULTS if package == "lightgbm" else {})
