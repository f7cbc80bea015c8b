"""TLS and mTLS of the real server, with certificates made here and exchanged while it runs."""

import json
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from inference.errors import CertificateError
from inference.rpc.tls import Certificates
from inference.settings import Settings
from protos.inference.v1 import inference_pb2 as pb
from protos.inference.v1.inference_pb2_grpc import InferenceServiceStub
from telemetry import SettingsError, load_settings
from tests.inference.certificates import Authority, Pair

REQUEST = pb.PredictRequest(rows=[pb.Row(values=[5.1, 3.5, 1.4, 0.2])])


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Who signs for the server and for its clients."""
    return Authority("ours")


class Files:
    """Where the server reads its certificate."""

    def __init__(self, directory: Path, pair: Pair) -> None:
        self.cert, self.key, self.ca = (directory / name for name in ("tls.crt", "tls.key", "ca.crt"))
        self.replace(pair)

    def replace(self, pair: Pair) -> None:
        """Put another pair in place, each file whole at once."""
        for path, content in zip((self.cert, self.key), pair, strict=True):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(content)
            os.replace(fresh, path)

    def settings(self, *, mutual: bool = False) -> dict[str, Path]:
        """What the server is told of them."""
        names = {"grpc_tls_cert_file": self.cert, "grpc_tls_key_file": self.key}
        return {**names, "grpc_tls_client_ca_file": self.ca} if mutual else names


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> Files:
    """A sound pair, and the authority of clients."""
    files = Files(tmp_path, authority.issue("localhost"))
    files.ca.write_bytes(authority.pem)
    return files


@contextmanager
def connected(address: str, authority: Authority, pair: Pair | None = None) -> Iterator[grpc.Channel]:
    """A connection of its own that trusts `authority` and shows `pair`."""
    certificate, key = pair or (None, None)
    credentials = grpc.ssl_channel_credentials(authority.pem, key, certificate)
    port = address.rpartition(":")[2]
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        yield channel


def _predict(channel: grpc.Channel) -> str:
    return InferenceServiceStub(channel).Predict(REQUEST, timeout=5).predictions[0].label


def _serves(address: str, authority: Authority, pair: Pair | None = None) -> bool:
    """Whether a new connection is answered; otherwise it must be UNAVAILABLE."""
    with connected(address, authority, pair) as channel:
        try:
            return bool(_predict(channel))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                return False
            raise


def _shown(address: str) -> bytes:
    """The certificate that a new connection is shown, as DER."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port))) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True) or b""


def _der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair[0].decode())


