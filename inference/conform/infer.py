"""Points about good requests."""

from typing import Final

from inference.conform.point import Observation, Point, judged, skipped
from inference.conform.subject import Subject
from inference.conform.target import Reply
from inference.conform.tensors import Tensor, fits, outputs_of
from protos.oip import open_inference_pb2 as oip

__all__ = ["POINTS"]

#: Rows of the large batch: more than any default limit on rows that servers are known to have per thread or page.
LARGE_BATCH_ROWS: Final = 4096
#: Too short for the large batch and a way there and back.
_SHORT_DEADLINE_SECONDS: Final = 0.001
#: How a server may refuse what is too large for it.
_POLITE: Final = ("OK", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
_ID: Final = "conform-4711"


def _outputs(reply: Reply) -> tuple[list[Tensor], str]:
    """Return the outputs, or none and why there are none."""
    if not reply.ok:
        return [], reply.text
    try:
        outputs = outputs_of(reply.message)
    except ValueError as error:
        return [], str(error)
    return outputs, "" if outputs else "no outputs"


def _told(outputs: list[Tensor]) -> str:
    return ", ".join(f"{each.name} {each.datatype} {list(each.shape)}" for each in outputs)


def _typed(subject: Subject) -> Observation:
    if not subject.typed:
        return skipped("an input has a datatype that only raw contents can hold")
    outputs, problem = _outputs(subject.infer(subject.request(raw=False)))
    return judged(not problem, "ModelInfer, typed contents", "outputs", problem or _told(outputs))


def _raw(subject: Subject) -> Observation:
    outputs, problem = _outputs(subject.infer(subject.request(raw=True)))
    return judged(not problem, "ModelInfer, raw contents", "outputs", problem or _told(outputs))


def _same(subject: Subject) -> Observation:
    if not subject.typed:
        return skipped("an input has a datatype that only raw contents can hold")
    typed, problem = _outputs(subject.infer(subject.request(raw=False)))
    raw, other = _outputs(subject.infer(subject.request(raw=True)))
    found = problem or other or ("the same" if typed == raw else "different elements")
    return judged(found == "the same", "the same tensors, typed and raw", "the same outputs", found)


def _names_model(subject: Subject) -> Observation:
    reply = subject.infer(subject.request())
    expected = f"model_name {subject.model!r}" + (", a version" if subject.metadata.versions else "")
    if not reply.ok:
        return judged(False, "ModelInfer", expected, reply.text)
    name, version = reply.message.model_name, reply.message.model_version
    kept = name == subject.model and (bool(version) or not subject.metadata.versions)
    return judged(kept, "ModelInfer", expected, f"model_name {name!r}, model_version {version!r}")


def _version(subject: Subject) -> Observation:
    if not subject.listed_version:
        return skipped("the metadata list no version")
    request = subject.request()
    request.model_version = subject.listed_version
    reply = subject.infer(request)
    found = f"model_version {reply.message.model_version!r}" if reply.ok else reply.text
    sent = f"ModelInfer, model_version {request.model_version!r}"
    kept = reply.ok and reply.message.model_version == request.model_version
    return judged(kept, sent, "an answer by that version", found)


def _repeats_id(subject: Subject) -> Observation:
    request = subject.request()
    request.id = _ID
    reply = subject.infer(request)
    found = f"id {reply.message.id!r}" if reply.ok else reply.text
    return judged(reply.ok and reply.message.id == _ID, f"ModelInfer, id {_ID!r}", f"id {_ID!r}", found)


def _fit(subject: Subject) -> Observation:
    outputs, problem = _outputs(subject.infer(subject.request()))
    described = {each.name: each for each in subject.metadata.outputs}
    problems = [problem] if problem else []
    for output in outputs:
        wanted = described.get(output.name)
        if wanted is None:
            problems.append(f"{output.name} is not in the metadata")
        elif output.datatype != wanted.datatype or not fits(output.shape, wanted.shape):
            known = f"{wanted.datatype} {list(wanted.shape)}"
            problems.append(f"{output.name} is {output.datatype} {list(output.shape)}, not {known}")
    missing = described.keys() - {output.name for output in outputs}
    problems += [f"{name} is missing" for name in sorted(missing) if not problem]
    return judged(
        not problems, "ModelInfer", "the outputs of the metadata", "; ".join(problems) or _told(outputs)
    )


def _select(subject: Subject) -> Observation:
    name = subject.metadata.outputs[-1].name if subject.metadata.outputs else ""
    request = subject.request()
    request.outputs.add(name=name)
    outputs, problem = _outputs(subject.infer(request))
    found = [output.name for output in outputs]
    return judged(found == [name], f"ModelInfer, outputs [{name!r}]", f"[{name!r}]", problem or str(found))


def _repeats(subject: Subject) -> Observation:
    first, problem = _outputs(subject.infer(subject.request()))
    second, other = _outputs(subject.infer(subject.request()))
    found = problem or other or ("the same" if first == second else "different elements")
    return judged(found == "the same", "ModelInfer, twice", "the same outputs", found)


def _rows_alone(subject: Subject) -> Observation:
    if not subject.open_batch:
        return skipped("the first dimension of an input is fixed")
    both, problem = _outputs(subject.infer(subject.request(subject.inputs(2))))
    one, other = _outputs(subject.infer(subject.request(subject.inputs(1))))
    if problem or other:
        return judged(False, "ModelInfer, 1 and 2 rows", "outputs", problem or other)
    wrong = [
        a.name
        for a, b in zip(both, one, strict=False)
        if len(a.elements) != 2 * len(b.elements) or a.elements[: len(b.elements)] != b.elements
    ]
    found = f"{', '.join(wrong)} differ" if wrong or len(both) != len(one) else "the same"
    return judged(not wrong, "ModelInfer, 1 and 2 rows", "the first row has the same outputs in both", found)


def _large_request(subject: Subject) -> oip.ModelInferRequest:
    return subject.request(subject.inputs(LARGE_BATCH_ROWS), raw=True)


def _large(subject: Subject) -> Observation:
    if not subject.open_batch:
        return skipped("the first dimension of an input is fixed")
    reply = subject.infer(_large_request(subject))
    sent, expected = f"ModelInfer, {LARGE_BATCH_ROWS} rows", f"{LARGE_BATCH_ROWS} rows, or a refusal by name"
    if not reply.ok:
        return judged(reply.code.name in _POLITE, sent, expected, reply.text)
    outputs, problem = _outputs(reply)
    kept = not problem and all(output.shape[:1] == (LARGE_BATCH_ROWS,) for output in outputs)
    return judged(kept, sent, expected, problem or _told(outputs))


def _deadline(subject: Subject) -> Observation:
    request = _large_request(subject) if subject.open_batch else subject.request()
    hurried = subject.infer(request, timeout_seconds=_SHORT_DEADLINE_SECONDS)
    after = subject.infer(subject.request())
    kept = hurried.code.name in ("DEADLINE_EXCEEDED", *_POLITE) and after.ok
    sent = f"ModelInfer with {_SHORT_DEADLINE_SECONDS * 1000:g} ms to its deadline, then one with time"
    return judged(kept, sent, "DEADLINE_EXCEEDED or OK, then OK", f"{hurried.text}, then {after.text}")


POINTS: Final = (
    Point("infer.typed", "ModelInfer takes typed contents", True, _typed),
    Point("infer.raw", "ModelInfer takes raw contents", True, _raw),
    Point("infer.same", "Typed and raw contents give the same outputs", True, _same),
    Point("infer.model", "The response names the model that answered", True, _names_model),
    Point("infer.version", "A version that the metadata list can be asked for", True, _version),
    Point("infer.id", "The response repeats the id of the request", True, _repeats_id),
    Point("infer.outputs", "Outputs have the names, datatypes and shapes of the metadata", True, _fit),
    Point("infer.selection", "Only outputs that were asked for come back", True, _select),
    Point("infer.rows", "A row has the same outputs alone and in a batch", False, _rows_alone),
    Point("infer.repeat", "Equal requests have equal outputs", False, _repeats),
    Point("infer.large", "A large batch is answered whole, or refused by name", True, _large),
    Point("infer.deadline", "A short deadline ends one call and harms no other", True, _deadline),
)
