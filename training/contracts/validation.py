"""From a configuration to a verdict on its table, with the dataset accepted before in view."""

from pathlib import Path

from training.configuration.sections import Config
from training.contracts.accepted import PROCESSED, read_accepted, record_path
from training.contracts.contract import MAX_VIOLATIONS, ContractReport, check_contract
from training.data.dataset import load_table

__all__ = ["processed_path", "validate_dataset"]


def validate_dataset(
    config: Config,
    *,
    classification: bool,
    rows: int | None = None,
    limit: int = MAX_VIOLATIONS,
    destination: Path | None = None,
) -> ContractReport:
    """Load the table that `config` names, or its first `rows`, and check its contract.

    It is compared with what was accepted last at `destination`, by default `data/processed/NAME.*`. Raises
    `DatasetError`, `ConfigError` and `StorageError`.
    """
    record = record_path(destination or processed_path(config))
    previous = read_accepted(record)
    table = load_table(config, rows=rows, classification=classification)
    return check_contract(
        table,
        config.contract,
        classification=classification,
        split=config.split,
        previous=previous,
        limit=limit,
    )


def processed_path(config: Config, directory: Path = PROCESSED) -> Path:
    """Return where the valid table is written: a Parquet file stays one, anything else becomes CSV."""
    dataset = config.dataset
    is_parquet = dataset.format == "parquet" or (
        dataset.format is None and dataset.source.lower().endswith((".parquet", ".pq"))
    )
    return directory / f"{config.dataset_name}.{'parquet' if is_parquet else 'csv'}"
