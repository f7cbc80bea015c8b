"""What `coalmine.toml` may say: frozen strict models, the explanation under each field."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "ColumnSection",
    "Config",
    "ContractSection",
    "DatasetSection",
    "EstimatorSection",
    "GatesSection",
    "ModelSection",
    "PreprocessingSection",
    "SplitSection",
    "StepSection",
]

#: What the name of a file may end with, beyond what names the table.
_ENDINGS: Final = (".gz", ".zst", ".bz2", ".csv", ".tsv", ".txt", ".parquet", ".pq")

#: Names that are safe in a model URI, a path and a metric label alike.
_MODEL_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise ValueError(f"each name may stand there once, and {', '.join(repeated)} stands there more often")
    return names


_Names = Annotated[tuple[str, ...], Field(strict=False, min_length=1), AfterValidator(_different)]


class _Section(BaseModel):
    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,  # a limit that is nan holds nothing, and inf is what an unset one says
    )


class ModelSection(_Section):
    """What the registered model is called."""

    name: str | None = Field(default=None, pattern=_MODEL_NAME)
    """Registered model name: letters, digits, dots, dashes, underscores. Unset: the name of the dataset"""


class DatasetSection(_Section):
    """Where the table comes from, and what is learned from what."""

    source: str = Field(default="iris", min_length=1)
    """A built-in dataset (iris, diabetes), the path of a CSV or Parquet file, or its URI: s3://, gs://, az://"""

    target: str | None = Field(default=None, min_length=1)
    """The column to predict. A built-in dataset knows its own"""

    features: _Names | None = None
    """The feature columns in the order of a row. Unset: every column but the target and those of [split]"""

    format: Literal["csv", "parquet"] | None = None
    """How the file is written. Unset: by the end of its name, such as .csv, .csv.gz or .parquet"""

    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """What stands between the fields of a CSV file"""

    missing: tuple[str, ...] = Field(default=("",), strict=False)
    """Texts of a CSV file that stand for a missing value"""


class EstimatorSection(_Section):
    """Which estimator learns, with which parameters."""

    class_path: str = Field(
        default="sklearn.ensemble.RandomForestClassifier", alias="class", pattern=r"^\w+(\.\w+)+$"
    )
    """Import path of a scikit-learn classifier or regressor (also of XGBoost or LightGBM), or of a function
    that returns one, a Pipeline included"""

    parameters: Mapping[str, Any] = Field(default_factory=dict)
    """Arguments of its constructor; random_state is set to the seed unless it stands here"""


class StepSection(_Section):
    """One step of the preprocessing of some columns."""

    class_path: str = Field(alias="class", pattern=r"^\w+(\.\w+)+$")
    """Import path of a scikit-learn transformer, such as sklearn.preprocessing.StandardScaler"""

    parameters: Mapping[str, Any] = Field(default_factory=dict)
    """Arguments of its constructor"""


class PreprocessingSection(_Section):
    """What happens to some columns before the estimator sees them; part of the model, fitted with it."""

    columns: _Names
    """Feature columns; `numbers` and `categories` stand for all of a kind that no other entry names"""

    steps: tuple[StepSection, ...] = Field(strict=False, min_length=1)
    """Transformers, one after the other"""


class SplitSection(_Section):
    """How rows are held out for the metrics."""

    kind: Literal["random", "stratified", "grouped", "time"] | None = None
    """`stratified`: each class keeps its share; `grouped`: rows of one group stay together; `time`: the last
    rows are held out; `random`. Unset: stratified for a classifier, else random"""

    group: str | None = Field(default=None, min_length=1)
    """The column that names the group of a row, for `grouped`; no feature unless [dataset] features says so"""

    time: str | None = Field(default=None, min_length=1)
    """The column that rows are ordered by, for `time`; no feature unless [dataset] features says so"""

    test_ratio: float = Field(default=0.2, gt=0, lt=1)
    """Share of the rows held out, 0 to 1"""

    folds: int = Field(default=0, ge=0, le=50)
    """Folds of cross-validation on the rows that are not held out; 0: none"""

    seed: int = Field(default=7, ge=0, le=2**31 - 1)
    """Seed of the split and of the estimator: the same data and seed give the same model"""

    @model_validator(mode="after")
    def _complete(self) -> "SplitSection":
        for kind, key in (("grouped", "group"), ("time", "time")):
            if self.kind == kind and getattr(self, key) is None:
                raise ValueError(f'kind = "{kind}" needs {key} = "COLUMN"')
            if self.kind != kind and getattr(self, key) is not None:
                raise ValueError(f'{key} is for kind = "{kind}" only')
        return self


