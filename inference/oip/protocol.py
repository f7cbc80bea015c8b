"""The operations of the protocol, over the data plane and the models; `rpc.oip` and `gateway.v2` call them."""

from collections.abc import Sequence
from typing import Final

from inference.core import Answer, DataPlane, PredictCall
from inference.errors import InvalidRequestError, NotReadyError, UnknownModelError, Violation
from inference.generation import Generation
from inference.oip.description import ModelDescription, describe
from inference.oip.inputs import InputTensor, block_of, renamed
from inference.oip.outputs import OutputTensor, RequestedOutput, check_outputs, output_tensors, outputs_of
from inference.oip.repository import ModelRepository
from inference.roster import IndexEntry

__all__ = ["OpenInference"]


class OpenInference:
    """Answers for both transports."""

    def __init__(self, plane: DataPlane, repository: ModelRepository, *, track: str) -> None:
        self._plane = plane
        self._repository: Final = repository
        self._track = track

    @property
    def ready(self) -> bool:
        """Whether every model that is meant to serve does."""
        return self._plane.ready

    def model_ready(self, name: str, version: str) -> bool:
        """Tell whether a model answers. Raises `UnknownModelError` when it cannot even become ready.

        A version that does not serve may be the one that a slot of its model will load, if one is empty.
        """
        try:
            self._plane.describe(name, version)
        except NotReadyError:
            return False
        except UnknownModelError:
            if any(entry.name == name and entry.state != "READY" for entry in self._repository.index()):
                return False
            raise
        return True

    def describe(self, name: str, version: str) -> ModelDescription:
        """Describe a model. Raises `NotReadyError` and `UnknownModelError`."""
        generation = self._plane.describe(name, version)
        return describe(generation, self._versions_of(generation), self._track)

    def expect(
        self, name: str, version: str, input_count: int, outputs: Sequence[RequestedOutput]
    ) -> Generation:
        """Look whether a request may be worth decoding, by what the model takes and gives now.

        Raises `NotReadyError`, `UnknownModelError` and `InvalidRequestError`.
        """
        generation = self._plane.describe(name, version)
        features = len(generation.signature.names)
        if input_count not in (1, features):
            expected = f"expected one [rows, {features}], or one for each of the {features} features"
            raise InvalidRequestError([Violation("inputs", f"found {input_count} tensors, {expected}")])
        if outputs:
            check_outputs(outputs, [output[0] for output in outputs_of(generation)])
        return generation

    def infer(
        self,
        name: str,
        version: str,
        inputs: Sequence[InputTensor],
        outputs: Sequence[RequestedOutput],
        *,
        correlation_id: str,
        shadow: bool,
    ) -> tuple[Answer, list[OutputTensor]]:
        """Predict the rows of `inputs`; return the outputs that are asked for, all when none is.

        Raises what `DataPlane.predict` raises.
        """
        try:
            block, features = block_of(inputs)
            answer = self._plane.predict(PredictCall(block, features, name, version, correlation_id, shadow))
        except InvalidRequestError as error:
            raise renamed(error) from None
        return answer, output_tensors(answer, outputs)

    def index(self, *, ready: bool) -> list[IndexEntry]:
        """List the models, or only those that are ready."""
        return [entry for entry in self._repository.index() if not ready or entry.state == "READY"]

    def load(self, name: str, place: str, parameters: Sequence[str] = ()) -> None:
        """Load or reload a model. Raises what `Roster.load` raises, and `InvalidRequestError`.

        `place` is where a caller writes the name, `parameters` the names of what it wants changed by the way.
        """
        _check_name(name, place)
        if parameters:
            found = "not offered: models come from the registry as they are"
            raise InvalidRequestError(
                [Violation(f"parameters.{each[:64]}", found) for each in parameters[:20]]
            )
        self._repository.load(name)

    def unload(self, name: str, place: str) -> None:
        """Take a model out of service. Raises `UnknownModelError` and `InvalidRequestError`."""
        _check_name(name, place)
        self._repository.unload(name)

    def _versions_of(self, generation: Generation) -> list[str]:
        found = [each.version for each in self._plane.catalog.generations if each.name == generation.name]
        aliases = [slot.alias for slot in self._plane.catalog.slots if _serves(slot.current, generation.name)]
        return [*dict.fromkeys(filter(None, (*found, *aliases)))]


def _serves(generation: Generation | None, name: str) -> bool:
    return generation is not None and generation.name == name


def _check_name(name: str, place: str) -> None:
    if not name:
        raise InvalidRequestError([Violation(place, "found no name, expected that of a model")])
