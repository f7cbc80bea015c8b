"""A port that several processes share, and nobody else."""

import socket

import pytest

from inference.workers.port import SharedPort
from telemetry import PortInUseError

HOST = "127.0.0.1"


def _socket(port: int, *, share: bool) -> socket.socket:
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(share))
    try:
        opened.bind((HOST, port))
        opened.listen()
    except OSError:
        opened.close()
        raise
    return opened


@pytest.mark.parametrize("workers", [0, 2])
def test_nobody_else_gets_it(workers: int) -> None:
    """Whether workers listen at that moment or not: no second supervisor, and no server that does not share."""
    port = SharedPort(HOST, 0)
    listening = [_socket(port.port, share=True) for _ in range(workers)]
    with pytest.raises(PortInUseError, match=f"port {port.port} on {HOST} is in use"):
        SharedPort(HOST, port.port)
    with pytest.raises(OSError, match="in use"):
        _socket(port.port, share=False)
    for each in listening:
        each.close()
    port.close()


def test_a_port_that_somebody_has_is_refused() -> None:
    """Even one whose owner would share it."""
    for share in (False, True):
        with _socket(0, share=share) as taken, pytest.raises(PortInUseError, match="GRPC_PORT"):
            SharedPort(HOST, taken.getsockname()[1])


@pytest.mark.parametrize("share", [False, True])
def test_old_connections_are_no_reason_to_wait(share: bool) -> None:
    """A server that was restarted gets its port, although its last connections are in TIME_WAIT."""
    with _socket(0, share=share) as listener:
        number = listener.getsockname()[1]
        client = socket.create_connection((HOST, number))
        server, _ = listener.accept()
        server.close()  # who closes first is left in TIME_WAIT
        client.close()
    port = SharedPort(HOST, number)
    _socket(number, share=True).close()
    port.close()


def test_no_connection_goes_to_the_holder() -> None:
    """With one worker listening, every connection arrives there."""
    port = SharedPort(HOST, 0)
    with _socket(port.port, share=True) as worker:
        for _ in range(16):
            with socket.create_connection((HOST, port.port)), worker.accept()[0]:
                pass
    port.close()


def test_an_address_of_another_machine() -> None:
    """The error names the setting (the address is from RFC 5737)."""
    with pytest.raises(OSError, match="GRPC_HOST"):
        SharedPort("192.0.2.1", 0)
