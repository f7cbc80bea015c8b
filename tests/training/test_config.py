"""The configuration: strict, all errors at once, flags over file over defaults."""

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from training.config import Config, load_config
from training.errors import ConfigError, ExitCode

SHIPPED = Path(__file__).parents[2] / "coalmine.toml"


def write(text: str) -> Path:
    path = Path("coalmine.toml")
    path.write_text(text, "utf-8")
    return path


def test_shipped_file_equals_the_defaults() -> None:
    """The commented coalmine.toml at the root says what happens without it."""
    assert load_config(SHIPPED) == Config()


def test_commented_lines_of_the_shipped_file_are_valid_and_name_every_key() -> None:
    """Uncommenting any line gives a valid file, and no key of a section is left out of it."""
    text = re.sub(r"^# (?=\w+ = )", "", SHIPPED.read_text("utf-8"), flags=re.MULTILINE)
    load_config(write(text))
    shown = tomllib.loads(text)
    for name, field in Config.model_fields.items():
        section = field.annotation
        assert section is not None
        keys = {info.alias or key for key, info in section.model_fields.items()}
        assert set(shown[name]) == keys, name


def test_every_wrong_key_is_reported_at_once_by_its_name() -> None:
    """One run shows all mistakes: sections, keys, types, limits."""
    path = write(
        '[modle]\nname = "x"\n[split]\nseed = "a"\ntest_ratio = 2\nratio = 1\n'
        "[contract.ranges]\nlength = { min = 2, max = 1 }\nwidth = { mix = 1 }\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    problems = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 6
    for part in (
        "[modle]: there is no such key; sections are [model], [dataset]",
        "[split] seed: input should be a valid integer (found 'a'). Seed of the split",
        "[split] test_ratio: input should be less than 1 (found 2)",
        "[split] ratio: there is no such key; keys of [split] are test_ratio, seed",
        "[contract] ranges.length: min must not be above max",
        "[contract] ranges.width.mix: there is no such key; keys there are min, max",
    ):
        assert part in problems
    assert caught.value.exit_code == ExitCode.USAGE
    assert str(caught.value).startswith("coalmine.toml: 6 settings are wrong:")


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
    ("text", "reason"), [(None, "does not exist"), ("a = ", "not TOML"), ("\udcff", "cannot be read")]
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
    assert load_config(None, {"model": {"name": "roses"}}).model_name == "roses"


def test_config_is_frozen() -> None:
    """Nothing changes a configuration after it was read."""
    with pytest.raises(ValidationError, match="frozen"):
        Config().split.seed = 1  # type: ignore[misc]
