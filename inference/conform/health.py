"""Points of gRPC's own health service, which Kubernetes and load balancers ask."""

from typing import Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from inference.conform.point import Observation, Point, judged, skipped
from inference.conform.subject import Subject
from inference.conform.target import OIP_SERVICE, Reply

__all__ = ["POINTS"]

_Status: Final = health_pb2.HealthCheckResponse.ServingStatus
_NOT_OFFERED: Final = "the server does not offer grpc.health.v1"


def _check(subject: Subject, service: str) -> Reply:
    return subject.target.call_bytes(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest(service=service).SerializeToString(),
        health_pb2.HealthCheckResponse.FromString,
    )


def _offered(subject: Subject) -> bool:
    return _check(subject, "").code.name != "UNIMPLEMENTED"


def _serving(subject: Subject, service: str) -> Observation:
    reply = _check(subject, service)
    if reply.code.name == "UNIMPLEMENTED":
        return skipped(_NOT_OFFERED)
    found = _Status.Name(reply.message.status) if reply.ok else reply.text
    return judged(found == "SERVING", f"Check {service!r}", "SERVING", found)


def _unknown(subject: Subject) -> Observation:
    if not _offered(subject):
        return skipped(_NOT_OFFERED)
    reply = _check(subject, "no.such.Service")
    return judged(reply.code.name == "NOT_FOUND", "Check 'no.such.Service'", "NOT_FOUND", reply.text)


def _watch(subject: Subject) -> Observation:
    if not _offered(subject):
        return skipped(_NOT_OFFERED)
    target = subject.target
    stream = health_pb2_grpc.HealthStub(target.channel).Watch(
        health_pb2.HealthCheckRequest(), timeout=target.timeout_seconds, metadata=target.headers()
    )
    try:
        first = next(stream, None)
        found = "the end of the stream" if first is None else _Status.Name(first.status)
    except grpc.RpcError as error:
        found = f"{error.code().name}: {error.details()}"
    finally:
        stream.cancel()
    return judged(found == "SERVING", "Watch ''", "SERVING at once", found)


POINTS: Final = (
    Point("health.process", "Health of the empty name is SERVING", False, lambda s: _serving(s, "")),
    Point(
        "health.service",
        "Health of the service by its name is SERVING",
        False,
        lambda s: _serving(s, OIP_SERVICE),
    ),
    Point("health.unknown", "Health of an unknown name is NOT_FOUND", False, _unknown),
    Point("health.watch", "Watch says the present state at once", False, _watch),
)
