"""Points about the server itself."""

from typing import Final

from inference.conform.point import Observation, Point, judged, skipped
from inference.conform.subject import Subject
from protos.oip import open_inference_pb2 as oip

__all__ = ["POINTS"]


def _live(subject: Subject) -> Observation:
    reply = subject.target.call("ServerLive", oip.ServerLiveRequest())
    found = f"live = {reply.message.live}" if reply.ok else reply.text
    return judged(reply.ok and reply.message.live, "ServerLive", "live = True", found)


def _ready(subject: Subject) -> Observation:
    reply = subject.target.call("ServerReady", oip.ServerReadyRequest())
    found = f"ready = {reply.message.ready}" if reply.ok else reply.text
    return judged(reply.ok and reply.message.ready, "ServerReady", "ready = True", found)


def _metadata(subject: Subject) -> Observation:
    reply = subject.target.call("ServerMetadata", oip.ServerMetadataRequest())
    expected = "a name and a version"
    if not reply.ok:
        return judged(False, "ServerMetadata", expected, reply.text)
    found = f"name {reply.message.name!r}, version {reply.message.version!r}"
    return judged(bool(reply.message.name and reply.message.version), "ServerMetadata", expected, found)


def _extensions(subject: Subject) -> Observation:
    target = subject.target
    reply = target.call("ServerMetadata", oip.ServerMetadataRequest())
    if not reply.ok:
        return skipped("ServerMetadata does not answer")
    offered = target.call("RepositoryIndex", oip.RepositoryIndexRequest()).code.name != "UNIMPLEMENTED"
    named = "model_repository" in reply.message.extensions
    expected = f"model_repository {'among' if offered else 'not among'} the extensions"
    return judged(
        named == offered, "ServerMetadata, RepositoryIndex", expected, str(list(reply.message.extensions))
    )


POINTS: Final = (
    Point("server.live", "ServerLive says live", True, _live),
    Point("server.ready", "ServerReady says ready while the model serves", True, _ready),
    Point("server.metadata", "ServerMetadata has name and version", True, _metadata),
    Point(
        "server.extensions",
        "The extensions list the model repository exactly if it is there",
        False,
        _extensions,
    ),
)
