"""Settings of the relay: one environment variable a field, with what it means.

Only this module and `rollout.webhook_relay.__main__` know that there is an environment. `register`, `status` and
`retry` need less than the service does, so each reads the class that has what it needs.
"""

import shlex
import string
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from telemetry import LogFormat

__all__ = ["LinkSettings", "Settings", "StateSettings"]

#: 128 bits in base64 need 22 characters; fewer than 16 can be guessed.
_SECRET_CHARACTERS: Final = 16
_PLACEHOLDERS: Final = frozenset({"model_uri", "name", "version", "alias"})


def _http_address(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected an address such as https://host:5000")
    return address.rstrip("/")


def _no_credentials(address: str) -> str:
    if "@" in urlsplit(address).netloc:
        raise ValueError(
            "expected no user name and password in the address; there is a variable for the token"
        )
    return address


Port = Annotated[int, Field(ge=0, le=65535)]
Registry = Annotated[str, AfterValidator(_http_address)]
Address = Annotated[str, AfterValidator(_http_address), AfterValidator(_no_credentials)]
Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)]
#: RFC 1123 labels, which Kubernetes demands of the names of namespaces and templates.
KubernetesName = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)
]
Repository = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]


class StateSettings(BaseSettings):
    """Where the relay keeps what it knows: all that `status` and `retry` need."""

    model_config = SettingsConfigDict(
        frozen=True, strict=True, extra="forbid", env_ignore_empty=True, validate_default=True
    )

    relay_state_dir: Path = Field(
        Path(".coalmine/webhook-relay"),
        description="Directory of the inbox (SQLite) and the logs of commands; keep it on a disk that survives",
    )


