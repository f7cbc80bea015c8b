"""The laptop target: inference servers as processes behind a real Envoy, all recorded in one directory.

`stack` starts and stops the whole; `driver` is what a rollout uses: it starts a canary beside stable, writes
Envoy's route file and waits until Envoy says that it uses it, and reads Envoy's own counters.
"""

from rollout.local.driver import LocalDriver
from rollout.local.stack import Stack, StackOptions, load_stack, stack_down, stack_up

__all__ = ["LocalDriver", "Stack", "StackOptions", "load_stack", "stack_down", "stack_up"]
