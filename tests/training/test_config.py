"""The configuration: strict, all errors at once, flags over file over defaults."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from training.configuration.config import config_schema, load_config
from training.configuration.lines import find_lines
from training.configuration.sections import ColumnSection, Config, PreprocessingSection, StepSection
from training.errors import ConfigError, ExitCode

SHIPPED = Path(__file__).parents[2] / "coalmine.toml"


def write(text: str) -> Path:
    path = Path("coalmine.toml")
    path.write_text(text, "utf-8")
    return path


def test_shipped_file_equals_the_defaults() -> None:
    """The commented coalmine.toml at the root says what happens without it."""
    assert load_config(SHIPPED) == Config()


def shown_keys(kind: object) -> set[str]:
    """Return the names of a section's keys as the file writes them."""
    assert isinstance(kind, type)
    assert issubclass(kind, BaseModel)
    return {info.alias or key for key, info in kind.model_fields.items()}


def test_commented_lines_of_the_shipped_file_are_valid() -> None:
    """Uncommenting any line that is no example gives a valid file."""
    text = re.sub(r"^# (?=\w+ = )", "", SHIPPED.read_text("utf-8"), flags=re.MULTILINE)
    assert load_config(write(text)).gates.champion == "not_worse"


def test_shipped_file_names_every_key() -> None:
    """No key is left out of the file, not even of single columns and of preprocessing."""
    text = re.sub(r"^# +(?=\w+ = |\[)", "", SHIPPED.read_text("utf-8"), flags=re.MULTILINE)
    shown = tomllib.loads(text)
    assert shown.keys() == shown_keys(Config)
    for name, field in Config.model_fields.items():
        if name != "preprocessing":
            assert set(shown[name]) == shown_keys(field.annotation), name
    assert set(shown["preprocessing"][0]) == shown_keys(PreprocessingSection)
    assert set(shown["preprocessing"][0]["steps"][0]) == shown_keys(StepSection)
    assert {key for column in shown["contract"]["columns"].values() for key in column} == shown_keys(
        ColumnSection
    )


def test_every_wrong_key_is_reported_at_once_with_its_line() -> None:
    """One run shows all mistakes, however deep: sections, keys, types, limits; and near misses."""
    path = write(
        '[modle]\nname = "x"\n[split]\nseed = "a"\ntest_ratio = 2\nratio = 1\n\n'
        "[contract]\nmin_row = 3\nunique = [\n  ['a', 3],\n]\n[contract.columns]\n"
        'length = { min = 2, max = 1 }\nwidth = { mix = 1, values = [1.5] }\n"a b".type = "strnig"\n'
        '[[preprocessing]]\ncolumns = ["a"]\nsteps = [{ class = "a.b" }]\n'
        '[[preprocessing]]\ncolumns = ["a"]\nsteps = [{ clas = "a.b" }]\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    expected = [
        "coalmine.toml:1: [modle]: there is no such key; did you mean [model]? sections are [model], [dataset]",
        "coalmine.toml:4: [split] seed: input should be a valid integer (found 'a'). Seed of the split",
        "coalmine.toml:5: [split] test_ratio: input should be less than 1 (found 2)",
        "coalmine.toml:6: [split] ratio: there is no such key; did you mean test_ratio? keys of [split] are kind,",
        "coalmine.toml:9: [contract] min_row: there is no such key; did you mean min_rows?",
        "coalmine.toml:10: [contract] unique[0][1]: input should be a valid string (found 3)",
        "coalmine.toml:14: [contract] columns.length: min must not be above max",
        "coalmine.toml:15: [contract] columns.width.values[0]: input should be a text or a whole number (found 1.5)",
        "coalmine.toml:15: [contract] columns.width.mix: there is no such key; did you mean min? keys there are type",
        "coalmine.toml:16: [contract] columns.\"a b\".type: input should be 'float', 'integer' or 'category'",
        "coalmine.toml:22: [preprocessing][1] steps[0].class: field required. Import path of a scikit-learn transf",
        "coalmine.toml:22: [preprocessing][1] steps[0].clas: there is no such key; did you mean class?",
    ]
    assert [found[: len(one)] for one, found in zip(expected, caught.value.problems, strict=True)] == expected
    assert caught.value.exit_code == ExitCode.USAGE
    assert str(caught.value).startswith("coalmine.toml: 12 settings are wrong:")


def test_wrong_flag_has_no_line_of_the_file() -> None:
    """A value of the command line is not blamed on the file that it overrides."""
    path = write("[split]\nseed = 3\ntest_ratio = 2\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {"split": {"seed": -1}})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "[split] seed",
        "coalmine.toml",
    ]


