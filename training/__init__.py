"""From a table to a registered version that a server can trust.

A `configuration` (`coalmine.toml`) names a table; `data` fetches and reads it, and `contracts` check it: columns, rows
among each other, and drift since the table that was accepted before. `fitting` finds what shall learn, puts the
preprocessing in front of it, splits and fits. `judging` measures what came out, with intervals, meets the champion on
the same held-out rows, and says yes or no by gates. `bundling` writes a directory that stock MLflow loads: compiled to
ONNX where that agrees with scikit-learn, with the reference for drift, the lineage, a model card, and a manifest that
pins every byte. `registering` stores exactly these bytes and registers them, the version last, and moves aliases with
a history.

Commands: `validate` goes as far as the contract, `train` to the end; `inspect`, `sign`, `aliases` and `history` look
after what is there; `adopt` makes a bundle of somebody else's model. `pipeline` is the way itself, `report` and
`report_html` write for people.
"""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from training.bundling.bundle import Bundle, build_bundle, verify_bundle
    from training.bundling.reference import persist_reference_dataset
    from training.configuration.config import load_config
    from training.configuration.sections import Config
    from training.contracts.contract import ContractReport, ValidatedTable, check_contract
    from training.errors import ExitCode, TrainingError
    from training.pipeline import TrainingOutcome, check_data, run_training

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
    "Bundle": "bundling.bundle",
    "Config": "configuration.sections",
    "ContractReport": "contracts.contract",
    "ExitCode": "errors",
    "TrainingError": "errors",
    "TrainingOutcome": "pipeline",
    "ValidatedTable": "contracts.contract",
    "build_bundle": "bundling.bundle",
    "check_contract": "contracts.contract",
    "check_data": "pipeline",
    "load_config": "configuration.config",
    "persist_reference_dataset": "bundling.reference",
    "run_training": "pipeline",
    "verify_bundle": "bundling.bundle",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
