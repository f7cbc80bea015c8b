"""Somebody else's code under ours: whatever an estimator raises becomes a sentence that names what failed."""

import contextlib
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from training.errors import EstimatorError, TrainingError
from training.fitting.estimator import EstimatorPlan, reason_of

__all__ = ["estimator_errors"]

_REMEDY: Final = "correct [estimator] parameters, or choose another estimator"
_PREPARING_REMEDY: Final = "correct [[preprocessing]], or the columns that it works on"
#: The last step of what `training.fitting.preprocessing.assemble` puts together; those before it prepare.
_ESTIMATE: Final = "estimate"


@contextlib.contextmanager
def estimator_errors(plan: EstimatorPlan, doing: str = "", remedy: str = "") -> Iterator[None]:
    """Turn what an estimator, or a step before it, raises in the block into an `EstimatorError`.

    `doing` is said before the reason, such as `fitted on one row, `; `remedy` stands in place of the usual ones.
    """
    try:
        yield
    except TrainingError:  # it is a sentence already
        raise
    except (Exception, SystemExit) as error:  # somebody else's code: it may raise anything
        step = _preparing(error.__traceback__)
        if step is None:
            reason = f"{doing}{reason_of(error)}"
            raise EstimatorError(plan.class_path, reason, remedy or _REMEDY) from error
        reason = f"as a step of [[preprocessing]] it fails: {doing}{reason_of(error)}"
        raise EstimatorError(step, reason, remedy or _PREPARING_REMEDY) from error


def _preparing(trace: TracebackType | None) -> str | None:
    """Return the import path of the transformer that failed before the estimator; None: it was none of them.

    The error itself does not say; the frames it came through do, by the objects whose methods they are.
    """
    owners = list(_owners(trace))
    whole = next((one for one in owners if isinstance(one, Pipeline) and one.steps[-1][0] == _ESTIMATE), None)
    if whole is None or not any(one is step for _, step in whole.steps[:-1] for one in owners):
        return None
    # The first that is no frame around others: what it calls in turn is its own affair.
    inner = [one for one in owners if not isinstance(one, (ColumnTransformer, Pipeline))]
    kind = type(inner[0] if inner else owners[-1])
    public = [part for part in kind.__module__.split(".") if not part.startswith("_")]
    return ".".join([*public, kind.__qualname__])


def _owners(trace: TracebackType | None) -> Iterator[BaseEstimator]:
    while trace is not None:
        owner: Any = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, BaseEstimator):
            yield owner
        trace = trace.tb_next
