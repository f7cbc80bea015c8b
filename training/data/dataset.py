"""Where tables come from: a built-in dataset, or somebody's file. Nothing here judges what a table says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import pandas as pd
from sklearn.datasets import load_diabetes, load_iris

from training.configuration.sections import ColumnSection, Config, DatasetSection
from training.data.sources import local_file
from training.data.table_file import read_table
from training.errors import ConfigError
from training.storage import public_uri

__all__ = ["BUILT_IN_DATASETS", "Table", "load_table", "says_text"]

#: Centimetres. Wider than any iris by far: they catch a wrong unit (millimetres) and a lost decimal point.
_IRIS_LENGTH: Final = ColumnSection(min=0.1, max=30.0)
_IRIS_FEATURES: Final = ("sepal_length", "sepal_width", "petal_length", "petal_width")

#: The disease a year later, as its authors measured it, is a whole number from 25 to 346 (Efron et al., 2004).
_PROGRESSION: Final = ColumnSection(min=0.0, max=1000.0)
#: Each feature is centred and divided by its standard deviation times the square root of 442 rows: beyond 1
#: none can be.
_STANDARDIZED: Final = ColumnSection(min=-1.0, max=1.0)


@dataclass(frozen=True)
class Table:
    """A table as it was found, and what is known about it beforehand.

    `features` is None when every column but `target`, `group` and `time` (of the split) is one. `part` says that
    only its first rows are here, `temporal` which columns hold dates or times, also where they are kept as texts.
    """

    name: str
    source: str
    frame: pd.DataFrame
    target: str
    features: tuple[str, ...] | None = None
    columns: Mapping[str, ColumnSection] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    group: str | None = None
    time: str | None = None
    part: bool = False
    temporal: frozenset[str] = frozenset()

    @property
    def beside(self) -> tuple[str, ...]:
        """The columns of the split."""
        return tuple(name for name in (self.group, self.time) if name is not None)


def load_table(config: Config, *, rows: int | None = None, classification: bool = False) -> Table:
    """Read the table that `config` names, or its first `rows`; labels of a `classification` byte for byte.

    Raises `DatasetError`, `StorageError`, and `ConfigError` without a target.
    """
    dataset = config.dataset
    group, time = config.split.group, config.split.time
    if dataset.source in BUILT_IN_DATASETS:
        return replace(BUILT_IN_DATASETS[dataset.source](dataset), group=group, time=time)
    source = public_uri(dataset.source)
    if dataset.target is None:
        problem = "[dataset] target: no column to predict is named; say --target COLUMN or set the key"
        raise ConfigError([problem], source=source)
    with local_file(dataset.source) as path:
        found = read_table(path, source, dataset, _wanted(config), _texts(config, classification))
    frame = found.frame
    part = rows is not None and rows < len(frame)
    frame = frame.head(rows) if rows is not None else frame
    name, features = config.dataset_name, dataset.features
    return Table(
        name,
        source,
        frame,
        dataset.target,
        features,
        group=group,
        time=time,
        part=part,
        temporal=found.temporal,
    )


def says_text(section: ColumnSection) -> bool:
    """Return whether the configuration calls the column one of texts: by its type, or by allowed texts."""
    if section.type is not None:
        return section.type == "category"
    return any(isinstance(value, str) for value in section.values or ())


def _texts(config: Config, classification: bool) -> frozenset[str]:
    """Return the columns whose texts stay what they are, even those that could be read as numbers."""
    target, contract = config.dataset.target, config.contract
    named = {name for name, section in contract.columns.items() if says_text(section) and name != target}
    if target is not None and (classification or contract.classes is not None):
        named.add(target)
    return frozenset(named)


def _wanted(config: Config) -> list[str] | None:
    """Return the columns that matter, None when all do."""
    if config.dataset.features is None:
        return None
    contract, split = config.contract, config.split
    others = [
        config.dataset.target,
        split.group,
        split.time,
        *(name for group in contract.unique for name in group),
    ]
    return [*config.dataset.features, *contract.columns, *(name for name in others if name is not None)]


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
        columns=dict.fromkeys(_IRIS_FEATURES, _IRIS_LENGTH),
        classes=species,
    )


def _load_diabetes(dataset: DatasetSection) -> Table:
    """442 patients as scikit-learn ships them: 10 standardized measurements, the disease a year later."""
    bunch = load_diabetes()
    features = tuple(str(name) for name in bunch.feature_names)
    frame = pd.DataFrame(bunch.data, columns=list(features))
    frame["progression"] = bunch.target
    return Table(
        name="diabetes",
        source="diabetes",
        frame=frame,
        target=dataset.target or "progression",
        features=dataset.features or features,
        columns={**dict.fromkeys(features, _STANDARDIZED), "progression": _PROGRESSION},
    )


#: Name → loader. Another built-in dataset is one more line.
BUILT_IN_DATASETS: Final[Mapping[str, Callable[[DatasetSection], Table]]] = {
    "iris": _load_iris,
    "diabetes": _load_diabetes,
}
