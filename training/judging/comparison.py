"""Champion against challenger: the same held-out rows, a paired test, and one of four verdicts.

Rows that the champion may have been fitted on are left out, because it repeats what it has seen there. They are
known by the digest of its table (the same table, split and seed hold the same rows out), else by looking every
row up in its `reference.csv`, which has all the rows of its table.
"""

import enum
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from training.fitting.fit import FittedModel, score
from training.judging.champion import Champion
from training.judging.paired_tests import mcnemar_mid_p, sign_flip_p

__all__ = ["SIGNIFICANCE", "Comparison", "Verdict", "compare_models"]

#: A difference counts when chance gives one as large in at most one comparison of twenty (two-sided).
SIGNIFICANCE: Final = 0.05

#: With fewer rows no difference but an absurd one is found: five discordant rows, all one way, give p = 0.031.
_FEWEST_ROWS: Final = 10


class Verdict(enum.StrEnum):
    """How the new model compares with the champion."""

    BETTER = "BETTER"
    WORSE = "WORSE"
    NO_DIFFERENCE = "NO_DIFFERENCE"
    NOT_COMPARABLE = "NOT_COMPARABLE"


@dataclass(frozen=True)
class Comparison:
    """The verdict with its evidence.

    `score` is accuracy or r2 on the `rows` that both answered. For classifiers `only_challenger` and
    `only_champion` count the rows that only one of them got right; for regressors, the rows on which one is
    nearer. `reason` is one sentence, of which `left_out` rows say why there are not more.
    """

    verdict: Verdict
    reason: str
    champion: int
    rows: int = 0
    left_out: int = 0
    challenger_score: float | None = None
    champion_score: float | None = None
    only_challenger: int = 0
    only_champion: int = 0
    test: str = ""
    p_value: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return {**asdict(self), "verdict": self.verdict.value}

    def __str__(self) -> str:
        return f"{self.verdict} than champion version {self.champion}: {self.reason}".replace(
            "NO_DIFFERENCE than", "NO_DIFFERENCE from"
        ).replace("NOT_COMPARABLE than", "NOT_COMPARABLE with")


def compare_models(model: FittedModel, champion: Champion, seed: int) -> Comparison:
    """Compare `model` with `champion` on the rows that neither was fitted on; the same for the same seed."""
    problem = _problem(model, champion)
    if problem:
        return Comparison(Verdict.NOT_COMPARABLE, problem, champion.version)
    held_out = model.held_out_rows
    known = champion.may_know(model, held_out)
    taken = champion.takes(model.table.frame.iloc[held_out])
    rows = held_out[~known & taken]
    left_out = len(held_out) - len(rows)
    if len(rows) < _FEWEST_ROWS:
        reason = (
            f"of {len(held_out)} held-out rows it may have been fitted on {int(known.sum())}, and refuses "
            f"{int((~taken & ~known).sum())}; {_FEWEST_ROWS} that neither knows are needed: train with the seed and "
            "the split of the champion, or on newer rows"
        )
        return Comparison(Verdict.NOT_COMPARABLE, reason, champion.version, len(rows), left_out)
    return _judge(model, champion, rows, left_out, seed)


def _problem(model: FittedModel, champion: Champion) -> str:
    manifest = champion.manifest
    if manifest.task != model.plan.task:
        return "one is a classifier and the other a regressor"
    missing = [one.name for one in manifest.features if one.name not in model.table.features]
    if missing:
        return f"it takes {', '.join(missing)}, which the table of the new model does not have as a feature"
    return ""


def _judge(
    model: FittedModel, champion: Champion, rows: NDArray[np.int64], left_out: int, seed: int
) -> Comparison:
    frame = model.table.frame.iloc[rows]
    theirs = champion.answers(frame)
    mine, truth = model.estimator.predict(model.inputs(frame)), model.targets[rows]
    if model.plan.is_classification:
        mine, truth = (np.asarray([str(label) for label in labels]) for labels in (mine, truth))
        gains = (mine == truth).astype(np.float64) - (theirs == truth)
        test = "McNemar, exact, mid-p"
        p = mcnemar_mid_p(int((gains > 0).sum()), int((gains < 0).sum()))
    else:
        mine = np.asarray(mine, dtype=np.float64).reshape(len(rows))
        gains = (theirs - truth) ** 2 - (mine - truth) ** 2
        test = "sign flips of the differences of squared errors"
        p = sign_flip_p(gains, seed)
    verdict = Verdict.NO_DIFFERENCE
    if p <= SIGNIFICANCE:
        verdict = Verdict.BETTER if gains.sum() > 0 else Verdict.WORSE
    scores = score(model.plan, truth, mine), score(model.plan, truth, theirs)
    ahead, behind = int((gains > 0).sum()), int((gains < 0).sum())
    name = "accuracy" if model.plan.is_classification else "r2"
    reason = (
        f"{name} {scores[0]:.4f} and {scores[1]:.4f} on {len(rows)} rows that neither was fitted on, "
        f"{ahead} for the new model and {behind} for the champion, p = {p:.4f}"
    )
    return Comparison(verdict, reason, champion.version, len(rows), left_out, *scores, ahead, behind, test, p)
