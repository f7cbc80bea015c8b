"""From a table to a registered version that a server can trust.

A configuration (`config`, `coalmine.toml`) names a table; `sources` fetches it, `dataset` reads it and
`contract` checks it: columns, rows among each other, and drift since the one that was `accepted` before.
`estimator` finds what shall learn, `fit` splits, fits and measures, and `gates` say yes or no. Then `bundle`
writes a directory that stock MLflow loads: `compile` turns the model into ONNX, `parity` decides whether that
may serve, `reference` keeps what drift compares with, `lineage` says where it all came from, and `manifest`
pins every byte. `registry` stores exactly these bytes and registers them, the version last.

Two commands walk this way: `python -m training.validate` as far as the contract, `python -m training.train`
to its end. `pipeline` is the way itself, `report` the only module that writes for people.
"""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from training.bundle import Bundle, build_bundle, verify_bundle
    from training.config import Config, load_config
    from training.contract import ContractReport, ValidatedTable, check_contract
    from training.errors import ExitCode, TrainingError
    from training.pipeline import TrainingOutcome, check_data, run_training
    from training.reference import persist_reference_dataset

__all__ = [
    "Bundle",
    "Config",
    "ContractReport",
    "ExitCode",
    "TrainingError",
    "TrainingOutcome",
    "ValidatedTable",
    "build_bundle",
    "check_contract",
    "check_data",
    "load_config",
    "persist_reference_dataset",
    "run_training",
    "verify_bundle",
]

# Imported when first used: `python -m training.train --help` must not wait for MLflow and scikit-learn.
_HOMES: Final = {
    "Bundle": "bundle",
    "Config": "config",
    "ContractReport": "contract",
    "ExitCode": "errors",
    "TrainingError": "errors",
    "TrainingOutcome": "pipeline",
    "ValidatedTable": "contract",
    "build_bundle": "bundle",
    "check_contract": "contract",
    "check_data": "pipeline",
    "load_config": "config",
    "persist_reference_dataset": "reference",
    "run_training": "pipeline",
    "verify_bundle": "bundle",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
