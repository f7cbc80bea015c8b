"""Where tables come from: a built-in dataset, or a CSV file. Nothing here judges what a table says."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd
from sklearn.datasets import load_iris

from training.config import Config, DatasetSection, Range
from training.errors import ConfigError, DatasetError, ExitCode
from training.storage import describe, public_uri

__all__ = ["BUILT_IN_DATASETS", "Table", "load_table"]

#: Centimetres. Wider than any iris by far: they catch a wrong unit (millimetres) and a lost decimal point.
_IRIS_RANGES: Final = {"min": 0.1, "max": 30.0}
_IRIS_FEATURES: Final = ("sepal_length", "sepal_width", "petal_length", "petal_width")


@dataclass(frozen=True)
class Table:
    """A table as it was found, and what is known about it beforehand.

    `features` is None when every column but `target` is one.
    """

    name: str
    source: str
    frame: pd.DataFrame
    target: str
    features: tuple[str, ...] | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None


def load_table(config: Config) -> Table:
    """Read the table that `config` names. Raises `DatasetError`, and `ConfigError` without a target."""
    dataset = config.dataset
    if dataset.source in BUILT_IN_DATASETS:
        return BUILT_IN_DATASETS[dataset.source](dataset)
    if dataset.target is None:
        raise ConfigError(
            ["[dataset] target: no column to predict is named; say --target COLUMN or set the key"],
            source=dataset.source,
        )
    frame = _read_csv(dataset.source)
    source = public_uri(dataset.source)
    return Table(config.dataset_name, source, frame, dataset.target, dataset.features)


def _load_iris(dataset: DatasetSection) -> Table:
    """Fisher's irises as scikit-learn ships them: 150 flowers, 4 lengths in cm, 3 species."""
    bunch = load_iris()
    frame = pd.DataFrame(bunch.data, columns=list(_IRIS_FEATURES))
    species = tuple(str(name) for name in bunch.target_names)
    frame["species"] = [species[index] for index in bunch.target]
    return Table(
        name="iris",
        source="iris",
        frame=frame,
        target=dataset.target or "species",
        features=dataset.features or _IRIS_FEATURES,
        ranges={name: Range(**_IRIS_RANGES) for name in _IRIS_FEATURES},
        classes=species,
    )


#: Name → loader. Another built-in dataset is one more line.
BUILT_IN_DATASETS: Final[Mapping[str, Callable[[DatasetSection], Table]]] = {"iris": _load_iris}


def _read_csv(source: str) -> pd.DataFrame:
    path = Path(source)
    if not path.is_file():
        found = "it is a directory" if path.is_dir() else "the file does not exist"
        remedy = f"name an existing CSV file, or a built-in dataset ({', '.join(BUILT_IN_DATASETS)})"
        raise DatasetError(source, found, remedy, exit_code=ExitCode.USAGE)
    try:
        with warnings.catch_warnings():
            # Rows longer than the header: pandas would cut them and only warn.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            _refuse_repeated_names(path)
            return pd.read_csv(path, index_col=False, float_precision="round_trip", low_memory=False)
    except OSError as error:
        remedy = "check that this user may read it"
        raise DatasetError(source, describe(error), remedy, exit_code=ExitCode.INFRASTRUCTURE) from error
    except pd.errors.EmptyDataError:
        reason, remedy = "the file is empty", "give it a header line and rows"
    except UnicodeDecodeError as error:
        reason, remedy = f"it is not UTF-8 text (byte {error.start})", "save it as CSV in UTF-8"
    except pd.errors.ParserWarning:
        reason, remedy = (
            "a row has more fields than the header",
            "give every line as many fields as the header",
        )
    except pd.errors.ParserError as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        remedy = "give every line as many fields as the header"
    raise DatasetError(source, reason, remedy, exit_code=ExitCode.CONTRACT)


def _refuse_repeated_names(path: Path) -> None:
    header = pd.read_csv(path, header=None, nrows=1, dtype=str, index_col=False).iloc[0]
    repeated = sorted(set(header[header.duplicated()].dropna()))
    if repeated:
        reason = f"the header names {', '.join(repeated)} more than once"
        raise DatasetError(
            str(path), reason, "give every column a name of its own", exit_code=ExitCode.CONTRACT
        )
