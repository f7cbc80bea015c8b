"""The certificate of the gRPC server, taken anew from its files whenever they change.

grpcio asks before each handshake. Open connections stay as they are: a certificate matters only at their beginning.
"""

import ssl
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import grpc
import structlog

from inference.errors import CertificateError

__all__ = ["Certificates", "TlsState"]

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("inference")

#: What tells one content of the files from another without reading them: of each its inode, size and time of change.
_Marks = tuple[tuple[int, int, int], ...]


class TlsState(NamedTuple):
    """What became of the files."""

    #: When the certificate that is used was taken up.
    loaded_at: datetime
    #: Why the files as they are now are not used; empty when they are.
    last_error: str


class Certificates:
    """The chain and key of the server and, for mTLS, the authorities of its clients.

    New files are used from the next connection on, but only when they can be: certificate and key that do not
    belong together, as in the moment between the writing of the two, leave the old ones in use.
    """

    def __init__(self, cert_file: Path, key_file: Path, client_ca_file: Path | None) -> None:
        """Read the files. Raises `CertificateError`."""
        self._cert_file, self._key_file, self._client_ca_file = cert_file, key_file, client_ca_file
        self._lock = threading.Lock()
        self._marks = self._look_at_files()
        self._current = self._read(self._marks)
        self._loaded_at = datetime.now(UTC)
        self._last_error = ""

    @property
    def state(self) -> TlsState:
        """What became of the files as they are now."""
        self._look()
        return TlsState(self._loaded_at, self._last_error)

    def credentials(self) -> grpc.ServerCredentials:
        """Return what grpcio asks for the certificate; clients must show one when there are authorities."""
        return grpc.dynamic_ssl_server_credentials(
            self._current, self._look, require_client_authentication=self._client_ca_file is not None
        )

    def _look(self) -> grpc.ServerCertificateConfiguration:
        """Take the files up if they changed; return what is to be used. Raises nothing, or nobody could connect."""
        with self._lock:
            marks = self._look_at_files()
            if marks != self._marks:
                self._marks = marks  # what cannot be used is not read again until it changes
                try:
                    self._current = self._read(marks)
                except CertificateError as error:
                    self._keep(str(error))
                else:
                    self._loaded_at, self._last_error = datetime.now(UTC), ""
                    _log.info("certificate taken up", cert_file=str(self._cert_file))
            return self._current

    def _keep(self, reason: str) -> None:
        if reason != self._last_error:
            self._last_error = reason
            _log.error("new certificate refused, the old one stays in use", error=reason)

    def _read(self, marks: _Marks) -> grpc.ServerCertificateConfiguration:
        chain, key = _content(self._cert_file), _content(self._key_file)
        authorities = _content(self._client_ca_file) if self._client_ca_file is not None else None
        if b"ENCRYPTED" in key:
            raise CertificateError(self._key_file, "the key is encrypted, and has to be in the clear")
        self._check()
        if self._look_at_files() != marks:  # then what was checked may not be what was read
            raise CertificateError(self._cert_file, "it is being written")
        configuration: grpc.ServerCertificateConfiguration = grpc.ssl_server_certificate_configuration(
            [(key, chain)], authorities
        )
        return configuration

    def _check(self) -> None:
        """Let OpenSSL say whether these are certificates and a key that belong together."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # Without a password of ours OpenSSL would ask the terminal for that of an encrypted key.
            context.load_cert_chain(self._cert_file, self._key_file, password=lambda: b"")
        except (OSError, ValueError) as error:
            raise CertificateError(self._cert_file, _why(error), key_file=self._key_file) from None
        if self._client_ca_file is not None:
            try:
                context.load_verify_locations(self._client_ca_file)
            except (OSError, ValueError) as error:
                raise CertificateError(self._client_ca_file, _why(error)) from None

    def _look_at_files(self) -> _Marks:
        files = filter(None, (self._cert_file, self._key_file, self._client_ca_file))
        return tuple(_mark(file) for file in files)


def _mark(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError:  # reading it will say why
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise CertificateError(file, _why(error)) from None


def _why(error: OSError | ValueError) -> str:
    if not isinstance(error, ssl.SSLError):
        return (error.strerror if isinstance(error, OSError) else None) or str(error)
    if "MISMATCH" in (error.reason or ""):
        return "certificate and key do not belong together"
    return f"OpenSSL finds no PEM in it that it can read ({error.reason or error.args[-1]})"
