"""The inference service: rows in, predictions out, from a model that can change under traffic.

How a request travels:

1. `rpc.dispatch` sees it arrive and refuses it when too many wait already; `gateway.app` does so for HTTP.
2. `rpc.convert`, or `gateway.predictions` for JSON, makes a `PredictCall` of it.
3. `core.DataPlane` takes the serving `generation`, lets its `signature` make the matrix, calls the predictor.
4. The `Answer` is converted back; what went wrong is an error of `errors`, and `rpc.status` has its status.
5. `events` leaves a record in the queue of `lines`, whose thread writes it to standard output later.

How a model gets there: `swap.Swapper` asks the repository of `artifacts` for a verified bundle, checks and
warms it up, and switches the one reference that step 3 reads. `service` puts the parts together, `settings`
says how, and `python -m inference` runs them; several processes on one port are `workers`. `client` is for callers.

Importing this package imports none of it; import the module that is needed, such as `inference.client`.
"""

__all__ = ["artifacts", "client", "core", "errors", "service", "settings"]