class LinkSettings(StateSettings):
    """What ties the relay to a registry: all that `register` needs."""

    mlflow_tracking_uri: Registry = Field(
        description="Address of the MLflow server; a database without a server sends no webhooks"
    )
    mlflow_tracking_username: str | None = Field(None, description="User name at that server")
    mlflow_tracking_password: SecretStr | None = Field(None, description="Its password")
    mlflow_tracking_token: SecretStr | None = Field(None, description="Bearer token, instead of both")
    relay_secret: SecretStr | None = Field(
        None, description="Secret that MLflow signs with, at least 16 characters; this or RELAY_SECRET_FILE"
    )
    relay_secret_file: Path | None = Field(
        None,
        description="File with that secret in its first line; further lines are older secrets, taken as well, so "
        "that a secret can be changed without a gap",
    )

    @field_validator("relay_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        text = "" if secret is None else secret.get_secret_value()
        if secret is not None and (len(text) < _SECRET_CHARACTERS or not text.isprintable()):
            raise ValueError(
                f"expected at least {_SECRET_CHARACTERS} printable characters, such as `openssl rand -hex 32` gives"
            )
        return secret

    @field_validator("relay_secret_file")
    @classmethod
    def _one_source(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        given = info.data.get("relay_secret")
        if "relay_secret" in info.data and (file is None) == (given is None):
            raise ValueError("expected a secret in RELAY_SECRET or in this file, in one of them")
        if file is not None:
            lines = _lines(file)
            if not lines or min(map(len, lines)) < _SECRET_CHARACTERS:
                raise ValueError(f"expected lines of at least {_SECRET_CHARACTERS} characters in {file}")
        return file

    @property
    def secrets(self) -> tuple[str, ...]:
        """The secrets that are taken, the one to sign with first."""
        if self.relay_secret is not None:
            return (self.relay_secret.get_secret_value(),)
        assert self.relay_secret_file is not None
        return tuple(_lines(self.relay_secret_file))


class Settings(LinkSettings):
    """What an operator decides; everything else is a constant with its reason beside it."""

    relay_host: str = Field("0.0.0.0", description="Address on which the relay listens")  # noqa: S104  # it is a service
    relay_port: Port = Field(8090, description="Port of the relay; 0 lets the system choose")
    relay_alias: Word = Field("challenger", description="Alias to watch: the version it names is rolled out")
    relay_models: Annotated[tuple[Word, ...], NoDecode] = Field(
        (), description="Registered models to watch, with commas between them; all when empty"
    )
    relay_max_skew_seconds: Seconds = Field(
        300.0, description="How far the time of a signature may be from ours; MLflow's own advice is 300"
    )
    relay_max_body_bytes: Annotated[int, Field(ge=1024, le=1 << 24)] = Field(
        65536, description="Largest request body; events of aliases have a few hundred bytes"
    )
    relay_reconcile_seconds: Seconds = Field(
        60.0, description="Time between two looks at the aliases themselves, give or take a fifth"
    )
    relay_max_attempts: Annotated[int, Field(ge=1, le=100)] = Field(
        5, description="How often a rollout is triggered before it counts as failed"
    )
    relay_retry_seconds: Seconds = Field(
        10.0, description="Wait before the second attempt; it doubles with each one, up to ten minutes"
    )
    relay_trigger: Literal["local", "github", "argo"] = Field(
        "local",
        description="What starts a rollout: `local` (a command here), `github` (repository_dispatch) or `argo` "
        "(submit of a WorkflowTemplate)",
    )
    relay_command: str | None = Field(
        None,
        description="For `local`: the command, without a shell; {model_uri}, {name}, {version} and {alias} stand for "
        "their values; its exit codes mean what those of deploy-canary do. Unset: "
        "invoke deploy-canary --model-uri {model_uri}",
    )
    relay_github_repository: Repository | None = Field(None, description="For `github`: owner/name")
    relay_github_event_type: Word = Field(
        "model-version-aliased", description="For `github`: event type that the workflow listens to"
    )
    relay_github_api_url: Address = Field(
        "https://api.github.com", description="For `github`: address of the API, for GitHub Enterprise"
    )
    relay_github_token: SecretStr | None = Field(
        None, description="For `github`: token with contents:write; this or RELAY_GITHUB_TOKEN_FILE"
    )
    relay_github_token_file: Path | None = Field(
        None, description="For `github`: file with that token, read anew at each call"
    )
    relay_argo_url: Address | None = Field(None, description="For `argo`: address of the Argo Server")
    relay_argo_namespace: KubernetesName = Field(
        "default", description="For `argo`: namespace of the workflows"
    )
    relay_argo_template: KubernetesName | None = Field(
        None, description="For `argo`: name of the WorkflowTemplate"
    )
    relay_argo_parameter: Word = Field(
        "model-uri", description="For `argo`: parameter of the template that gets the model URI"
    )
    relay_argo_ca_file: Path | None = Field(
        None,
        description="For `argo`: PEM file with the authorities of its certificate; the public ones when unset",
    )
    relay_argo_token: SecretStr | None = Field(
        None, description="For `argo`: bearer token of a service account; this or RELAY_ARGO_TOKEN_FILE"
    )
    relay_argo_token_file: Path | None = Field(
        None, description="For `argo`: file with that token, read anew at each call"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO", description="Log lines below this level are dropped"
    )
    log_format: LogFormat = Field("json", description="`json`, one object a line, or `console`, for people")

    @field_validator("relay_models", mode="before")
    @classmethod
    def _split(cls, models: object) -> object:
        return tuple(filter(None, map(str.strip, models.split(",")))) if isinstance(models, str) else models

    @field_validator("relay_command")
    @classmethod
    def _complete(cls, command: str | None) -> str | None:
        if command is None:
            return None
        words = shlex.split(command)  # a quote that does not end is a ValueError of its own
        named = {
            field for word in words for _, field, _, _ in string.Formatter().parse(word) if field is not None
        }
        if not words or not named <= _PLACEHOLDERS or not named & {"model_uri", "version"}:
            raise ValueError(
                "expected a command with {model_uri} or {version} in it, and no other braces than those, {name} "
                "and {alias}"
            )
        return command

    @field_validator("relay_github_repository", "relay_argo_url", "relay_argo_template")
    @classmethod
    def _needed(cls, value: str | None, info: ValidationInfo) -> str | None:
        trigger = info.data.get("relay_trigger")
        if value is None and info.field_name is not None and info.field_name.startswith(f"relay_{trigger}_"):
            raise ValueError(f"RELAY_TRIGGER is `{trigger}`, which needs a value here")
        return value

    @field_validator("relay_github_token_file", "relay_argo_token_file")
    @classmethod
    def _one_token(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        assert info.field_name is not None
        variable = info.field_name.removesuffix("_file")
        trigger = info.data.get("relay_trigger")
        if variable == f"relay_{trigger}_token" and (file is None) == (info.data.get(variable) is None):
            raise ValueError(f"expected a token in {variable.upper()} or in this file, in one of them")
        if file is not None and not _lines(file):
            raise ValueError(f"expected a token in {file}, which is empty")
        return file


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{file} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}"
        ) from None