def test_tls(make_service: object, files: Files, authority: Authority) -> None:
    """With a certificate the server answers who trusts its authority; plaintext gets nowhere."""
    running = make_service(**files.settings())
    assert _serves(running.address, authority)
    assert not _serves(running.address, Authority("stranger"))
    with pytest.raises(grpc.RpcError) as caught:
        running.stub.Predict(REQUEST, timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_mutual_tls(make_service: object, files: Files, authority: Authority) -> None:
    """With authorities for clients only a certificate of one of them is let in."""
    running = make_service(**files.settings(mutual=True))
    assert _serves(running.address, authority, authority.issue("client"))
    assert not _serves(running.address, authority)
    assert not _serves(running.address, authority, Authority("stranger").issue("client"))


def test_rotation(make_service: object, files: Files, authority: Authority) -> None:
    """New files are used by the next connection; one that is open works on."""
    running = make_service(**files.settings())
    first = running.http.get("/health").json()["tls"]["certificate_loaded_at"]
    with connected(running.address, authority) as old:
        assert _predict(old)
        fresh = authority.issue("localhost")
        files.replace(fresh)
        assert _shown(running.address) == _der(fresh)
        assert _serves(running.address, authority)
        assert _predict(old)
    assert running.http.get("/health").json()["tls"]["certificate_loaded_at"] > first


def test_rotation_by_links(make_service: object, tmp_path: Path, authority: Authority) -> None:
    """A Kubernetes secret is a link to a directory that is exchanged; that counts as new files too."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        pair = authority.issue("localhost")
        Files(tmp_path / name, pair)
    link = tmp_path / "data"
    link.symlink_to("old")
    running = make_service(grpc_tls_cert_file=link / "tls.crt", grpc_tls_key_file=link / "tls.key")
    before = _shown(running.address)
    (tmp_path / "fresh").symlink_to("new")
    os.replace(tmp_path / "fresh", link)
    assert _shown(running.address) not in (before, b"")
    assert _serves(running.address, authority)


def test_rotation_of_client_authorities(make_service: object, files: Files, authority: Authority) -> None:
    """Another authority for clients holds from the next connection on."""
    running = make_service(**files.settings(mutual=True))
    newcomer = Authority("newcomer")
    assert not _serves(running.address, authority, newcomer.issue("client"))
    files.ca.write_bytes(newcomer.pem)
    assert _serves(running.address, authority, newcomer.issue("client"))
    assert not _serves(running.address, authority, authority.issue("client"))


@pytest.mark.parametrize("how", ["key of another", "half a file", "no file"])
def test_a_bad_rotation_keeps_the_old_one(
    make_service: object, files: Files, authority: Authority, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files that cannot be used change nothing, are told once and shown by /health, and can be mended."""
    good = authority.issue("localhost")
    files.replace(good)
    running = make_service(**files.settings())
    other = authority.issue("localhost")
    if how == "no file":
        files.key.unlink()
    else:
        files.replace((other[0][:200], other[1]) if how == "half a file" else (other[0], good[1]))
    for _ in range(3):
        assert _shown(running.address) == _der(good)
        assert _serves(running.address, authority)
    last_error = running.http.get("/health").json()["tls"]["last_error"]
    assert "cannot be used for TLS" in last_error
    assert "GRPC_TLS_CERT_FILE" in last_error
    assert capsys.readouterr().out.count("new certificate refused") == 1
    files.replace(other)
    assert _shown(running.address) == _der(other)
    assert running.http.get("/health").json()["tls"]["last_error"] == ""


def test_a_missing_file_that_comes_back(make_service: object, files: Files, tmp_path: Path) -> None:
    """A file that was away for a while and comes back unchanged leaves no error behind."""
    running = make_service(**files.settings())
    files.key.rename(tmp_path / "away")
    assert running.http.get("/health").json()["tls"]["last_error"]
    (tmp_path / "away").rename(files.key)
    assert running.http.get("/health").json()["tls"]["last_error"] == ""


def test_an_expired_certificate_is_replaced(make_service: object, files: Files, authority: Authority) -> None:
    """Clients refuse a certificate that has ended; the server needs no restart for the next one."""
    files.replace(authority.issue("localhost", days=-1))
    running = make_service(**files.settings())
    assert not _serves(running.address, authority)
    files.replace(authority.issue("localhost"))
    assert _serves(running.address, authority)


def _encrypted(pair: Pair) -> bytes:
    from cryptography.hazmat.primitives import serialization

    key: Any = serialization.load_pem_private_key(pair[1], None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


def _as_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("name", "spoil", "reason"),
    [
        ("key", lambda path, other: path.write_bytes(other[1]), "do not belong together"),
        ("key", lambda path, _: path.unlink(), "tls.key cannot be used for TLS: No such file"),
        ("cert", lambda path, _: path.write_bytes(b"no certificate"), "finds no PEM in it"),
        ("key", lambda path, _: path.write_bytes(b""), "finds no PEM in it"),
        ("ca", lambda path, _: path.write_bytes(b""), "ca.crt cannot be used for TLS"),
        ("key", lambda path, other: path.write_bytes(_encrypted(other)), "is encrypted"),
        ("key", lambda path, _: _as_directory(path), "Is a directory"),
    ],
)
def test_files_that_cannot_be_used(
    files: Files, authority: Authority, name: str, spoil: Callable[[Path, Pair], object], reason: str
) -> None:
    """At start each mistake is one sentence with the file, what is wrong with it, and the settings."""
    spoil(getattr(files, name), authority.issue("localhost"))
    with pytest.raises(CertificateError) as caught:
        Certificates(files.cert, files.key, files.ca)
    assert reason in str(caught.value)
    assert "GRPC_TLS_KEY_FILE" in str(caught.value)


def test_the_start_ends_with_one_line(make_process: object, files: Files, authority: Authority) -> None:
    """A process whose certificate and key do not belong together says so and exits with 2."""
    files.key.write_bytes(authority.issue("localhost")[1])
    process = make_process(GRPC_TLS_CERT_FILE=files.cert, GRPC_TLS_KEY_FILE=files.key)
    assert process.end() == 2
    (line,) = map(json.loads, process.lines)
    assert (line["level"], "do not belong together" in line["message"]) == ("ERROR", True)


def test_settings_that_go_together(monkeypatch: pytest.MonkeyPatch, files: Files) -> None:
    """The native transport has no TLS, and says so with the other wrong settings."""
    for name, value in files.settings().items():
        monkeypatch.setenv(name.upper(), str(value))
    monkeypatch.setenv("GRPC_TRANSPORT", "native")
    with pytest.raises(
        SettingsError, match="GRPC_TLS_CERT_FILE: GRPC_TRANSPORT is `native`, which has no TLS"
    ):
        load_settings(Settings)
