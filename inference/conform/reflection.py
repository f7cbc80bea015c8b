"""Points of server reflection, by which tools such as grpcurl learn what there is."""

from typing import Any, Final

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from inference.conform.point import Observation, Point, judged, skipped
from inference.conform.subject import Subject
from inference.conform.target import OIP_SERVICE

__all__ = ["POINTS"]

_NOT_OFFERED: Final = "the server does not offer reflection"
_ENDED: Final = "the end of the stream"


def _ask(subject: Subject, **question: Any) -> Any:  # noqa: ANN401  # a field of the request, a response, an error, or None
    target = subject.target
    stream = reflection_pb2_grpc.ServerReflectionStub(target.channel).ServerReflectionInfo(
        iter([reflection_pb2.ServerReflectionRequest(**question)]),
        timeout=target.timeout_seconds,
        metadata=target.headers(),
    )
    try:
        return next(stream, None)
    except grpc.RpcError as error:
        return error


def _lists(subject: Subject) -> Observation:
    response = _ask(subject, list_services="")
    if response is None:
        return judged(False, "list_services", OIP_SERVICE, _ENDED)
    if isinstance(response, grpc.RpcError):
        unimplemented = response.code() is grpc.StatusCode.UNIMPLEMENTED
        return (
            skipped(_NOT_OFFERED)
            if unimplemented
            else judged(False, "list_services", OIP_SERVICE, str(response))
        )
    names = [service.name for service in response.list_services_response.service]
    return judged(OIP_SERVICE in names, "list_services", f"{OIP_SERVICE} among them", ", ".join(names))


def _describes(subject: Subject) -> Observation:
    response = _ask(subject, file_containing_symbol=OIP_SERVICE)
    if response is None:
        return judged(False, f"file_containing_symbol {OIP_SERVICE}", "its methods", _ENDED)
    if isinstance(response, grpc.RpcError):
        return skipped(_NOT_OFFERED)
    files = [
        FileDescriptorProto.FromString(f) for f in response.file_descriptor_response.file_descriptor_proto
    ]
    methods = {
        method.name
        for file in files
        for service in file.service
        if f"{file.package}.{service.name}" == OIP_SERVICE
        for method in service.method
    }
    found = ", ".join(sorted(methods)) or response.error_response.error_message or "no such service"
    kept = {"ModelInfer", "ModelMetadata", "ServerLive"} <= methods
    return judged(kept, f"file_containing_symbol {OIP_SERVICE}", "its methods", found)


POINTS: Final = (
    Point("reflection.services", "Reflection lists the service", False, _lists),
    Point("reflection.methods", "Reflection describes its methods", False, _describes),
)
