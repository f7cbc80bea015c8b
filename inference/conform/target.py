"""The server under examination: its channel, its stubs, and calls whose errors are answers too."""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message import Message

from inference.client.channel import ChannelOptions, TlsFiles, open_channel
from protos.oip import open_inference_pb2 as oip

__all__ = ["OIP_SERVICE", "Reply", "Target", "Tokens"]

OIP_SERVICE: Final = oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
#: Large enough for the answer to the large batch of any table.
_MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024
#: How much of a server's own sentence the report repeats.
_MAX_DETAILS: Final = 160

_METHODS: Final = {
    method.name: method for method in oip.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods
}
_MESSAGES: Final = {name: getattr(oip, name) for name in oip.DESCRIPTOR.message_types_by_name}


class Reply(NamedTuple):
    """How a call ended; `message` is None unless the code is OK."""

    code: grpc.StatusCode
    message: Any = None
    details: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is a message."""
        return self.code is grpc.StatusCode.OK

    @property
    def text(self) -> str:
        """The status, with as much of its sentence as fits a line."""
        said = " ".join(self.details.split())
        cut = said if len(said) <= _MAX_DETAILS else said[:_MAX_DETAILS] + "…"
        return f"{self.code.name}: {cut}" if cut else self.code.name


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the server asks callers for; empty means that nothing is shown."""

    #: Sent as `authorization: Bearer …` with every call.
    predict: str = ""
    #: Sent with changes of the repository, as `x-admin-token`; without one, nothing is loaded or unloaded.
    admin: str = ""


class Target:
    """One server over gRPC; a context manager."""

    def __init__(
        self,
        address: str,
        *,
        tls: TlsFiles | None,
        timeout_seconds: float,
        tokens: Tokens = Tokens(),
    ) -> None:
        self.address: Final = address
        self.timeout_seconds: Final = timeout_seconds
        self.tokens: Final = tokens
        self.channel: Final = open_channel(address, tls, ChannelOptions(max_message_bytes=_MAX_MESSAGE_BYTES))

    def __enter__(self) -> "Target":
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def connect(self) -> bool:
        """Wait for a connection; return whether there is one in time."""
        try:
            grpc.channel_ready_future(self.channel).result(self.timeout_seconds)
        except grpc.FutureTimeoutError:
            return False
        return True

    def call(
        self, method: str, request: Message, *, timeout_seconds: float | None = None, admin: bool = False
    ) -> Reply:
        """Call a method of the protocol; a status other than OK is a reply like any other."""
        answer = _MESSAGES[_METHODS[method].output_type.name]
        return self.call_bytes(
            f"/{OIP_SERVICE}/{method}",
            request.SerializeToString(),
            answer.FromString,
            timeout_seconds=timeout_seconds,
            admin=admin,
        )

    def call_bytes(
        self,
        path: str,
        request: bytes,
        parse: Any = None,  # noqa: ANN401  # what a deserializer is to grpcio
        *,
        timeout_seconds: float | None = None,
        admin: bool = False,
    ) -> Reply:
        """Call any method by its path, with a request that is bytes already."""
        multicallable: grpc.UnaryUnaryMultiCallable[bytes, Any] = self.channel.unary_unary(
            path, request_serializer=None, response_deserializer=parse
        )
        try:
            message = multicallable(
                request, timeout=timeout_seconds or self.timeout_seconds, metadata=self.headers(admin=admin)
            )
        except grpc.RpcError as error:
            return Reply(error.code(), details=error.details() or "")
        return Reply(grpc.StatusCode.OK, message)

    def headers(self, *, admin: bool = False) -> tuple[tuple[str, str], ...]:
        """Return what shows that the caller may ask."""
        shown = []
        bearer = self.tokens.predict or (self.tokens.admin if admin else "")
        if bearer:
            shown.append(("authorization", f"Bearer {bearer}"))
        if admin and self.tokens.admin:
            shown.append(("x-admin-token", self.tokens.admin))
        return tuple(shown)
