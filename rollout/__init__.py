"""Canary rollouts: one change of the stable model, from start to promoted or aborted.

A `Plan` says which weights to go through and what to check. The machine (`rollout.machine`) writes each
action to the state file before it acts, asks a driver to set a weight and to confirm it, reads counters, and
hands them to the judge (`rollout.judge`), a pure library of anytime-valid tests. The verdict decides: next
step, promotion (traffic first, alias `champion` last) or abort (weight 0 first). A driver only sets weights,
confirms them, reads counters, and starts or stops the canary; `rollout.local` is the one for a laptop, with
a real Envoy. `rollout.demo` tells the whole story on embedded defaults.
"""

from rollout.errors import ExitCode, RolloutError
from rollout.plan import Plan, Step, load_plan

__all__ = ["ExitCode", "Plan", "RolloutError", "Step", "load_plan"]
