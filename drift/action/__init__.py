"""What follows a lasting alarm: a call of a webhook or an Argo Workflow, at most once a cool-down.

After each verdict the `Action` is told of it (`notify`). What there is to say is a `message`; a `receiver` sends it,
from a thread of its own; the `record` of the alarm and of the last call survives a restart.
"""

from drift.action.action import Action
from drift.action.receiver import ArgoSubmit, Receiver, Webhook

__all__ = ["Action", "ArgoSubmit", "Receiver", "Webhook"]
