"""Points about bad requests: each is refused as the caller's mistake, none becomes a defect of the server."""

from collections.abc import Callable
from typing import Final

from inference.conform.point import Observation, Point, judged, skipped
from inference.conform.subject import UNKNOWN_MODEL, UNKNOWN_VERSION, Subject
from inference.conform.target import OIP_SERVICE
from inference.conform.tensors import DATATYPES, Tensor, raw_of
from protos.oip import open_inference_pb2 as oip

__all__ = ["POINTS"]

_Spoil = Callable[[Subject], "tuple[str, oip.ModelInferRequest] | str"]

#: Bytes that no message begins with: field 0 does not exist.
_GARBAGE: Final = b"\x00\xff\xff\xff garbage \xff"
#: The product with any other dimension does not fit 64 bits.
_HUGE: Final = 2**62


def _refused(spoil: _Spoil, *codes: str) -> Callable[[Subject], Observation]:
    """Return a check that sends what `spoil` makes; a text from it says why there is nothing to send."""

    def check(subject: Subject) -> Observation:
        made = spoil(subject)
        if isinstance(made, str):
            return skipped(made)
        sent, request = made
        reply = subject.infer(request)
        return judged(reply.code.name in codes, f"ModelInfer, {sent}", " or ".join(codes), reply.text)

    return check


def _first_changed(subject: Subject, tensor: Tensor, *, raw: bool | None = None) -> oip.ModelInferRequest:
    return subject.request([tensor, *subject.inputs()[1:]], raw=raw)


def _unknown_output(subject: Subject) -> tuple[str, oip.ModelInferRequest]:
    request = subject.request()
    request.outputs.add(name="no_such_output")
    return "an output 'no_such_output'", request


def _wider(subject: Subject) -> "tuple[str, oip.ModelInferRequest] | str":
    described, first = subject.metadata.inputs[0], subject.inputs()[0]
    fixed = [place for place, size in enumerate(described.shape) if size >= 0]
    if not fixed:
        return "the metadata leave every dimension of the first input open"
    shape = list(first.shape)
    shape[fixed[-1]] += 1
    elements = Tensor(first.name, first.datatype, tuple(shape), (first.elements * 2)[: _count(shape)])
    return f"shape {shape} where the metadata have {list(described.shape)}", _first_changed(subject, elements)


