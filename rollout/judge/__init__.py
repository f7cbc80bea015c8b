"""The judge: counters in, a typed verdict with reasons out. Pure, no I/O, no clock.

Every check keeps an e-process: evidence that grows only when the canary is worse, and that exceeds 1/alpha
with probability at most alpha however often one looks (Ville's inequality). So the judge may look every
second and stop at the first failure without crying wolf. The alpha of the plan is shared by the checks
(Bonferroni), so that it holds for the rollout as a whole. No evidence never passes: until a step has seen
the requests that it asks for, the verdict is `inconclusive`.
"""

from rollout.judge.judge import Judge, Look
from rollout.judge.sequential import OneSampleEProcess, TwoSampleEProcess
from rollout.judge.verdict import CheckResult, Judgement, Verdict

__all__ = [
    "CheckResult",
    "Judge",
    "Judgement",
    "Look",
    "OneSampleEProcess",
    "TwoSampleEProcess",
    "Verdict",
]
