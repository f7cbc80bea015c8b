"""Datasets in an object store, by a real S3 server, and stores that do not do what they should."""

import gzip
import io
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import numpy as np
import pyarrow as pa
import pytest
import requests
from botocore.client import BaseClient
from moto.server import ThreadedMotoServer
from pyarrow import parquet

from drift.data.location import parse_location
from drift.data.objects import open_object, read_stamp
from drift.data.table import ReferenceDataset, read_current, read_reference
from drift.errors import DatasetError, UnreadableObjectError

CSV = b"feature_0,prediction\n1,a\n2,b\n"
SECRET = "geheim+geheim/geheim"
#: No evaluation may be held for longer by a store that hangs; beside it stands what this machine may be slow by.
LONGEST_SECONDS = 30


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a real S3 server."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials by the standard variables, and none from anywhere else."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "STORAGE_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[BaseClient]:
    """A client, and an empty bucket `shop` that AWS_ENDPOINT_URL leads to."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    requests.post(f"{server}/moto-api/reset", timeout=10).raise_for_status()
    client = boto3.client("s3", endpoint_url=server)
    client.create_bucket(Bucket="shop")
    yield client
    client.close()


def refused(uri: str) -> str:
    with pytest.raises(DatasetError) as caught:
        read_reference(uri, 100)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__cause__)
    return str(caught.value)


def _parquet() -> bytes:
    target = io.BytesIO()
    parquet.write_table(pa.table({"feature_0": [1.0, 2.0], "prediction": ["a", "b"]}), target)
    return target.getvalue()


@pytest.mark.parametrize("content", [CSV, gzip.compress(CSV), _parquet()], ids=["csv", "gzip", "parquet"])
def test_a_dataset_is_read_from_a_store(bucket: BaseClient, content: bytes) -> None:
    """As reference and as current, by AWS_ENDPOINT_URL as every tool of AWS; plain http needs no more than that."""
    bucket.put_object(Bucket="shop", Key="tables/a b%20c#.x", Body=content)
    uri = "s3://shop/tables/a b%20c#.x"
    reference = read_reference(uri, 100)
    assert reference.rows.features.tolist() == [[1], [2]]
    current = read_current(uri, reference.schema, 100)
    assert current is not None
    assert current.predictions.tolist() == ["a", "b"]


def test_a_large_object_is_read_in_pieces(bucket: BaseClient) -> None:
    """More than one piece, and more than stays in memory."""
    content = np.random.default_rng(0).bytes(17 << 20)
    bucket.put_object(Bucket="shop", Key="large", Body=content)
    with open_object(parse_location("s3://shop/large")) as opened:
        assert opened.stream.read() == content


def test_a_replaced_object_has_changed(bucket: BaseClient) -> None:
    """The same content put again has not; no content is fetched for the answer."""
    bucket.put_object(Bucket="shop", Key="r.csv", Body=CSV)
    dataset = ReferenceDataset("s3://shop/r.csv", 100)
    assert len(dataset.read().rows) == 2
    dataset.accept()
    bucket.put_object(Bucket="shop", Key="r.csv", Body=CSV)
    assert not dataset.changed()
    bucket.put_object(Bucket="shop", Key="r.csv", Body=CSV + b"3,a\n")
    assert dataset.changed()
    assert len(dataset.read().rows) == 3
    dataset.accept()
    assert not dataset.changed()


def test_a_bucket_that_disappears_is_said_and_may_come_back(bucket: BaseClient) -> None:
    """Between two reads, and between a read and the question whether it changed."""
    bucket.put_object(Bucket="shop", Key="r.csv", Body=CSV)
    dataset = ReferenceDataset("s3://shop/r.csv", 100)
    dataset.read()
    dataset.accept()
    bucket.delete_object(Bucket="shop", Key="r.csv")
    bucket.delete_bucket(Bucket="shop")
    for act in (dataset.changed, dataset.read):
        with pytest.raises(
            DatasetError, match=r"is missing, there is no such object or bucket \(404\): s3://shop/r"
        ):
            act()
    bucket.create_bucket(Bucket="shop")
    bucket.put_object(Bucket="shop", Key="r.csv", Body=CSV)
    assert not dataset.changed()


@pytest.mark.parametrize("uri", ["s3://shop/none.csv", "s3://mall/t.csv", "s3://shop/tables"])
def test_what_is_not_there_names_the_variable(bucket: BaseClient, uri: str) -> None:
    """An object, a bucket, a folder; nothing of what the URI should not hold."""
    bucket.put_object(Bucket="shop", Key="tables/t.csv", Body=CSV)
    sentence = refused(f"{uri.replace('//', f'//key:{SECRET[:6]}@')}?token={SECRET[:6]}")
    assert sentence == (
        f"Reference dataset is missing, there is no such object or bucket (404): {uri}; "
        "set REFERENCE_DATASET_URI to one that exists"
    )


def test_refused_credentials_are_said(bucket: BaseClient, server: str) -> None:
    """A real 403; the variables are named, their values are not."""
    bucket.put_object(Bucket="shop", Key="t.csv", Body=CSV)
    requests.post(f"{server}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
    try:
        sentence = refused("s3://shop/t.csv")
    finally:
        requests.post(f"{server}/moto-api/reset-auth", data=b"inf", timeout=10).raise_for_status()
    assert (
        "cannot be read, its store refuses these credentials (403): s3://shop/t.csv; check AWS_ACCESS"
        in sentence
    )


@pytest.mark.parametrize("store", ["s3", "az"])
def test_missing_credentials_are_said(monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    """Known without asking anybody."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    name = {"s3": "AWS_ACCESS_KEY_ID", "az": "AZURE_STORAGE_CONNECTION_STRING"}[store]
    assert f"no usable credentials were found for its store: {store}://b/t.csv; set {name}" in refused(
        f"{store}://b/t.csv"
    )