_KEYS = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "Zs"]), min_size=1, max_size=6)
_VALUES = st.sampled_from(
    ["1", '"a # b"', "'[c]'", '"""x\n[y]\nz = 1"""', "[\n 1, # one ]\n 2 ]", "{ a = 1 }"]
)


@given(
    st.lists(
        st.tuples(st.one_of(st.none(), _KEYS), st.lists(st.tuples(_KEYS, _VALUES), max_size=4)), max_size=4
    )
)
def test_law_every_key_is_found_on_its_line(tables: list[tuple[str | None, list[tuple[str, str]]]]) -> None:
    """Whatever strings, arrays and comments stand in between: the line of a key is where it was written."""
    lines: list[str] = []
    expected: dict[tuple[str | int, ...], int] = {}
    for place, (name, entries) in enumerate(tables):
        entry = sum(1 for one, _ in tables[:place] if one is None)
        path: tuple[str | int, ...] = ("list", entry) if name is None else (f"{place}{name}",)
        lines.append("[[list]]" if name is None else f"[{json.dumps(path[0])}]")
        expected[path] = "\n".join(lines).count("\n") + 1
        for number, (key, value) in enumerate(entries):
            lines.append(f"{json.dumps(f'{number}{key}')} = {value} # [not] = a table")
            expected[*path, f"{number}{key}"] = "\n".join(lines).count("\n") + 1 - value.count("\n")
    text = "\n".join(lines) + "\n"
    tomllib.loads(text)
    assert find_lines(text) == expected


@pytest.mark.parametrize("document", ["data.md", "training.md", "models.md"])
def test_configuration_in_the_documents_is_valid(document: str) -> None:
    """What is shown can be copied."""
    text = (SHIPPED.parent / "docs" / document).read_text("utf-8")
    for block in re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        load_config(write(block))


def test_schema_is_json_and_explains_every_key() -> None:
    """Editors complete and check the file with it."""
    schema = json.loads(config_schema())
    assert schema["properties"].keys() == shown_keys(Config)
    for name, section in schema["$defs"].items():
        for key, described in section["properties"].items():
            assert described["description"], (name, key)


def test_section_that_is_no_table_is_reported_even_under_flags() -> None:
    """A section given as a plain value is a problem of the file, not a crash of the merge."""
    with pytest.raises(ConfigError, match=r"\[split\]: "):
        load_config(write("split = 3\n"), {"split": {"seed": 1}})


def test_flags_go_before_the_file_and_silent_flags_change_nothing() -> None:
    """A flag wins over the file; an unset flag leaves the file's value."""
    path = write('[split]\nseed = 3\n[estimator.parameters]\nn_estimators = 5\n[dataset]\ntarget = "y"\n')
    overrides = {
        "split": {"seed": 4},
        "estimator": {"parameters": {"max_depth": 2}},
        "dataset": {"source": "t.csv", "target": None},
    }
    config = load_config(path, overrides)
    assert config.split.seed == 4
    assert config.estimator.parameters == {"n_estimators": 5, "max_depth": 2}
    assert (config.dataset.source, config.dataset.target) == ("t.csv", "y")


def test_file_in_the_working_directory_is_found() -> None:
    """Without --config, coalmine.toml of the working directory counts."""
    write("[split]\nseed = 3\n")
    assert load_config(None).split.seed == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "does not exist"),
        ("[split]\na = ", "other.toml:2: the file is not TOML: Invalid value, column 5|at end of document"),
        ("\udcff", "cannot be read"),
    ],
)
def test_file_that_cannot_be_read_is_a_sentence(text: str | None, reason: str) -> None:
    """A missing, broken or binary file is named with what is wrong."""
    path = Path("other.toml")
    if text is not None:
        path.write_text(text, "utf-8", errors="surrogateescape")
    with pytest.raises(ConfigError, match=reason):
        load_config(path)


def test_model_is_named_after_the_dataset_unless_it_is_named() -> None:
    """Somebody else's table is never registered as iris by accident."""
    assert Config().model_name == "iris"
    assert load_config(None, {"dataset": {"source": "data/my flowers.csv"}}).model_name == "my-flowers"
    assert load_config(None, {"dataset": {"source": "s3://b/x/t.csv.gz?versionId=1"}}).model_name == "t"
    assert load_config(None, {"dataset": {"source": "s3://b/x.parquet"}}).model_name == "x"
    assert load_config(None, {"model": {"name": "roses"}}).model_name == "roses"


def test_config_is_frozen() -> None:
    """Nothing changes a configuration after it was read."""
    with pytest.raises(ValidationError, match="frozen"):
        Config().split.seed = 1  # type: ignore[misc]
