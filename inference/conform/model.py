"""Points about readiness and metadata of models, known and unknown."""

from typing import Final

from inference.conform.point import Observation, Point, judged, skipped
from inference.conform.subject import UNKNOWN_MODEL, UNKNOWN_VERSION, Subject
from inference.conform.target import Reply
from inference.conform.tensors import DATATYPES
from protos.oip import open_inference_pb2 as oip

__all__ = ["POINTS"]

_NO_VERSION: Final = "the metadata list no version"


def _is_ready(subject: Subject, name: str, version: str) -> tuple[str, Reply]:
    request = oip.ModelReadyRequest(name=name, version=version)
    return _sent("ModelReady", name, version), subject.target.call("ModelReady", request)


def _describe(subject: Subject, name: str, version: str) -> tuple[str, Reply]:
    request = oip.ModelMetadataRequest(name=name, version=version)
    return _sent("ModelMetadata", name, version), subject.target.call("ModelMetadata", request)


def _sent(method: str, name: str, version: str) -> str:
    return f"{method} {name}" + (f" version {version}" if version else "")


def _ready(subject: Subject, version: str) -> Observation:
    sent, reply = _is_ready(subject, subject.model, version)
    found = f"ready = {reply.message.ready}" if reply.ok else reply.text
    return judged(reply.ok and reply.message.ready, sent, "ready = True", found)


def _ready_version(subject: Subject) -> Observation:
    return _ready(subject, subject.listed_version) if subject.listed_version else skipped(_NO_VERSION)


def _not_ready(subject: Subject, name: str, version: str) -> Observation:
    sent, reply = _is_ready(subject, name, version)
    found = f"ready = {reply.message.ready}" if reply.ok else reply.text
    kept = not reply.message.ready if reply.ok else reply.code.name == "NOT_FOUND"
    return judged(kept, sent, "ready = False, or NOT_FOUND", found)


def _metadata(subject: Subject) -> Observation:
    sent, reply = _describe(subject, subject.model, subject.version)
    expected = "name, platform, inputs and outputs, each with name, known datatype and shape"
    if not reply.ok:
        return judged(False, sent, expected, reply.text)
    problems = _problems(subject.model, reply.message)
    described = f"{len(reply.message.inputs)} inputs, {len(reply.message.outputs)} outputs"
    return judged(not problems, sent, expected, "; ".join(problems) or described)


def _problems(model: str, metadata: oip.ModelMetadataResponse) -> list[str]:
    problems = [f"name is {metadata.name!r}"] if metadata.name != model else []
    problems += ["platform is empty"] if not metadata.platform else []
    for kind, tensors in (("input", metadata.inputs), ("output", metadata.outputs)):
        problems += [] if tensors else [f"no {kind}"]
        names = [tensor.name for tensor in tensors]
        problems += [f"two {kind}s have the same name"] if len(set(names)) < len(names) else []
        for tensor in tensors:
            problems += [] if tensor.name else [f"an {kind} without name"]
            if tensor.datatype not in DATATYPES:
                problems.append(f"{kind} {tensor.name} has the datatype {tensor.datatype!r}")
            if not tensor.shape or min(tensor.shape) < -1:
                problems.append(f"{kind} {tensor.name} has the shape {list(tensor.shape)}")
    return problems


def _metadata_version(subject: Subject) -> Observation:
    version = subject.listed_version
    if not version:
        return skipped(_NO_VERSION)
    sent, reply = _describe(subject, subject.model, version)
    same = reply.ok and list(reply.message.inputs) == list(subject.metadata.inputs)
    return judged(same, sent, "the same inputs", "the same inputs" if same else reply.text)


def _undescribed(subject: Subject, name: str, version: str) -> Observation:
    sent, reply = _describe(subject, name, version)
    return judged(reply.code.name == "NOT_FOUND", sent, "NOT_FOUND", reply.text)


POINTS: Final = (
    Point("model.ready", "ModelReady says that the model is ready", True, lambda s: _ready(s, s.version)),
    Point("model.ready.version", "ModelReady knows a version that the metadata list", True, _ready_version),
    Point(
        "model.ready.unknown",
        "ModelReady of an unknown model is no, not a defect",
        True,
        lambda s: _not_ready(s, UNKNOWN_MODEL, ""),
    ),
    Point(
        "model.ready.unknown_version",
        "ModelReady of an unknown version is no, not a defect",
        True,
        lambda s: _not_ready(s, s.model, UNKNOWN_VERSION),
    ),
    Point("model.metadata", "ModelMetadata describes the model completely", True, _metadata),
    Point("model.metadata.version", "ModelMetadata knows a version that it lists", True, _metadata_version),
    Point(
        "model.metadata.unknown",
        "ModelMetadata of an unknown model is NOT_FOUND",
        True,
        lambda s: _undescribed(s, UNKNOWN_MODEL, ""),
    ),
    Point(
        "model.metadata.unknown_version",
        "ModelMetadata of an unknown version is NOT_FOUND",
        True,
        lambda s: _undescribed(s, s.model, UNKNOWN_VERSION),
    ),
)
