"""Several processes on one gRPC port: one supervisor, and workers that it starts, changes and replaces.

The supervisor is the whole service, except that its gRPC side is a `fleet.WorkerFleet`. The fleet holds the port
(`port`) and has one `seat` for each worker. A seat starts `process` as a child (`child`), brings it to the state
of the `plan` before it may bind the port, watches it, and starts another one when it is lost. Both sides talk in
lines of JSON over a socket pair (`channel`, `messages`); in the worker `duty` does what they ask. A new model
is prepared by all workers and then committed by all. What workers write comes through a pipe (`forwarding`), and
what they count is added up for scrapes (`exposition`).

Importing this package imports none of it: a worker needs other modules than the supervisor.
"""

__all__: list[str] = []
