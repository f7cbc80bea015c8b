"""An independent server of the protocol, written from its text alone, with defects that can be switched on.

Its model `simple` is that of Triton's examples: INT32 inputs of shape [1, 16], whose sum and difference come out.
"""

# ruff: noqa: ANN001, ANN201, ANN202, ARG002, N802 - servicers have the shape of generated code

import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from protos.oip import open_inference_pb2 as oip
from protos.oip import open_inference_pb2_grpc as oip_grpc

SERVICE = "inference.GRPCInferenceService"
SHAPE = (1, 16)
#: What this model takes, by the datatype that a test chooses.
FORMS = {"INT32": ("int_contents", "i"), "FP32": ("fp32_contents", "f"), "FP16": ("", "e")}


class _EndedWatch(health.HealthServicer):
    """Ends each watch without a word."""

    def Watch(self, request, context, send_response_callback=None):
        return iter(())


class _EndedReflection(reflection_pb2_grpc.ServerReflectionServicer):
    """Ends each stream without a word."""

    def ServerReflectionInfo(self, request_iterator, context):
        return iter(())


class SimpleServicer(oip_grpc.GRPCInferenceServiceServicer):
    """Adds and subtracts. `defects` names what it does wrong."""

    def __init__(self, *defects: str, datatype: str = "INT32", shape: tuple[int, ...] = SHAPE) -> None:
        self.defects = set(defects)
        self.datatype = datatype
        self.shape = shape
        self.loaded = True
        self.calls = 0

    def ServerLive(self, request, context):
        return oip.ServerLiveResponse(live="dead" not in self.defects)

    def ServerReady(self, request, context):
        return oip.ServerReadyResponse(ready="never_ready" not in self.defects)

    def ServerMetadata(self, request, context):
        name = "" if "nameless" in self.defects else "reference"
        return oip.ServerMetadataResponse(name=name, version="1", extensions=["model_repository"])

    def ModelReady(self, request, context):
        if not self._known(request.name, request.version) and "ready_crashes" in self.defects:
            raise RuntimeError("no such model")
        ready = self.loaded and self._known(request.name, request.version)
        return oip.ModelReadyResponse(ready=ready or "always_ready" in self.defects)

    def ModelMetadata(self, request, context):
        if not self._known(request.name, request.version):
            code = "UNKNOWN" if "metadata_unknown" in self.defects else "NOT_FOUND"
            context.abort(grpc.StatusCode[code], "no such model")
        response = oip.ModelMetadataResponse(name="simple", versions=["1"], platform="reference")
        if "no_platform" in self.defects:
            response.platform = ""
        for name in ("INPUT0", "INPUT1"):
            response.inputs.add(name=name, datatype=self.datatype, shape=self.shape)
        for name in ("OUTPUT0", "OUTPUT1"):
            shape = (7,) if "wrong_metadata" in self.defects else self.shape
            response.outputs.add(name=name, datatype=self.datatype, shape=shape)
        return response

    def ModelInfer(self, request, context):
        self.calls += 1
        if not self._known(request.model_name, request.model_version) or not self.loaded:
            code = "INVALID_ARGUMENT" if "wrong_code" in self.defects else "NOT_FOUND"
            context.abort(grpc.StatusCode[code], "no such model")
        try:
            tensors, shape = self._inputs(request)
        except ValueError as error:
            code = "INTERNAL" if "internal" in self.defects else "INVALID_ARGUMENT"
            context.abort(grpc.StatusCode[code], str(error))
        return self._answer(request, tensors, shape)

    def _answer(self, request, tensors, shape):
        left, right = tensors["INPUT0"], tensors["INPUT1"]
        outputs = {
            "OUTPUT0": [a + b for a, b in zip(left, right, strict=True)],
            "OUTPUT1": [a - b for a, b in zip(left, right, strict=True)],
        }
        if "random" in self.defects:
            outputs["OUTPUT0"][0] += self.calls
        if "raw_differs" in self.defects and request.raw_input_contents:
            outputs["OUTPUT0"][0] += 1
        asked = [output.name for output in request.outputs] or list(outputs)
        if "ignores_selection" in self.defects:
            asked = list(outputs)
        response = oip.ModelInferResponse(model_name="simple", model_version="1")
        response.id = "" if "ignores_id" in self.defects else request.id
        field, form = FORMS[self.datatype]
        for name in asked:
            numbers = outputs[name]
            added = response.outputs.add(name=name, datatype=self.datatype, shape=shape)
            if "cut_outputs" in self.defects:
                numbers = numbers[:-1]
            if request.raw_input_contents or not field:
                response.raw_output_contents.append(struct.pack(f"<{len(numbers)}{form}", *numbers))
            else:
                getattr(added.contents, field).extend(numbers)
        return response

    def _inputs(self, request):
        names = [given.name for given in request.inputs]
        if "ignores_extra_inputs" in self.defects:
            names = sorted(set(names))
        if sorted(names) != ["INPUT0", "INPUT1"]:
            raise ValueError("expected INPUT0 and INPUT1, each once")
        if any(output.name not in ("OUTPUT0", "OUTPUT1") for output in request.outputs):
            raise ValueError("no such output")
        raw = request.raw_input_contents
        if raw and (len(raw) != len(request.inputs) or any(t.HasField("contents") for t in request.inputs)):
            raise ValueError("expected raw contents for each input, or typed ones")
        tensors, shapes = {}, set()
        for index, given in enumerate(request.inputs):
            tensors[given.name] = self._elements(given, raw[index] if raw else None)
            shapes.add(tuple(given.shape))
        if len(shapes) > 1:
            raise ValueError("expected the same shape twice")
        return tensors, shapes.pop()

    def _elements(self, given, raw):
        field, form = FORMS[self.datatype]
        fits = len(given.shape) == len(self.shape) and all(
            size == wanted or (wanted == -1 and size >= 0)
            for size, wanted in zip(given.shape, self.shape, strict=True)
        )
        if given.datatype != self.datatype or not fits:
            raise ValueError(f"expected {self.datatype} {self.shape}")
        count = 1
        for size in given.shape:
            count *= size
        if raw is not None:
            if len(raw) != struct.calcsize(f"<{form}") * count:
                raise ValueError("bytes do not fit the shape")
            return struct.unpack(f"<{count}{form}", raw)
        numbers = list(getattr(given.contents, field)) if field else []
        if len(numbers) != count:
            raise ValueError("elements do not fit the shape")
        return numbers

    def RepositoryIndex(self, request, context):
        if "no_repository" in self.defects:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "")
        state = "READY" if self.loaded else "UNAVAILABLE"
        if request.ready and not self.loaded:
            return oip.RepositoryIndexResponse()
        if "lower_case_states" in self.defects and request.ready:
            state = state.lower()
        model = oip.RepositoryIndexResponse.ModelIndex(name="simple", version="1", state=state)
        return oip.RepositoryIndexResponse(models=[model])

    def RepositoryModelLoad(self, request, context):
        self._change(request, context)
        self.loaded = True
        return oip.RepositoryModelLoadResponse()

    def RepositoryModelUnload(self, request, context):
        self._change(request, context)
        self.loaded = "unload_lies" in self.defects
        return oip.RepositoryModelUnloadResponse()

    def _change(self, request, context) -> None:
        if dict(context.invocation_metadata()).get("x-admin-token") != "secret":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "show the token")
        if request.model_name != "simple":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such model")

    def _known(self, name: str, version: str) -> bool:
        return name == "simple" and version in ("", "1")


ServerMaker = Callable[..., str]


@pytest.fixture
def make_reference() -> Iterator[ServerMaker]:
    """Start reference servers; arguments are defects. Returns the address."""
    with ExitStack() as stack:

        def make(*defects: str, **options: object) -> str:
            server = grpc.server(stack.enter_context(ThreadPoolExecutor(4)))
            stack.callback(lambda: server.stop(None).wait())
            oip_grpc.add_GRPCInferenceServiceServicer_to_server(SimpleServicer(*defects, **options), server)
            if "no_extras" not in defects:
                ends = "ends_streams" in defects
                checks = _EndedWatch() if ends else health.HealthServicer()
                if "silent_health" not in defects:
                    checks.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
                health_pb2_grpc.add_HealthServicer_to_server(checks, server)
                names = (SERVICE,) if "unreflected" not in defects else ()
                if ends:
                    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(_EndedReflection(), server)
                else:
                    reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            return f"127.0.0.1:{port}"

        yield make
