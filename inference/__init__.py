"""The inference service: rows in, predictions out, from a model that can change under traffic.

How a request travels:

1. `rpc.dispatch` sees it arrive and refuses it when too many wait already; `gateway.answering` does so for HTTP.
   `tokens` says who may ask.
2. `rpc.convert`, or `gateway.predictions` for JSON, makes a `PredictCall` of it; for the Open Inference Protocol,
   over either transport, `oip` does.
3. `core.DataPlane` takes the `generation` that the `catalog` has for the name and version that are asked for, lets
   its `signature` make the matrix of the `rows`, calls the predictor.
4. The `Answer` is converted back; what went wrong is an error of `errors`, and `status` has its status.
5. `events` leaves a record in the queue of `lines`, whose thread writes it to standard output later; `shadow` may
   take it to a second model. The `ledger` counts the request for `metrics`, and `tracing` follows it.

How a model gets there: an operator, or `refresh`, asks the `roster`, which has a `swap.Swapper` for each model. It
asks the repository of `artifacts` for a verified bundle, lets the `stage` check it and warm it up, and switches the one
reference that step 3 reads. `serving` puts together what answers, `service` the whole server, `settings` says how,
and `process` runs it for `python -m inference`; several processes on one port are `workers`. `client` is for callers,
and `conform` examines any server of the protocol. docs/architecture.md has a table of all modules.

Importing this package imports none of it; import the module that is needed, such as `inference.client`.
"""

__all__ = ["artifacts", "client", "core", "errors", "service", "settings"]