def test_half_a_pair_of_keys_is_said(bucket: BaseClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables are named, both of them."""
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert (
        "no usable credentials were found for its store: s3://shop/t.csv; set AWS_ACCESS_KEY_ID and"
        in refused("s3://shop/t.csv")
    )


def test_a_key_file_of_google_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without half a minute of asking elsewhere."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "nowhere.json")
    assert "GOOGLE_APPLICATION_CREDENTIALS names a file that does not exist" in refused("gs://shop/t.csv")


def test_a_connection_string_that_is_none_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is no key is not shown."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"AccountName=a;AccountKey=!{SECRET}")
    assert "no usable credentials were found for its store" in refused("az://shop/t.csv")


def test_a_profile_is_read(bucket: BaseClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A laptop has its keys in files, and AWS_PROFILE chooses among them."""
    bucket.put_object(Bucket="shop", Key="t.csv", Body=CSV)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    endpoint = os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("AWS_PROFILE", "work")
    (tmp_path / "credentials").write_text(
        f"[work]\naws_access_key_id = k\naws_secret_access_key = %{SECRET}\n"
    )
    (tmp_path / "config").write_text(f"[profile work]\nregion = eu-west-1\nendpoint_url = {endpoint}\n")
    assert read_reference("s3://shop/t.csv", 100).total_rows == 2


def test_a_store_that_nobody_serves_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens at port 1 of this machine."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert "its store does not answer: s3://shop/t.csv; check the network and AWS_ENDPOINT" in refused(
        "s3://shop/t.csv"
    )


_HEAD = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nLast-Modified: Tue, 24 Nov 2026 00:00:00 GMT\r\nContent-Length: 100\r\n\r\n'
_PIECE = _HEAD.replace(b"200 OK", b"206 Partial Content").replace(
    b"\r\n\r\n", b"\r\nContent-Range: bytes 0-99/100\r\n\r\n"
)


