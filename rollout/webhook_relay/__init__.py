"""The webhook relay: an alias moves in the registry, and exactly one rollout follows.

MLflow posts a webhook to `server`, which reads it within limits and hands it to the `receiver`: `signature` proves
who sent it and when, `event` parses it and validates the name and version in it, and the `inbox` (SQLite) keeps it
before it is answered. The `reconciler` looks at the aliases themselves (`aliases`) from time to time, so that a lost
event is no lost deployment. One `worker` takes what is wanted, asks the registry whether it still is, and fires
the trigger: a `command` as a child process, a GitHub dispatch, or an Argo submit. `relay` puts these together;
`python -m rollout.webhook_relay` runs it.
"""

from rollout.webhook_relay.deployment import Deployment, State, Wanted
from rollout.webhook_relay.inbox import Inbox

__all__ = ["Deployment", "Inbox", "State", "Wanted"]
