"""Tables in an object store, by a real S3 server: what is fetched, and a sentence for what cannot be."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from training import validate
from training.configuration.config import load_config
from training.data import sources
from training.data.dataset import load_table
from training.data.sources import local_file
from training.errors import DatasetError, ExitCode, StorageError

ROWS = b"a,y\n" + b"".join(b"%d,%s\n" % (i, b"uv"[i % 2 : i % 2 + 1]) for i in range(40))
#: Far above what pytest's own files hold.
_BIG = 64 << 20
SECRET = "geheim+geheim/geheim"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A real S3 server with one bucket, `shop`, and one table in it."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    address = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=address, aws_access_key_id="k", aws_secret_access_key="s", region_name="us-east-1"
    )
    client.create_bucket(Bucket="shop")
    client.put_object(Bucket="shop", Key="tables/t.csv", Body=ROWS)
    client.put_object(Bucket="shop", Key="big.csv", Body=bytes(_BIG))
    client.close()
    yield address
    moto.stop()


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials by the standard variables, and none from anywhere else."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "STORAGE_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


def refused(uri: str) -> DatasetError:
    with pytest.raises(DatasetError) as caught, local_file(uri):
        pass
    assert SECRET not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("scheme", ["s3", "s3a"])
def test_table_is_fetched_and_does_not_stay(
    server: str, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    """By AWS_ENDPOINT_URL, as every tool of AWS; the copy on this disk vanishes."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    with local_file(f"{scheme}://shop/tables/t.csv") as path:
        assert path.read_bytes() == ROWS
    assert not path.exists()
    config = load_config(None, {"dataset": {"source": "s3://shop/tables/t.csv", "target": "y"}})
    table = load_table(config)
    assert (table.name, table.source, len(table.frame)) == ("t", "s3://shop/tables/t.csv", 40)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("s3://shop/tables/u.csv", "there is no such object or bucket (404)"),
        ("s3://mall/t.csv", "there is no such object or bucket (404)"),
        ("s3://shop/tables", "there is no such object or bucket (404)"),
        ("s3://shop", "it names a bucket and no object in it; write s3://BUCKET/PATH"),
        (
            f"s3://key:{SECRET.replace('/', '')}@shop/no.csv?token={SECRET}",
            "table s3://shop/no.csv cannot be read",
        ),
    ],
)
def test_what_is_not_there_is_wrong_usage(
    server: str, monkeypatch: pytest.MonkeyPatch, uri: str, reason: str
) -> None:
    """An object, a bucket, a folder: exit 2, and nothing of the URI's credentials."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    error = refused(uri)
    assert reason in str(error)
    assert "geheim" not in str(error)
    assert error.exit_code == ExitCode.USAGE


def test_missing_credentials_are_infrastructure(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that would hold them are named."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    error = refused("s3://shop/tables/t.csv")
    assert "no usable credentials were found for its store; set AWS_ACCESS_KEY_ID and" in str(error)
    assert error.exit_code == ExitCode.INFRASTRUCTURE


def test_refused_credentials_are_infrastructure(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real 403, through the command: exit 4, one line, no secret, nothing written."""
    monkeypatch.setattr(logging.getLogger("werkzeug"), "disabled", True)  # the store runs in this process
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    requests.post(f"{server}/moto-api/reset-auth", data=b"0", timeout=10).raise_for_status()
    try:
        arguments = ["--data", "s3://shop/tables/t.csv", "--target", "y"]
        assert validate.main(arguments) == ExitCode.INFRASTRUCTURE
    finally:
        requests.post(f"{server}/moto-api/reset-auth", data=b"inf", timeout=10).raise_for_status()
    (line,) = capsys.readouterr().err.splitlines()
    assert "its store refuses these credentials (403); check AWS_ACCESS_KEY_ID" in line
    assert SECRET not in line
    assert list(Path().iterdir()) == []


def test_store_that_does_not_answer_is_infrastructure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens at port 1 of this machine."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    error = refused("s3://shop/tables/t.csv")
    assert "its store does not answer; check the network and AWS_ENDPOINT_URL" in str(error)
    assert error.exit_code == ExitCode.INFRASTRUCTURE


def test_credentials_of_google_that_do_not_exist_are_infrastructure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known at once, and not after half a minute of asking elsewhere."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "nowhere.json")
    error = refused("gs://shop/t.csv")
    assert "GOOGLE_APPLICATION_CREDENTIALS names a file that does not exist; correct it" in str(error)
    assert error.exit_code == ExitCode.INFRASTRUCTURE


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library the sentence says what to install."""
    monkeypatch.setitem(
        sources._STORES, "s3", sources.Store(**{**vars(sources._STORES["s3"]), "module": "s3fs_"})
    )
    error = refused("s3://shop/t.csv")
    assert "need the extra 's3', which is not installed; run: pip install \".[s3]\"" in str(error)
    assert error.exit_code == ExitCode.USAGE


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_full_disk_is_a_storage_error(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that finds no space here is no fault of the store; a limit on the size of files stands for the disk."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (_BIG // 2, limits[1]))
    try:
        with (
            pytest.raises(StorageError, match="cannot be written: File too large; free space there"),
            local_file("s3://shop/big.csv"),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_command_takes_a_uri(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the store to data/processed, under the name of the file."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    assert validate.main(["--data", "s3://shop/tables/t.csv", "--target", "y", "--json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["output"] == "data/processed/t.csv"
