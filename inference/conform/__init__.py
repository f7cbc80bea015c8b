"""Check a server of the Open Inference Protocol v2, ours or another one, point by point.

`command` reads the command line and opens a `target`, one server with its stubs. `subject` learns the model's
inputs from the server's own metadata, and `tensors` makes valid elements of any datatype and shape. Each module
of points (`server`, `model`, `infer`, `refusals`, `repository`, `health`, `reflection`, and `rest` for HTTP) is a
list of `Point`s: a sentence and a check that says what was sent, expected and found. `report` writes the table.

Nothing here imports the server, numpy or a model runtime: the judge must not share what it judges.
"""

from inference.conform.point import Observation, Outcome, Point, Verdict
from inference.conform.run import examine

__all__ = ["Observation", "Outcome", "Point", "Verdict", "examine"]
