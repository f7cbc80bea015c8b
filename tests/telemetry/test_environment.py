"""Settings from the environment: all problems at once, no secret in any of them."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from telemetry import SettingsError, load_settings


class Settings(BaseSettings):
    """A few fields of every kind."""

    model_config = SettingsConfigDict(frozen=True)

    store_uri: str = Field(description="Where the models are")
    port: int = Field(8000, ge=0, le=65535, description="Port of HTTP")
    ratio: float = Field(1.0, ge=0, le=1)
    admin_token: SecretStr | None = Field(None, min_length=20)
    access: SecretStr = Field(SecretStr("x" * 20), min_length=20)


class Pair(BaseSettings):
    """Two fields that must fit."""

    low: int = 1
    high: int = 2

    @model_validator(mode="after")
    def _ordered(self) -> "Pair":
        if self.low > self.high:
            raise ValueError(f"LOW {self.low} is above HIGH {self.high}")
        return self


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upper-case variables fill the fields."""
    monkeypatch.setenv("STORE_URI", "models:/iris/1")
    monkeypatch.setenv("PORT", "0")
    settings = load_settings(Settings)
    assert (settings.store_uri, settings.port, settings.ratio) == ("models:/iris/1", 0, 1.0)


def test_all_problems_are_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each problem names its variable, what was found and what the variable means."""
    monkeypatch.delenv("STORE_URI", raising=False)
    monkeypatch.setenv("PORT", "65536")
    monkeypatch.setenv("RATIO", "much")
    with pytest.raises(SettingsError) as caught:
        load_settings(Settings)
    problems = caught.value.problems
    assert [problem.split(":")[0] for problem in problems] == ["STORE_URI", "PORT", "RATIO"]
    assert problems[0].endswith("Where the models are")
    assert "65536" in problems[1]
    assert "Port of HTTP" in problems[1]
    assert str(caught.value).splitlines()[0] == "3 settings are wrong:"
    assert len(str(caught.value).splitlines()) == 4


def test_no_secret_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong secret is named, its value never: by its name, by its type, and inside an address."""
    monkeypatch.setenv("STORE_URI", "x")
    monkeypatch.setenv("PORT", "http://me:hunter4@host")
    monkeypatch.setenv("ADMIN_TOKEN", "hunter2")
    monkeypatch.setenv("ACCESS", "hunter3")
    with pytest.raises(SettingsError) as caught:
        load_settings(Settings)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["PORT", "ADMIN_TOKEN", "ACCESS"]
    assert "hunter" not in str(caught.value)
    assert "hunter" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_problem_between_fields_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check over several fields gives its own words, without pydantic's prefix."""
    monkeypatch.setenv("LOW", "3")
    with pytest.raises(SettingsError) as caught:
        load_settings(Pair)
    assert caught.value.problems == ["LOW 3 is above HIGH 2"]
    assert str(caught.value).startswith("1 setting is wrong:")


class Plain(BaseModel):
    """Fields of a strict model, as the server has them."""

    model_config = ConfigDict(strict=True, extra="forbid", validate_default=True)

    port: int = Field(8000, ge=0, description="Port of HTTP")
    ratio: float = 1.0
    wanted: bool = False
    directory: Path | None = None


def test_a_model_gets_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts become what the fields are, also where they are strict; empty and foreign variables are left out."""
    found = {"PORT": "0", "ratio": "0.5", "WANTED": "true", "DIRECTORY": "a/b", "RATIO": "", "FOREIGN": "x"}
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    assert load_settings(Plain) == Plain(port=0, ratio=0.5, wanted=True, directory=Path("a/b"))


@pytest.mark.parametrize("value", ["true", "1e3", "0x10", "1.5", "null", "9" * 5000])
def test_a_number_is_written_as_a_number(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """What JSON would read as something else, or nothing can read, is a problem of its variable."""
    monkeypatch.setenv("PORT", value)
    with pytest.raises(SettingsError) as caught:
        load_settings(Plain)
    (problem,) = caught.value.problems
    assert problem.startswith("PORT: ")
    assert problem.endswith("Port of HTTP")
