"""Addresses of registries: no secret leaves, and one registry has one address."""

import os
from pathlib import Path

import pytest

from inference.artifacts import Credentials
from inference.artifacts.address import credentials_in, database_file, fingerprint, identify, redact


@pytest.mark.parametrize(
    ("uri", "identity"),
    [
        ("http://host:5000/", "http://host:5000"),
        ("https://me:pass@host/mlflow", "https://host/mlflow"),
        ("https://token@host", "https://host"),
        ("http://bob:hun@ter2@host:9", "http://host:9"),
        ("http://bob:hun/ter2@host:9", "http://host:9"),
        ("http://host/p?token=hunter3", "http://host/p"),
        ("postgresql://me:pass@host/db", "postgresql://host/db"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("sqlite:////data/mlflow.db?timeout=5", "sqlite:////data/mlflow.db"),
        ("file:///data/mlruns", "/data/mlruns"),
        ("/data/mlruns", "/data/mlruns"),
    ],
)
def test_identity(uri: str, identity: str) -> None:
    """The address of a registry has neither credentials, however badly quoted, nor a query or a trailing slash."""
    assert identify(uri) == identity


def test_relative_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same relative URI is another registry in another working directory."""
    monkeypatch.chdir(tmp_path)
    assert identify("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert database_file("sqlite:///mlflow.db") == tmp_path / "mlflow.db"


@pytest.mark.parametrize("uri", ["http://host", "postgresql://host/db", "sqlite:///:memory:", "sqlite://"])
def test_no_file(uri: str) -> None:
    """Registries that are no file have none, and no fingerprint."""
    assert database_file(uri) is None
    assert fingerprint(uri) == ""


def test_fingerprint(tmp_path: Path) -> None:
    """The fingerprint of a file changes with each write to it or to its log."""
    file = tmp_path / "mlflow.db"
    uri = f"sqlite:///{file}"
    assert fingerprint(uri) == ""
    file.write_text("a")
    first = fingerprint(uri)
    assert fingerprint(uri) == first
    os.utime(file, ns=(1, 1))
    second = fingerprint(uri)
    (tmp_path / "mlflow.db-wal").write_text("b")
    assert len({first, second, fingerprint(uri)}) == 3


def test_secrets() -> None:
    """Every secret is taken out of a text, and credentials do not show in `repr`."""
    credentials = Credentials("me", "pass-word", "to-ken")
    text = "pass-word to-ken se%20cret se cret me"
    assert redact(text, "https://me:se%20cret@host", credentials) == "*** *** *** *** me"
    assert "pass-word" not in repr(credentials)
    assert "to-ken" not in repr(credentials)
    assert credentials_in("https://me:se%20cret@host") == Credentials("me", "se cret")
