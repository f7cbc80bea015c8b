"""gRPC: converts messages to calls of the data plane, and its answers and errors back.

A call arrives at `dispatch`, which refuses it when too many wait already and picks the threads that run it;
`servicer` answers it by `convert` and the data plane; `status` turns what went wrong into a status. `server`
binds the port and adds health and reflection.
"""

__all__: list[str] = []