def _count(shape: list[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _deeper(subject: Subject) -> tuple[str, oip.ModelInferRequest]:
    first = subject.inputs()[0]
    shape = (*first.shape, 1, 1)
    return f"shape {list(shape)}, two dimensions more", _first_changed(subject, first._replace(shape=shape))


def _negative(subject: Subject) -> tuple[str, oip.ModelInferRequest]:
    first = subject.inputs()[0]
    shape = (-1, *first.shape[1:])
    return f"shape {list(shape)}", _first_changed(subject, first._replace(shape=shape))


def _huge(subject: Subject) -> tuple[str, oip.ModelInferRequest]:
    first = subject.inputs()[0]
    shape = (_HUGE, *first.shape[1:])
    return f"shape {list(shape)} and few elements", _first_changed(subject, first._replace(shape=shape))


def _too_few(subject: Subject) -> "tuple[str, oip.ModelInferRequest] | str":
    if not subject.typed:
        return "an input has a datatype that only raw contents can hold"
    first = subject.inputs()[0]
    fewer = first._replace(elements=first.elements[:-1])
    return "one typed element too few", _first_changed(subject, fewer, raw=False)


def _byte_less(subject: Subject) -> tuple[str, oip.ModelInferRequest]:
    request = subject.request(raw=True)
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]
    return "one raw byte too few", request


def _raw_more(subject: Subject) -> tuple[str, oip.ModelInferRequest]:
    request = subject.request(raw=True)
    request.raw_input_contents.append(b"\0\0\0\0")
    return "one raw content more than inputs", request


def _both_forms(subject: Subject) -> "tuple[str, oip.ModelInferRequest] | str":
    if not subject.typed:
        return "an input has a datatype that only raw contents can hold"
    request = subject.request(raw=False)
    request.raw_input_contents.extend(raw_of(tensor) for tensor in subject.inputs())
    return "typed and raw contents", request


def _no_datatype(subject: Subject) -> tuple[str, oip.ModelInferRequest]:
    request = subject.request()
    request.inputs[0].datatype = "FP31"
    return "datatype 'FP31'", request


def _wrong_datatype(subject: Subject) -> tuple[str, oip.ModelInferRequest]:
    first = subject.inputs()[0]
    if first.datatype == "BYTES":  # numbers where texts are asked for
        wrong = first._replace(datatype="FP64", elements=tuple(0.5 for _ in first.elements))
    else:
        wrong = first._replace(datatype="BYTES", elements=tuple(b"no number" for _ in first.elements))
    sent = f"datatype {wrong.datatype} where the metadata have {first.datatype}"
    typed = all(DATATYPES[each.datatype][0] for each in subject.inputs()[1:])
    return sent, _first_changed(subject, wrong, raw=not typed)


def _no_input(subject: Subject) -> tuple[str, oip.ModelInferRequest]:
    return "no input", subject.request([])


def _one_missing(subject: Subject) -> "tuple[str, oip.ModelInferRequest] | str":
    inputs = subject.inputs()
    if len(inputs) == 1:
        return "the model has one input"
    return f"without input {inputs[-1].name!r}", subject.request(inputs[:-1])


def _misnamed(subject: Subject) -> "tuple[str, oip.ModelInferRequest] | str":
    if len(subject.inputs()) == 1:
        return "the model has one input, and the protocol does not say that its name matters"
    renamed = subject.inputs()[0]._replace(name="no_such_input")
    return "an input 'no_such_input' instead of the first", _first_changed(subject, renamed)


def _twice(subject: Subject) -> tuple[str, oip.ModelInferRequest]:
    inputs = subject.inputs()
    return f"input {inputs[0].name!r} twice", subject.request([*inputs, inputs[0]])


def _unknown_model(subject: Subject) -> tuple[str, oip.ModelInferRequest]:
    request = subject.request()
    request.model_name, request.model_version = UNKNOWN_MODEL, ""
    return f"model_name {UNKNOWN_MODEL!r}", request


def _unknown_version(subject: Subject) -> tuple[str, oip.ModelInferRequest]:
    request = subject.request()
    request.model_version = UNKNOWN_VERSION
    return f"model_version {UNKNOWN_VERSION!r}", request


def _garbage(subject: Subject) -> Observation:
    reply = subject.target.call_bytes(f"/{OIP_SERVICE}/ModelInfer", _GARBAGE)
    kept = reply.code.name not in ("OK", "INTERNAL", "UNKNOWN")
    return judged(
        kept, "ModelInfer, bytes that are no message", "the caller's mistake, not INTERNAL", reply.text
    )


def _survives(subject: Subject) -> Observation:
    reply = subject.infer(subject.request())
    return judged(reply.ok, "ModelInfer, valid, after all bad requests", "OK", reply.text)


_INVALID: Final[tuple[tuple[str, str, _Spoil], ...]] = (
    ("output", "An unknown output", _unknown_output),
    ("shape", "A shape that does not fit the metadata", _wider),
    ("rank", "A shape with more dimensions", _deeper),
    ("negative", "A negative dimension", _negative),
    ("elements", "Fewer typed elements than the shape has", _too_few),
    ("bytes", "Fewer raw bytes than the shape has", _byte_less),
    ("raw_count", "More raw contents than inputs", _raw_more),
    ("both", "Typed and raw contents in one request", _both_forms),
    ("datatype", "A datatype that does not exist", _no_datatype),
    ("other_datatype", "A datatype that the input does not have", _wrong_datatype),
    ("no_input", "A request without inputs", _no_input),
    ("input", "A request without one of the inputs", _one_missing),
    ("unknown_input", "An input that the model does not have", _misnamed),
    ("twice", "An input that is there twice", _twice),
)

POINTS: Final = (
    *(
        Point(f"errors.{name}", f"{what} is INVALID_ARGUMENT", True, _refused(spoil, "INVALID_ARGUMENT"))
        for name, what, spoil in _INVALID
    ),
    Point(
        "errors.huge",
        "A shape whose size overflows is refused",
        True,
        _refused(_huge, "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"),
    ),
    Point("errors.model", "An unknown model is NOT_FOUND", True, _refused(_unknown_model, "NOT_FOUND")),
    Point("errors.version", "An unknown version is NOT_FOUND", True, _refused(_unknown_version, "NOT_FOUND")),
    # Optional: gRPC's own libraries answer INTERNAL here, and its table of status codes says so.
    Point("errors.garbage", "Bytes that are no message are the caller's mistake", False, _garbage),
    Point("errors.survives", "The server answers after every bad request", True, _survives),
)
