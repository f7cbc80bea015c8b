"""Locations: what a path or URI names, and what people see of it."""

from pathlib import Path

import pytest

from drift.data.location import Location, local_path, parse_location
from drift.errors import UnsupportedLocationError

SECRET = "geheim"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data/a.csv", Location(None, "", "data/a.csv")),
        (r"C:\data\a.csv", Location(None, "", r"C:\data\a.csv")),
        ("file:///data/a%20b.csv", Location(None, "", "/data/a b.csv")),
        ("FILE://localhost/data/a.csv", Location(None, "", "/data/a.csv")),
        ("s3://bucket/a/b.csv.gz", Location("s3", "bucket", "a/b.csv.gz")),
        ("S3A://bucket/a", Location("s3", "bucket", "a")),
        ("gs://bucket/a%20b#1.csv", Location("gs", "bucket", "a%20b#1.csv")),
        ("gcs://bucket/a", Location("gs", "bucket", "a")),
        ("az://container/a", Location("az", "container", "a")),
        ("abfs://container/a", Location("az", "container", "a")),
    ],
)
def test_a_location_is_a_file_or_an_object(text: str, expected: Location) -> None:
    """Schemes know no case, other tools' names are known, and names of objects are taken literally."""
    assert parse_location(text) == expected


def test_what_people_see_holds_no_credentials() -> None:
    """User, password and query are not kept at all."""
    found = parse_location(f"s3://key:{SECRET}@bucket/a.csv?X-Amz-Signature={SECRET}")
    assert str(found) == "s3://bucket/a.csv"
    assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            f"ftp://user:{SECRET}@host/a.csv",
            "ftp://… is neither a path nor a URI of file://, s3://, gs:// or az://",
        ),
        (f"https://host/a.csv?sig={SECRET}", "https://… is neither a path"),
        ("s3://bucket", "s3://bucket/ names no object in a bucket; write s3://BUCKET/PATH/TO/DATASET.csv"),
        ("gs://bucket/folder/", "gs://bucket/folder/ names no object"),
        ("az:///a.csv", "az:///a.csv names no object in a bucket"),
        (
            f"file://user:{SECRET}@host/a.csv",
            "file://host/… is a file of another host; mount it here, and give its path",
        ),
    ],
)
def test_a_location_that_names_no_dataset_is_refused(text: str, sentence: str) -> None:
    """As a `ValueError`, which settings list, with what to write instead, and without secrets."""
    with pytest.raises(UnsupportedLocationError) as refused:
        parse_location(text)
    assert isinstance(refused.value, ValueError)
    assert sentence in str(refused.value)
    assert SECRET not in str(refused.value)


def test_an_object_of_a_store_has_no_path() -> None:
    """What must be on a disk, as a log, is refused elsewhere."""
    with pytest.raises(
        UnsupportedLocationError, match=r"s3://… is not on a disk of this machine; give a path"
    ):
        local_path("s3://bucket/a.log")


def test_a_file_has_a_path() -> None:
    """As the operating system takes it."""
    assert parse_location("file:///data/a.csv").path == Path("/data/a.csv")
