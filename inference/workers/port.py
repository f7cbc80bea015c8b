"""The gRPC port of several processes: nobody else's, and theirs for as long as the supervisor lives."""

import errno
import socket
import sys
from typing import Final

from telemetry import PortInUseError

__all__ = ["SharedPort"]


class SharedPort:
    """Holds a port that only sockets with SO_REUSEPORT of the same user can share.

    1. A socket without SO_REUSEPORT listens: the kernel refuses that when anybody else has the port.
    2. While that one stands, the holder binds with SO_REUSEPORT. It never listens, so no connection goes to it.
    3. The holder gives up SO_REUSEADDR (which it needed beside old connections in TIME_WAIT). From here on,
       step 1 of another server fails, whether workers listen at that moment or not.
    """

    def __init__(self, host: str, port: int) -> None:
        """Take `host:port` (port 0: the kernel chooses). Raises `PortInUseError`, or `OSError`."""
        if sys.platform == "win32":
            raise OSError(
                "SERVER_WORKERS above 1 needs SO_REUSEPORT, which Windows does not have; set it to 1"
            )
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with self._open() as probe:
            try:
                probe.bind((host, port))
                probe.listen(1)
            except socket.gaierror:
                raise OSError(f"gRPC cannot listen on {host}: no such address; check GRPC_HOST") from None
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise PortInUseError(host, port, "GRPC_PORT") from None
                raise OSError(
                    f"gRPC cannot listen on {host}:{port}: {error.strerror}; check GRPC_HOST and GRPC_PORT"
                ) from None
            self.port: Final[int] = probe.getsockname()[1]
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._holder = self._open()
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._holder.bind((host, self.port))
            self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)

    def close(self) -> None:
        """Let others have the port."""
        self._holder.close()

    def _open(self) -> socket.socket:
        opened = socket.socket(self._family, socket.SOCK_STREAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return opened
