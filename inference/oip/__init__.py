"""The Open Inference Protocol v2, without a word about how it is carried.

A transport turns each tensor of a request into an `InputTensor`: datatype (`datatypes`), shape and number of
elements are checked (`inputs`), the elements stay as they came (`elements`). `OpenInference` (`protocol`) makes
rows of them, lets the data plane predict, and gives `OutputTensor`s back (`outputs`), or what server and models
say of themselves (`description`), or changes what serves (`repository`).
"""

from inference.oip.datatypes import BYTES, DATATYPES, Datatype
from inference.oip.description import EXTENSIONS, SERVER_NAME, SERVER_VERSION, ModelDescription
from inference.oip.elements import Elements, Texts, miscounted, out_of_bounds, raw_elements
from inference.oip.inputs import InputTensor, input_tensor, read_each
from inference.oip.outputs import OutputTensor, RequestedOutput, raw_of
from inference.oip.protocol import OpenInference
from inference.oip.repository import FixedModels, ModelRepository

__all__ = [
    "BYTES",
    "DATATYPES",
    "EXTENSIONS",
    "SERVER_NAME",
    "SERVER_VERSION",
    "Datatype",
    "Elements",
    "FixedModels",
    "InputTensor",
    "ModelDescription",
    "ModelRepository",
    "OpenInference",
    "OutputTensor",
    "RequestedOutput",
    "Texts",
    "input_tensor",
    "miscounted",
    "out_of_bounds",
    "raw_elements",
    "raw_of",
    "read_each",
]
