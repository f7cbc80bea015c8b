"""What `coalmine.toml` may say: frozen strict models, the explanation under each field.

Defaults, then the file, then the command line; every wrong key is reported at once, by its own name.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.errors import ConfigError

__all__ = [
    "DEFAULT_CONFIG_FILE",
    "Config",
    "ContractSection",
    "DatasetSection",
    "EstimatorSection",
    "GatesSection",
    "ModelSection",
    "Range",
    "SplitSection",
    "load_config",
]

#: Read from the working directory when it exists and no other file is named.
DEFAULT_CONFIG_FILE: Final = "coalmine.toml"

#: A wrong value is shown so far.
_VALUE_LENGTH: Final = 80

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
        strict=True, frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True
    )


class ModelSection(_Section):
    """What the registered model is called."""

    name: str | None = Field(default=None, pattern=_MODEL_NAME)
    """Registered model name: letters, digits, dots, dashes, underscores. Unset: the name of the dataset"""


class DatasetSection(_Section):
    """Where the table comes from, and what is learned from what."""

    source: str = Field(default="iris", min_length=1)
    """A built-in dataset (iris), or the path of a CSV file, relative to the working directory"""

    target: str | None = Field(default=None, min_length=1)
    """The column to predict. A built-in dataset knows its own"""

    features: _Names | None = None
    """The feature columns in the order of a row. Unset: every column but the target"""


class EstimatorSection(_Section):
    """Which scikit-learn estimator learns, with which parameters."""

    class_path: str = Field(
        default="sklearn.ensemble.RandomForestClassifier", alias="class", pattern=r"^\w+(\.\w+)+$"
    )
    """Import path of a scikit-learn classifier or regressor, such as sklearn.linear_model.Ridge"""

    parameters: Mapping[str, Any] = Field(default_factory=dict)
    """Arguments of its constructor; random_state is set to the seed unless it stands here"""


class SplitSection(_Section):
    """How rows are held out for the metrics."""

    test_ratio: float = Field(default=0.2, gt=0, lt=1)
    """Share of the rows held out, 0 to 1; for a classifier each class keeps its share"""

    seed: int = Field(default=7, ge=0, le=2**31 - 1)
    """Seed of the split and of the estimator: the same data and seed give the same model"""


class GatesSection(_Section):
    """What a model must reach on held-out rows before it is registered."""

    accuracy: float = Field(default=0.70, ge=0, le=1)
    """Least accuracy of a classifier, 0 to 1"""

    f1_macro: float | None = Field(default=None, ge=0, le=1)
    """Least mean F1 score over the classes, 0 to 1. Unset: not asked"""

    r2: float | None = Field(default=None, le=1)
    """Least coefficient of determination of a regressor. Unset: not asked"""


class Range(_Section):
    """Limits of a column, both included."""

    min: float | None = None
    """Least value. Unset: no limit"""

    max: float | None = None
    """Largest value. Unset: no limit"""

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if self.min is not None and self.max is not None and not self.min <= self.max:
            raise ValueError("min must not be above max")
        return self


class ContractSection(_Section):
    """What a table must satisfy beyond finite numbers and known labels."""

    min_rows: int = Field(default=20, ge=4)
    """Fewest rows"""

    ranges: Mapping[str, Range] = Field(default_factory=dict)
    """Limits by column, added to those of a built-in dataset"""

    classes: _Names | None = None
    """Allowed labels, as text. Unset: those of a built-in dataset, else any"""


class Config(_Section):
    """The whole of `coalmine.toml`."""

    model: ModelSection = Field(default_factory=ModelSection)
    """What the registered model is called"""

    dataset: DatasetSection = Field(default_factory=DatasetSection)
    """Where the table comes from"""

    estimator: EstimatorSection = Field(default_factory=EstimatorSection)
    """What learns"""

    split: SplitSection = Field(default_factory=SplitSection)
    """How rows are held out"""

    gates: GatesSection = Field(default_factory=GatesSection)
    """What a model must reach"""

    contract: ContractSection = Field(default_factory=ContractSection)
    """What a table must satisfy"""

    @property
    def dataset_name(self) -> str:
        """The built-in name, or the file's name without its suffix, in characters safe for a model name."""
        stem = Path(self.dataset.source).stem
        return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-") or "table"

    @property
    def model_name(self) -> str:
        """The registered model name: as configured, else the dataset's."""
        return self.model.name or self.dataset_name


def load_config(path: Path | None, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Config:
    """Read `path`, or `coalmine.toml` when it is None and that exists, and put `overrides` on top.

    `overrides` has the shape of the file; a value of None says nothing. Raises `ConfigError`.
    """
    source = "the command line"
    values: dict[str, Any] = {}
    if path is None and Path(DEFAULT_CONFIG_FILE).is_file():
        path = Path(DEFAULT_CONFIG_FILE)
    if path is not None:
        source, values = str(path), _read(path)
    for section, entries in (overrides or {}).items():
        _lay_over(values, section, entries)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError([_sentence(dict(problem)) for problem in error.errors()], source=source) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        problem = "the file does not exist; name an existing one with --config, or leave the flag out"
    except (OSError, UnicodeDecodeError) as error:
        problem = f"the file cannot be read: {error}"
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        problem = f"the file is not TOML: {error}"
    raise ConfigError([problem], source=str(path))


def _lay_over(values: dict[str, Any], section: str, entries: Mapping[str, Any]) -> None:
    """Put `entries` over one section; mappings inside are merged, anything else is replaced."""
    base = values.setdefault(section, {})
    if not isinstance(base, dict):
        return  # the validation says what is wrong with it
    for key, value in entries.items():
        if isinstance(value, Mapping) and isinstance(base.get(key, {}), dict):
            base[key] = {**base.get(key, {}), **value}
        elif value is not None:
            base[key] = value


def _sentence(problem: Mapping[str, Any]) -> str:
    section, *rest = (str(part) for part in problem["loc"])
    key = f"[{section}]" + (f" {'.'.join(rest)}" if rest else "")
    if problem["type"] == "extra_forbidden":
        return f"{key}: there is no such key; {_existing(section, rest)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    field = _fields(section).get(rest[0]) if rest else None
    return f"{key}: {message} (found {_shown(problem['input'])})" + (f". {field}" if field else "")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _VALUE_LENGTH else f"{text[: _VALUE_LENGTH - 1]}…"


def _fields(section: str) -> dict[str, str | None]:
    """Return key → explanation for a section, with the names that the file uses."""
    field = Config.model_fields.get(section)
    if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
        return {}
    return {info.alias or name: info.description for name, info in field.annotation.model_fields.items()}


def _existing(section: str, rest: list[str]) -> str:
    if not rest:
        return f"sections are {', '.join(f'[{name}]' for name in Config.model_fields)}"
    if len(rest) > 1:
        return "keys there are min, max"
    return f"keys of [{section}] are {', '.join(_fields(section))}"