class GatesSection(_Section):
    """What a model must reach on held-out rows before it is registered."""

    accuracy: float = Field(default=0.70, ge=0, le=1)
    """Least accuracy of a classifier, 0 to 1"""

    accuracy_low: float | None = Field(default=None, ge=0, le=1)
    """Least lower end of the 95 % confidence interval of the accuracy. Unset: not asked"""

    f1_macro: float | None = Field(default=None, ge=0, le=1)
    """Least mean F1 score over the classes, 0 to 1. Unset: not asked"""

    r2: float | None = Field(default=None, le=1)
    """Least coefficient of determination of a regressor. Unset: not asked"""

    r2_low: float | None = Field(default=None, le=1)
    """Least lower end of the 95 % confidence interval of r2. Unset: not asked"""

    champion: Literal["better", "not_worse"] | None = None
    """How the model must compare with the champion on the same held-out rows. Unset: only told"""


class ColumnSection(_Section):
    """What one column may hold. What is unset is found in the table or not asked."""

    type: Literal["float", "integer", "category"] | None = None
    """Unset: `category` for a column of texts, else by its numbers"""

    min: float | None = None
    """Least value, included"""

    max: float | None = None
    """Largest value, included"""

    values: tuple[str | int, ...] | None = Field(default=None, strict=False, min_length=1)
    """Allowed values: of a category its texts, in the order of their codes. Unset: those of the table"""

    nullable: bool = False
    """Whether a value may be missing, in the table and in requests"""

    unique: bool = False
    """Whether every value may stand there once only"""

    unknown: Literal["refuse", "missing"] = "refuse"
    """What a server does with a text that is none of `values`: refuse the row, or take it as missing
    (which needs nullable = true)"""

    @model_validator(mode="after")
    def _sound(self) -> "ColumnSection":
        if self.min is not None and self.max is not None and not self.min <= self.max:
            raise ValueError("min must not be above max")
        if self.unknown == "missing" and not self.nullable:
            raise ValueError('unknown = "missing" needs nullable = true')
        return self


class ContractSection(_Section):
    """What a table must satisfy beyond numbers that are finite and labels that are known."""

    min_rows: int = Field(default=20, ge=4)
    """Fewest rows"""

    max_rows: int | None = Field(default=None, ge=4)
    """Most rows. Unset: no limit"""

    classes: _Names | None = None
    """Allowed labels, as text. Unset: those of a built-in dataset, else any"""

    min_class_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Least share of the rows that each class has, 0 to 1"""

    max_duplicate_ratio: float = Field(default=1.0, ge=0, le=1)
    """Largest share of rows that repeat another row, 0 to 1"""

    unique: tuple[_Names, ...] = Field(default=(), strict=False)
    """Groups of columns whose values, taken together, may stand there once only"""

    max_leakage_ratio: float = Field(default=1.0, ge=0, le=1)
    """Largest share of held-out rows whose features also stand among those fitted on, 0 to 1"""

    max_drift: float | None = Field(default=None, gt=0)
    """Largest population stability index of a column against the dataset accepted before. Unset: only told"""

    columns: Mapping[str, ColumnSection] = Field(default_factory=dict)
    """What single columns may hold, by name, added to what a built-in dataset brings"""


class Config(_Section):
    """The whole of `coalmine.toml`."""

    model: ModelSection = Field(default_factory=ModelSection)
    """What the registered model is called"""

    dataset: DatasetSection = Field(default_factory=DatasetSection)
    """Where the table comes from"""

    estimator: EstimatorSection = Field(default_factory=EstimatorSection)
    """What learns"""

    preprocessing: tuple[PreprocessingSection, ...] | None = Field(default=None, strict=False)
    """What happens to columns before. Unset: where the table has categories or missing values, what the
    estimator needs (most frequent or median value for what is missing, one column a category). []: nothing"""

    split: SplitSection = Field(default_factory=SplitSection)
    """How rows are held out"""

    gates: GatesSection = Field(default_factory=GatesSection)
    """What a model must reach"""

    contract: ContractSection = Field(default_factory=ContractSection)
    """What a table must satisfy"""

    @property
    def dataset_name(self) -> str:
        """The built-in name, or the file's name without its endings, in characters safe for a model name."""
        source = self.dataset.source
        stem = Path(urlsplit(source).path if "://" in source else source).name
        for ending in _ENDINGS:
            stem = stem.removesuffix(ending)
        return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-") or "table"

    @property
    def model_name(self) -> str:
        """The registered model name: as configured, else the dataset's."""
        return self.model.name or self.dataset_name
