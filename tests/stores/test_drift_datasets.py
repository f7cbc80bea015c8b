"""Drift's datasets at az:// and gs://, by emulators of the real stores."""

import gzip
import io
import time
from collections.abc import Callable

import pyarrow as pa
import pytest
import requests
from azure.storage.blob import BlobServiceClient
from pyarrow import parquet

from drift.data.table import ReferenceDataset, read_current, read_reference
from drift.errors import DatasetError
from tests.stores.conftest import KEY, connection_string

CSV = b"feature_0,prediction\n1,a\n2,b\n"

Put = Callable[[str, bytes | None], None]


@pytest.fixture(params=["az", "gs"])
def scheme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One store after the other, found by its own variable."""
    if request.param == "az":
        port = request.getfixturevalue("azure")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection_string(port))
    else:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("google"))
    return str(request.param)


@pytest.fixture
def put(scheme: str, request: pytest.FixtureRequest) -> Put:
    """Write an object, `bucket/name`, in a bucket that is made if need be; None removes it and the bucket."""
    return (
        _put_azure(request.getfixturevalue("azure"))
        if scheme == "az"
        else _put_google(request.getfixturevalue("google"))
    )


def _put_azure(port: int) -> Put:
    def put(where: str, content: bytes | None) -> None:
        bucket, _, name = where.partition("/")
        with BlobServiceClient.from_connection_string(connection_string(port)) as client:
            if content is None:
                client.delete_container(bucket)
                return
            if not client.get_container_client(bucket).exists():
                client.create_container(bucket)
            client.get_blob_client(bucket, name).upload_blob(content, overwrite=True)

    return put


def _put_google(address: str) -> Put:
    def put(where: str, content: bytes | None) -> None:
        bucket, _, name = where.partition("/")
        if content is None:
            requests.delete(f"{address}/storage/v1/b/{bucket}/o/{name}", timeout=10).raise_for_status()
            requests.delete(f"{address}/storage/v1/b/{bucket}", timeout=10).raise_for_status()
            return
        requests.post(f"{address}/storage/v1/b", json={"name": bucket}, timeout=10)
        upload = f"{address}/upload/storage/v1/b/{bucket}/o"
        query = {"uploadType": "media", "name": name}
        requests.post(upload, params=query, data=content, timeout=10).raise_for_status()

    return put


def refused(uri: str) -> str:
    with pytest.raises(DatasetError) as caught:
        read_reference(uri, 100)
    assert KEY not in str(caught.value)
    return str(caught.value)


def _parquet() -> bytes:
    target = io.BytesIO()
    parquet.write_table(pa.table({"feature_0": [1.0, 2.0], "prediction": ["a", "b"]}), target)
    return target.getvalue()


@pytest.mark.parametrize("content", [CSV, gzip.compress(CSV), _parquet()], ids=["csv", "gzip", "parquet"])
def test_reference_and_current_are_read(scheme: str, put: Put, content: bytes) -> None:
    """Compressed or not, in folders, with blanks in the name."""
    put("drift/data/a b.x", content)
    reference = read_reference(f"{scheme}://drift/data/a b.x", 100)
    current = read_current(f"{scheme}://drift/data/a b.x", reference.schema, 100)
    assert current is not None
    assert reference.rows.features.tolist() == current.features.tolist() == [[1], [2]]


def test_an_object_of_several_pieces_is_read(scheme: str, put: Put) -> None:
    """Each piece is asked to be of the same version."""
    put("drift/large.csv", b"feature_0,prediction\n" + b"1.5,a\n" * 1_500_000)
    assert read_reference(f"{scheme}://drift/large.csv", 100).total_rows == 1_500_000


def test_a_replaced_object_has_changed(scheme: str, put: Put) -> None:
    """Its ETag says so."""
    put("drift/r.csv", CSV)
    dataset = ReferenceDataset(f"{scheme}://drift/r.csv", 100)
    dataset.read()
    assert not dataset.changed()
    put("drift/r.csv", CSV + b"3,a\n")
    assert dataset.changed()
    assert dataset.read().total_rows == 3


def test_a_bucket_that_disappears_is_said(scheme: str, put: Put) -> None:
    """Between two reads."""
    put("gone/r.csv", CSV)
    dataset = ReferenceDataset(f"{scheme}://gone/r.csv", 100)
    dataset.read()
    put("gone/r.csv", None)
    for act in (dataset.changed, dataset.read):
        with pytest.raises(
            DatasetError, match=rf"no such object or bucket \(404\): {scheme}://gone/r.csv; set REF"
        ):
            act()


@pytest.mark.parametrize("path", ["shop/tables/u.csv", "mall/t.csv", "shop/tables"])
def test_what_is_not_there_is_said(scheme: str, path: str) -> None:
    """An object, a container, a folder."""
    assert (
        f"is missing, there is no such object or bucket (404): {scheme}://{path}; set REFERENCE"
        in refused(f"{scheme}://{path}")
    )


def test_account_and_key_do_as_well(
    azure: int, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The other variables of Azure."""
    _put_azure(azure)("drift/t.csv", CSV)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "devstoreaccount1")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", f"http://127.0.0.1:{azure}/devstoreaccount1")
    assert read_reference("az://drift/t.csv", 100).total_rows == 2


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (
            "AAAA" + KEY[4:],
            "its store refuses these credentials (403): az://shop/tables/t.csv; check AZURE_STORAGE",
        ),
        (
            None,
            "no usable credentials were found for its store: az://shop/tables/t.csv; set AZURE_STORAGE_CONNECTION",
        ),
    ],
)
def test_wrong_credentials_are_said(
    azure: int, monkeypatch: pytest.MonkeyPatch, key: str | None, reason: str
) -> None:
    """Wrong or absent: the variables are named, their values are not."""
    if key is not None:
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection_string(azure, key))
    assert reason in refused("az://shop/tables/t.csv")


@pytest.mark.parametrize(
    ("store", "variable", "value"),
    [
        ("az", "AZURE_STORAGE_CONNECTION_STRING", connection_string(1)),
        ("gs", "STORAGE_EMULATOR_HOST", "127.0.0.1:1"),
    ],
)
def test_a_store_that_does_not_answer_is_said(
    monkeypatch: pytest.MonkeyPatch, store: str, variable: str, value: str
) -> None:
    """Soon, with the variable that leads there."""
    monkeypatch.setenv(variable, value)
    begun = time.monotonic()
    sentence = refused(f"{store}://shop/tables/t.csv")
    assert (
        f"its store does not answer: {store}://shop/tables/t.csv; check the network and {variable}"
        in sentence
    )
    assert time.monotonic() - begun < 20
