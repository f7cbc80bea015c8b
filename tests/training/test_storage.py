"""Places as people are told them: without what opens them."""

import pytest

from training.data import sources
from training.storage import public_uri


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000/mlflow", "http://host:5000/mlflow"),
        ("https://me:pass@host/mlflow", "https://host/mlflow"),
        ("https://token@host", "https://host"),
        ("http://bob:hun@ter2@host:9", "http://host:9"),
        ("http://bob:hun/ter2@host:9/x", "http://host:9/x"),
        ("http://bob:hun?ter2@host", "http://host"),
        ("http://bob:hun#t[er2@host", "http://host"),
        ("http://tok/en@host", "http://host"),
        ("http://host/p?token=hunter3", "http://host/p"),
        ("postgresql://me:pa/ss@host/db?sslmode=require", "postgresql://host/db"),
        ("s3://bucket/a@b.csv", "s3://bucket/a@b.csv"),
        ("s3a://key:secret@bucket/a@b.csv", "s3a://bucket/a@b.csv"),
        ("s3://key:sec/ret@bucket/a.csv", "s3://bucket/a.csv"),
        (
            "s3://arn:aws:s3:us-west-2:1:accesspoint/p/a@b.csv",
            "s3://arn:aws:s3:us-west-2:1:accesspoint/p/a@b.csv",
        ),
        ("gs://bucket/a@b.csv?generation=1", "gs://bucket/a@b.csv"),
    ],
)
def test_a_shown_address_has_no_secret(uri: str, shown: str) -> None:
    """Neither user nor password, however badly quoted, nor query; and an object keeps the `@` in its key."""
    assert public_uri(uri) == shown


@pytest.mark.parametrize(
    "source", ["a@b.csv", "/data/a@b.csv", "sqlite:///a@b.db", "file:///data/a@b.csv", "iris", "what?", ""]
)
def test_a_path_is_shown_as_it_is(source: str) -> None:
    """Paths and URIs of local files have no password; all of them is shown."""
    assert public_uri(source) == source


@pytest.mark.parametrize("scheme", sources._STORES)
def test_every_store_that_tables_come_from_keeps_its_keys(scheme: str) -> None:
    """What is fetched is what is shown, so an `@` in a key must stay whatever the store."""
    assert public_uri(f"{scheme}://bucket/a@b.csv") == f"{scheme}://bucket/a@b.csv"
