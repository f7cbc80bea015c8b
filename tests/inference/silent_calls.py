"""Calls of gRPC whose message never comes, opened by hand."""

import socket
import struct


def open_silent_calls(
    port: int, count: int, path: str = "/inference.v1.InferenceService/Predict"
) -> socket.socket:
    """Open calls over one connection and send none of their messages."""

    def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
        return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload

    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "test",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(
        b"\x00" + bytes([len(key)]) + key.encode() + bytes([len(value)]) + value.encode()
        for key, value in headers.items()
    )
    connection = socket.create_connection(("127.0.0.1", port))
    opening = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")
    connection.sendall(opening + b"".join(frame(1, 4, 1 + 2 * n, block) for n in range(count)))
    return connection
