"""TLS and mTLS, with certificates made here and a real server."""

from pathlib import Path

import grpc
import pytest

from inference.client import TlsFiles, UnavailableError
from tests.inference import certificates

ROWS = [[5.0, 6.0]]


class Authority:
    """An authority, and the files of what it signs."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name
        self._authority = certificates.Authority(name)
        self.file = self._write(f"{name}.pem", self._authority.pem)

    def issue(self, host: str) -> tuple[Path, Path]:
        """Return files of a certificate for `host` and of its key."""
        public, private = self._authority.issue(host)
        stem = f"{self._name}-{host}"
        return self._write(f"{stem}.pem", public), self._write(f"{stem}.key", private)

    def _write(self, name: str, content: bytes) -> Path:
        path = self._directory / name
        path.write_bytes(content)
        return path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs for the server and for its clients."""
    return Authority(tmp_path_factory.mktemp("pki"), "ours")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("other"), "other")


def _credentials(authority: Authority, host: str, *, mutual: bool = False) -> grpc.ServerCredentials:
    certificate, key = (path.read_bytes() for path in authority.issue(host))
    ca = authority.file.read_bytes() if mutual else None
    return grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=mutual)


def test_a_server_with_tls(serve: object, ask: object, authority: Authority) -> None:
    """The authority's file is enough, for predictions, health and the model; the token goes with them."""
    backend = serve(credentials=_credentials(authority, "localhost"))
    options = {"tls": TlsFiles(ca=authority.file), "token": "t"}
    ask(backend.address, "wait_ready", 20, client=options)
    assert ask(backend.address, "predict", ROWS, client=options).labels == ("high",)
    assert ask(backend.address, "get_model", client=options).model_version == "7"
    assert {seen.metadata["authorization"] for seen in backend.seen} == {"Bearer t"}


def test_a_server_that_nobody_vouches_for(
    serve: object, ask: object, authority: Authority, stranger: Authority
) -> None:
    """Another authority, the public ones, and plaintext all end as unavailable; nothing arrives."""
    backend = serve(credentials=_credentials(authority, "localhost"))
    for tls in (TlsFiles(ca=stranger.file), TlsFiles(), None):
        with pytest.raises(UnavailableError):
            ask(backend.address, "predict", ROWS, client={"tls": tls})
    assert backend.seen == []


def test_a_name_of_its_own(serve: object, ask: object, authority: Authority) -> None:
    """A certificate for another name is refused, unless the caller says that name."""
    backend = serve(credentials=_credentials(authority, "models.example"))
    with pytest.raises(UnavailableError):
        ask(backend.address, "predict", ROWS, client={"tls": TlsFiles(ca=authority.file)})
    named = TlsFiles(ca=authority.file, server_name="models.example")
    assert ask(backend.address, "predict", ROWS, client={"tls": named}).labels == ("high",)


def test_a_server_that_asks_for_a_certificate(
    serve: object, ask: object, authority: Authority, stranger: Authority
) -> None:
    """mTLS: a certificate of the same authority is let in, none or a stranger's is not."""
    backend = serve(credentials=_credentials(authority, "localhost", mutual=True))
    mutual = TlsFiles(authority.file, *authority.issue("client"))
    assert ask(backend.address, "predict", ROWS, client={"tls": mutual}).labels == ("high",)
    for tls in (TlsFiles(ca=authority.file), TlsFiles(authority.file, *stranger.issue("client"))):
        with pytest.raises(UnavailableError):
            ask(backend.address, "predict", ROWS, client={"tls": tls})


def test_files_that_do_not_go_together(ask: object, authority: Authority) -> None:
    """A certificate without its key, and a file that is not there, are told when the client is made."""
    with pytest.raises(ValueError, match="cert and key"):
        TlsFiles(cert=authority.file)
    with pytest.raises(FileNotFoundError, match=r"missing\.pem"):
        ask("127.0.0.1:1", "predict", ROWS, client={"tls": TlsFiles(ca="missing.pem")})