@pytest.fixture
def wrong_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes, bytes], None]]:
    """Start a server that answers HEAD and GET with these bytes, and then says no more until the test is over."""
    over = threading.Event()
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer(connection: socket.socket, head: bytes, get: bytes) -> None:
            with connection:
                while request := connection.recv(65536):
                    said = head if request.startswith(b"HEAD") else get
                    connection.sendall(said)
                    if said is get or not said:
                        over.wait(60)
                        return

        def accept(head: bytes, get: bytes) -> None:
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=answer, args=(connection, head, get), daemon=True))
                threads[-1].start()

        def start(head: bytes, get: bytes) -> None:
            monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listening.getsockname()[1]}")
            threads.append(threading.Thread(target=accept, args=(head, get), daemon=True))
            threads[-1].start()

        yield start
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "get"),
    [(b"", b""), (_HEAD, b""), (_HEAD, _PIECE + b"half")],
    ids=["before the answer", "before the content", "within it"],
)
def test_a_store_that_hangs_holds_nobody_for_long(
    wrong_server: Callable[[bytes, bytes], None], head: bytes, get: bytes
) -> None:
    """Before its answer, before the content, and in the middle of it."""
    wrong_server(head, get)
    begun = time.monotonic()
    assert "its store does not answer" in refused("s3://shop/t.csv")
    assert time.monotonic() - begun < LONGEST_SECONDS


def test_a_store_that_fails_is_said_with_its_status(wrong_server: Callable[[bytes, bytes], None]) -> None:
    """After some tries."""
    failure = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    wrong_server(failure, failure)
    assert (
        "cannot be read, its store failed (503): s3://shop/t.csv; try again, and check the address"
        in refused("s3://shop/t.csv")
    )


def test_a_replaced_file_has_changed(tmp_path: Path) -> None:
    """A file has no ETag: its time, size and inode tell."""
    path = tmp_path / "r.csv"
    path.write_bytes(CSV)
    dataset = ReferenceDataset(path, 100)
    assert len(dataset.read().rows) == 2
    dataset.accept()
    assert not dataset.changed()
    (tmp_path / "new.csv").write_bytes(CSV.replace(b"2", b"3"))
    (tmp_path / "new.csv").replace(path)
    assert dataset.changed()
    path.unlink()
    with pytest.raises(DatasetError, match="is missing, no such file"):
        dataset.changed()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("a\0b", "cannot be read (embedded null byte)"), ("n" * 300, "cannot be read (File name too long)")],
)
def test_a_file_that_cannot_be_opened_is_said(tmp_path: Path, name: str, sentence: str) -> None:
    """With the system's reason and what to do."""
    with (
        pytest.raises(UnreadableObjectError, match="give a file that this user may read") as caught,
        open_object(parse_location(f"{tmp_path}/{name}")),
    ):
        pass
    assert sentence in str(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
def test_what_is_no_regular_file_is_said_at_once(tmp_path: Path, kind: str) -> None:
    """A pipe without a writer would be waited for; the same sentence comes for the content and for the stamp."""
    path = tmp_path / "r.csv" if kind != "device" else Path("/dev/zero")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    with pytest.raises(
        DatasetError, match=r"^Reference dataset is no regular file: .*; give the path of a file$"
    ):
        read_reference(path, 100)
    with pytest.raises(UnreadableObjectError, match="is no regular file; give the path"):
        read_stamp(parse_location(str(path)))


def test_a_file_that_becomes_a_pipe_is_said(tmp_path: Path) -> None:
    """Between two reads, as the question whether it changed meets it."""
    path = tmp_path / "r.csv"
    path.write_bytes(CSV)
    dataset = ReferenceDataset(path, 100)
    dataset.read()
    dataset.accept()
    path.unlink()
    os.mkfifo(path)
    for act in (dataset.changed, dataset.read):
        with pytest.raises(DatasetError, match="is no regular file"):
            act()


def test_a_stamp_costs_no_content(bucket: BaseClient) -> None:
    """It is the one that reading gives."""
    bucket.put_object(Bucket="shop", Key="t.csv", Body=CSV)
    location = parse_location("s3://shop/t.csv")
    with open_object(location) as opened:
        assert read_stamp(location) == opened.stamp
