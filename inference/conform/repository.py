"""Points of the model repository extension. Loading and unloading change the server, so they need a token."""

from typing import Final

from inference.conform.point import Observation, Point, judged, skipped
from inference.conform.subject import UNKNOWN_MODEL, Subject
from inference.conform.target import Reply
from protos.oip import open_inference_pb2 as oip

__all__ = ["POINTS"]

#: https://github.com/triton-inference-server/server, docs/protocol/extension_model_repository.md
_STATES: Final = frozenset({"UNKNOWN", "READY", "UNAVAILABLE", "LOADING", "UNLOADING"})
_REFUSALS: Final = ("NOT_FOUND", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "UNAVAILABLE")
_ASKS_LEAVE: Final = "it changes the server; name the variable of a token by --admin-token-env to allow it"


def _index(subject: Subject, *, ready: bool = False) -> Reply:
    return subject.target.call("RepositoryIndex", oip.RepositoryIndexRequest(ready=ready))


def _not_offered(reply: Reply) -> bool:
    return reply.code.name == "UNIMPLEMENTED"


def _lists(subject: Subject) -> Observation:
    reply = _index(subject)
    if _not_offered(reply):
        return skipped("the server does not offer RepositoryIndex")
    expected = f"{subject.model} among the models, each with a state of {', '.join(sorted(_STATES))}"
    if not reply.ok:
        return judged(False, "RepositoryIndex", expected, reply.text)
    wrong = [f"{each.name}: {each.state!r}" for each in reply.message.models if each.state not in _STATES]
    listed = subject.model in [each.name for each in reply.message.models]
    found = ", ".join(f"{each.name} {each.version} {each.state}" for each in reply.message.models[:8])
    return judged(listed and not wrong, "RepositoryIndex", expected, "; ".join(wrong) or found or "no models")


def _lists_ready(subject: Subject) -> Observation:
    reply = _index(subject, ready=True)
    if _not_offered(reply):
        return skipped("the server does not offer RepositoryIndex")
    states = sorted({each.state for each in reply.message.models}) if reply.ok else []
    kept = reply.ok and states in ([], ["READY"])
    return judged(
        kept, "RepositoryIndex, ready = True", "READY alone", str(states) if reply.ok else reply.text
    )


def _load_unknown(subject: Subject) -> Observation:
    if not subject.target.tokens.admin:
        return skipped(_ASKS_LEAVE)
    request = oip.RepositoryModelLoadRequest(model_name=UNKNOWN_MODEL)
    reply = subject.target.call("RepositoryModelLoad", request, admin=True)
    if _not_offered(reply):
        return skipped("the server does not offer RepositoryModelLoad")
    return judged(
        reply.code.name in _REFUSALS,
        f"RepositoryModelLoad {UNKNOWN_MODEL}",
        " or ".join(_REFUSALS),
        reply.text,
    )


def _unload(subject: Subject) -> Observation:
    if not subject.target.tokens.admin:
        return skipped(_ASKS_LEAVE)
    target, model = subject.target, subject.model
    reply = target.call(
        "RepositoryModelUnload", oip.RepositoryModelUnloadRequest(model_name=model), admin=True
    )
    if _not_offered(reply):
        return skipped("the server does not offer RepositoryModelUnload")
    ready = target.call("ModelReady", oip.ModelReadyRequest(name=model))
    answer = subject.infer(subject.request())
    gone = not ready.message.ready if ready.ok else ready.code.name == "NOT_FOUND"
    refused = answer.code.name in ("NOT_FOUND", "UNAVAILABLE", "FAILED_PRECONDITION")
    found = (
        f"{reply.text}; ready = {ready.message.ready if ready.ok else ready.text}; ModelInfer {answer.text}"
    )
    expected = "OK, then not ready, and ModelInfer NOT_FOUND or UNAVAILABLE"
    return judged(reply.ok and gone and refused, f"RepositoryModelUnload {model}", expected, found)


def _load(subject: Subject) -> Observation:
    if not subject.target.tokens.admin:
        return skipped(_ASKS_LEAVE)
    target, model = subject.target, subject.model
    reply = target.call("RepositoryModelLoad", oip.RepositoryModelLoadRequest(model_name=model), admin=True)
    if _not_offered(reply):
        return skipped("the server does not offer RepositoryModelLoad")
    answer = subject.infer(subject.request())
    found = f"{reply.text}, then ModelInfer {answer.text}"
    return judged(reply.ok and answer.ok, f"RepositoryModelLoad {model}", "OK, then ModelInfer OK", found)


POINTS: Final = (
    Point("repository.index", "RepositoryIndex lists the model, with known states", False, _lists),
    Point("repository.index.ready", "RepositoryIndex can list ready models alone", False, _lists_ready),
    Point(
        "repository.load.unknown", "Loading an unknown model is refused, not a defect", False, _load_unknown
    ),
    Point("repository.unload", "An unloaded model is neither ready nor asked", False, _unload),
    Point("repository.load", "A model that is loaded again answers", False, _load),
)
