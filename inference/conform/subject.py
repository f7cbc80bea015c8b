"""The model that the examination asks, and valid requests for it made from its own metadata."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import httpx

from inference.conform.target import Reply, Target
from inference.conform.tensors import DATATYPES, Tensor, raw_of, typed_of, valid
from protos.oip import open_inference_pb2 as oip

__all__ = [
    "UNKNOWN_MODEL",
    "UNKNOWN_VERSION",
    "NoModelError",
    "Subject",
    "UndescribedError",
    "learn",
    "request_of",
]

#: Names that no server has.
UNKNOWN_MODEL: Final = "coalmine-conform-no-such-model"
UNKNOWN_VERSION: Final = "987654321"
#: Size of the first dimension when the model takes any: two rows show an order that one cannot.
_FIRST_DIMENSION: Final = 2


class NoModelError(Exception):
    """It is not known which model to ask, or the server may not be asked about it."""


class UndescribedError(Exception):
    """The server has no metadata of which a request can be made: it does not conform."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One model of one server."""

    target: Target
    model: str
    #: As the command line names it; empty means whatever serves.
    version: str
    metadata: oip.ModelMetadataResponse
    #: Sizes that the caller fixes for inputs whose metadata leave them open.
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    #: The same server over HTTP, when it is examined too.
    http: httpx.Client | None = None
    #: What inputs of texts take, where not any text will do.
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def listed_version(self) -> str:
        """A version that the metadata list; empty when they list none."""
        return self.version or (self.metadata.versions[0] if self.metadata.versions else "")

    @property
    def open_batch(self) -> bool:
        """Whether the first dimension of every input may have any size."""
        return bool(self.metadata.inputs) and all(
            each.shape and each.shape[0] == -1 and each.name not in self.shapes
            for each in self.metadata.inputs
        )

    def inputs(self, rows: int = _FIRST_DIMENSION) -> list[Tensor]:
        """Return valid tensors for every input; `rows` is the first dimension where any size is taken."""
        return [
            valid(each.name, each.datatype, self.shape_of(each, rows), self.texts.get(each.name, ()))
            for each in self.metadata.inputs
        ]

    def shape_of(self, described: oip.ModelMetadataResponse.TensorMetadata, rows: int) -> list[int]:
        """Return a shape that fits the metadata of an input."""
        if described.name in self.shapes:
            return list(self.shapes[described.name])
        return [
            size if size >= 0 else (rows if place == 0 else 1) for place, size in enumerate(described.shape)
        ]

    @property
    def typed(self) -> bool:
        """Whether every input has a datatype with typed contents."""
        return all(DATATYPES[each.datatype][0] for each in self.metadata.inputs)

    def request(
        self, tensors: Sequence[Tensor] | None = None, *, raw: bool | None = None
    ) -> oip.ModelInferRequest:
        """Return a request, valid unless `tensors` are not; raw contents where typed ones cannot be."""
        chosen = self.inputs() if tensors is None else tensors
        as_raw = not self.typed if raw is None else raw
        return request_of(self.model, self.version, chosen, raw=as_raw)

    def infer(self, request: oip.ModelInferRequest, *, timeout_seconds: float | None = None) -> Reply:
        """Ask the model."""
        return self.target.call("ModelInfer", request, timeout_seconds=timeout_seconds)


def request_of(model: str, version: str, tensors: Sequence[Tensor], *, raw: bool) -> oip.ModelInferRequest:
    """Return the request for `tensors` in one of the two forms."""
    request = oip.ModelInferRequest(model_name=model, model_version=version)
    for tensor in tensors:
        added = request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw:
            request.raw_input_contents.append(raw_of(tensor))
        else:
            added.contents.CopyFrom(typed_of(tensor))
    return request


def learn(
    target: Target,
    model: str = "",
    version: str = "",
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    http: httpx.Client | None = None,
) -> Subject:
    """Ask the server what the model takes. Raises `NoModelError` and `UndescribedError`."""
    name = model or _first_ready(target)
    reply = target.call("ModelMetadata", oip.ModelMetadataRequest(name=name, version=version))
    if not reply.ok:
        raise _unanswered(f"ModelMetadata of {name!r}", reply)
    unknown = [
        f"{each.name}: {each.datatype!r}" for each in reply.message.inputs if each.datatype not in DATATYPES
    ]
    if unknown or not reply.message.inputs:
        reason = f"inputs of unknown datatypes ({', '.join(unknown)})" if unknown else "no inputs"
        raise UndescribedError(f"the metadata of {name!r} have {reason}, so no request can be made")
    texts = _texts(reply.message.properties.get("categories", ""))
    return Subject(target, name, version, reply.message, shapes or {}, http, texts)


def _texts(described: str) -> dict[str, list[str]]:
    """Read the property `categories`, in which our own servers list what each input of texts takes."""
    try:
        found = json.loads(described or "{}")
    except ValueError:  # another server's property of that name
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        name: texts for name, texts in found.items() if isinstance(texts, list) and all(map(_is_text, texts))
    }


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _first_ready(target: Target) -> str:
    reply = target.call("RepositoryIndex", oip.RepositoryIndexRequest())
    if not reply.ok:
        raise NoModelError(f"RepositoryIndex answers {reply.text}; name a model of the server by --model")
    ready = [each.name for each in reply.message.models if each.state == "READY"]
    if not ready:
        raise NoModelError("RepositoryIndex lists no model that is READY; load one, or name it by --model")
    return str(ready[0])


def _unanswered(sent: str, reply: Reply) -> Exception:
    answered = f"{sent} answers {reply.text}"
    if reply.code.name == "NOT_FOUND":
        return NoModelError(f"{answered}; name a model of the server by --model")
    if reply.code.name in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return NoModelError(f"{answered}; name the variable of a token by --token-env")
    return UndescribedError(f"{answered}, so no request can be made")
