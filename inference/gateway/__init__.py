"""HTTP beside gRPC: health and metrics for platforms, predictions as JSON for people, admin for operators.

`listeners` bind the ports, and `app` has the routes. Each request goes through `edge`, which gives it an identifier,
asks the guard and turns whatever goes wrong into a failure; `replies` writes it. Requests for predictions also go
through `answering`, which bounds what waits and what is in memory. `predictions` reads and writes the JSON of Predict;
`v2` offers the Open Inference Protocol (`tensors` and `elements` read its JSON, `repository` what is asked of the
models), `health` and `admin` serve platforms and operators, and `docs` the pages (`page`, `examples`, `openapi`).
`json_fields` checks single fields.
"""

__all__: list[str] = []
