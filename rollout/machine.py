"""The state machine of a rollout: start, steps, promotion or abort, each written down before it is done."""

import functools
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from rollout.counters import Counters
from rollout.driver import CanaryRefusedError, Driver, ServedModel
from rollout.errors import (
    AliasConflictError,
    ExitCode,
    InfrastructureError,
    RolloutError,
    UsageError,
)
from rollout.events import Kind, LookData, Notify, RolloutEvent
from rollout.judge import Judge, Judgement, Look, Verdict
from rollout.plan import Plan, Step
from rollout.registry import ModelVersion, Registry
from rollout.state import Home, Phase, RolloutState

__all__ = ["Outcome", "Rollout"]

T = TypeVar("T")

_ENDS: Final = {
    ExitCode.ABORTED: Phase.ABORTED,
    ExitCode.INCONCLUSIVE: Phase.INCONCLUSIVE,
    ExitCode.INFRASTRUCTURE: Phase.FAILED,
    ExitCode.USAGE: Phase.FAILED,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rollout ended, and why; `interrupted` says that the operator asked for the end."""

    exit_code: ExitCode
    reason: str
    state: RolloutState
    interrupted: bool = False


class _AbortError(Exception):
    """Ends the steps: the judge refused, or the evidence did not suffice in time."""

    def __init__(self, exit_code: ExitCode, reason: str) -> None:
        self.exit_code, self.reason = exit_code, reason
        super().__init__(reason)


class Rollout:
    """Takes one version from weight 0 to promoted or back, by a driver, under a plan."""

    def __init__(
        self,
        plan: Plan,
        driver: Driver,
        registry: Registry,
        home: Home,
        notify: Notify,
        *,
        actor: str,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`clock` and `sleep` count seconds; tests give their own."""
        self._plan, self._driver, self._registry = plan, driver, registry
        self._home, self._notify, self._actor = home, notify, actor
        self._clock, self._sleep = clock, sleep
        self._state: RolloutState | None = None
        #: The last look's counters; kept from step to step, so that no call is left out.
        self._last: Counters | None = None
        self._interrupted = False

    def run(self, model_uri: str) -> Outcome:
        """Roll out `model_uri`.

        Raises `UsageError` before anything was touched. Every later end, a `KeyboardInterrupt` included,
        leaves stable serving alone and is an `Outcome`.
        """
        recovered = self.recover()
        version = self._registry.resolve(model_uri)
        if recovered is not None:
            asked_again = recovered.state.model_uri == version.uri
            if asked_again or recovered.exit_code is ExitCode.INFRASTRUCTURE:
                return recovered
        state = self._begin(version)
        try:
            self._tell(
                Kind.STARTED,
                f"rollout {state.rollout_id}: {version.uri} against version {state.stable_version}",
                state,
                plan=self._plan.model_dump(mode="json"),
            )
            canary = self._start_canary(state, version)
            state = self._climb(state.model_copy(update={"digest": canary.digest}), canary)
            return self._promote(state)
        except _AbortError as error:
            return self._abort(error.exit_code, error.reason)
        except RolloutError as error:
            return self._abort(error.exit_code, str(error))
        except KeyboardInterrupt:
            self._interrupted = True
            return self._abort(ExitCode.ABORTED, "the operator stopped the rollout")
        except BaseException as error:  # a defect of ours must not leave users on the canary
            self._abort(ExitCode.INFRASTRUCTURE, f"{type(error).__name__}: {error}")
            raise

    def recover(self) -> Outcome | None:
        """Bring a rollout whose process was killed to an end: finish its promotion, or restore stable.

        Returns how it ended when that was decided before the kill, or cannot be done now; None when there is
        nothing to go on from.
        """
        state = self._home.load_state()
        if state is None or state.ended:
            return None
        self._state = state
        what = f"found rollout {state.rollout_id} of {state.model_uri} unfinished in phase {state.phase}"
        if state.phase in (Phase.PROMOTING, Phase.MOVING_ALIAS):
            self._try_all(
                functools.partial(self._tell, Kind.PROMOTING, f"{what}: finishing its promotion", state)
            )
            return self._finish_promotion(state)
        self._try_all(functools.partial(self._tell, Kind.ABORTING, f"{what}: restoring stable", state))
        if state.verdict is not None:  # it was decided, and only the way back was cut short
            return self._abort(state.verdict, state.reason)
        outcome = self._abort(ExitCode.ABORTED, "its process ended before the rollout did")
        return outcome if outcome.exit_code is ExitCode.INFRASTRUCTURE else None

    def _finish_promotion(self, state: RolloutState) -> Outcome:
        try:
            return self._promote(state)
        except RolloutError as error:
            return self._abort(ExitCode.INFRASTRUCTURE, str(error))
        except BaseException as error:  # also Ctrl-C, after which nothing new may begin
            self._abort(ExitCode.INFRASTRUCTURE, f"{type(error).__name__}: {error}")
            raise

    def _begin(self, version: ModelVersion) -> RolloutState:
        stable = self._driver.stable_model()
        if stable.name != version.name:
            raise UsageError(
                f"{version.uri} cannot replace what stable serves: that is model {stable.name} version "
                f"{stable.version}, and a rollout moves between versions of one model"
            )
        if stable.version == version.version:
            raise UsageError(f"{version.uri} is what stable serves already; choose another version")
        now = datetime.now(UTC)
        state = RolloutState(
            rollout_id=f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}",
            model_name=version.name,
            version=version.version,
            stable_version=stable.version,
            champion_before=self._registry.champion(version.name),
            plan_digest=self._plan.digest,
            actor=self._actor,
            started_at=now,
            phase=Phase.STARTING,
            steps=len(self._plan.steps),
        )
        self._save(state)
        return state

    def _start_canary(self, state: RolloutState, version: ModelVersion) -> ServedModel:
        canary = self._driver.start_canary(version.uri)
        if (canary.name, canary.version) != (version.name, version.version):
            raise CanaryRefusedError(
                f"the canary serves {canary.name} version {canary.version} instead of {version.uri}"
            )
        self._tell(Kind.CANARY_READY, f"the canary serves {version.uri}", state, digest=canary.digest)
        return canary

    def _climb(self, state: RolloutState, canary: ServedModel) -> RolloutState:
        judge = Judge(self._plan, classifies=canary.classifies)
        deadline = self._clock() + self._plan.deadline_seconds
        self._last = self._driver.read_counters()
        for number, step in enumerate(self._plan.steps, start=1):
            state = state.model_copy(update={"phase": Phase.STEPPING, "step": number, "weight": step.weight})
            self._save(state)
            self._driver.set_weight(step.weight, f"{state.rollout_id}-{number}")
            self._tell(Kind.WEIGHT_SET, f"step {number} of {state.steps}: weight {step.weight} %", state)
            self._stay(state, step, judge, deadline)
        return state

    def _stay(self, state: RolloutState, step: Step, judge: Judge, deadline: float) -> None:
        """Look again and again until the step has passed. Raises `_AbortError` when it does not."""
        began = self._clock()
        at_start = self._driver.read_counters()
        while True:
            self._sleep(self._plan.poll_seconds)
            now = self._driver.read_counters()
            judgement = judge.judge(step, self._look(now, self._last or at_start, at_start))
            self._last = now
            seconds = self._clock() - began
            self._tell_look(state, now.since(at_start), seconds, judgement)
            if judgement.verdict is Verdict.FAIL:
                raise _AbortError(ExitCode.ABORTED, judgement.reason)
            if judgement.verdict is Verdict.PASS and seconds >= step.min_seconds:
                self._tell(Kind.STEP_PASSED, f"step {state.step} passed after {seconds:.0f} s", state)
                return
            self._check_time(step, seconds, deadline, judgement)

    def _check_time(self, step: Step, seconds: float, deadline: float, judgement: Judgement) -> None:
        if self._clock() >= deadline:
            limit = f"the deadline of {self._plan.deadline_seconds:g} s"
        elif seconds >= step.max_seconds:
            limit = f"the step's {step.max_seconds:g} s"
        else:
            return
        raise _AbortError(ExitCode.INCONCLUSIVE, f"not decided within {limit}: {judgement.reason}")

    def _look(self, now: Counters, last: Counters, at_start: Counters) -> Look:
        # Before the canary: without stable there is nothing to compare it with, nor to go back to.
        self._driver.require_stable()
        condition = self._driver.canary_condition()
        agreement = self._plan.checks.agreement
        rows = differing = 0
        if agreement.enabled and condition.healthy:
            comparison = self._driver.compare_outputs(agreement.value_tolerance_ratio)
            rows, differing = comparison.rows, comparison.differing
        return Look(
            now.since(last), now.since(at_start), rows, differing, condition.accuracy, condition.healthy
        )

    def _promote(self, state: RolloutState) -> Outcome:
        """Traffic first, alias last; each action may be repeated, so a killed promotion can be finished."""
        if state.phase is not Phase.MOVING_ALIAS:
            state = self._move_traffic(state)
        version = ModelVersion(state.model_name, state.version)
        try:
            why = f"rollout {state.rollout_id}: every step passed"
            self._registry.promote(version, expected=state.champion_before, why=why)
        except AliasConflictError as error:  # nothing to try again: somebody decided otherwise
            return self._end(state, Phase.PROMOTED, ExitCode.INFRASTRUCTURE, str(error))
        return self._end(state, Phase.PROMOTED, ExitCode.PROMOTED, "every step passed")

    def _move_traffic(self, state: RolloutState) -> RolloutState:
        self._driver.require_stable()
        state = state.model_copy(update={"phase": Phase.PROMOTING})
        self._save(state)
        self._tell(Kind.PROMOTING, f"stable changes to {state.model_uri}", state)
        served = self._driver.swap_stable(state.model_uri)
        if served.digest != state.digest:
            raise InfrastructureError(
                f"stable got digest {served.digest} for {state.model_uri}, and the canary that was judged had "
                f"{state.digest}: the registry changed under the rollout"
            )
        state = state.model_copy(update={"weight": 0})
        self._save(state)
        self._driver.set_weight(0, f"{state.rollout_id}-promoted")
        self._driver.stop_canary()
        state = state.model_copy(update={"phase": Phase.MOVING_ALIAS})
        self._save(state)
        return state

    def _abort(self, exit_code: ExitCode, reason: str) -> Outcome:
        """Weight 0 first, then the canary ends; stable serves what it served before the rollout.

        Neither a full disk, nor a watcher that went away, nor a further Ctrl-C keeps the weight from 0. Where
        that could not be confirmed the phase stays `aborting`: running the command again restores stable.
        """
        state = self._state
        assert state is not None
        if state.phase is Phase.MOVING_ALIAS or (
            state.phase is Phase.PROMOTING and not self._restore_stable(state)
        ):
            return self._leave_promotion(state, reason)
        update = {
            "phase": Phase.ABORTING,
            "weight": 0,
            "reason": reason,
            "verdict": exit_code,
            "problem": "",
        }
        state = state.model_copy(update=update)
        message = f"weight back to 0: {reason}"
        self._try_all(functools.partial(self._tell, Kind.ABORTING, message, state))
        problems = self._try_all(
            functools.partial(self._save, state),
            functools.partial(self._driver.set_weight, 0, f"{state.rollout_id}-aborted"),
            self._driver.stop_canary,
        )
        if problems:
            state = state.model_copy(update={"problem": "; ".join(problems)})
            return self._end(state, Phase.ABORTING, ExitCode.INFRASTRUCTURE, reason)
        return self._end(state, _ENDS[exit_code], exit_code, reason)

    def _try_all(self, *actions: Callable[[], None]) -> list[str]:
        """Do every action, also after one failed; return what went wrong."""
        problems = []
        for action in actions:
            try:
                self._insist(action)
            except (RolloutError, OSError) as error:
                problems.append(str(error))
        return problems

    def _restore_stable(self, state: RolloutState) -> bool:
        """Make stable serve what it served before, also when a swap that was asked for still goes on."""
        old = ModelVersion(state.model_name, state.stable_version)
        swap = functools.partial(self._driver.swap_stable, old.uri)
        try:
            return self._insist(swap).version == old.version
        except RolloutError:
            return False

    def _leave_promotion(self, state: RolloutState, reason: str) -> Outcome:
        """A promotion that failed half-way stays in its phase: running the command again finishes it.

        Not without stable, whose own way out is said then: the next stack ends this rollout.
        """
        way_out = "run the same command again to finish it"
        try:
            self._insist(self._driver.require_stable)
        except RolloutError as error:
            way_out = str(error)
        sentences = [
            f"the promotion is not finished: {reason}",
            *([way_out] if way_out not in reason else []),
        ]
        reason = "; ".join(sentences)
        self._tell_end(reason, state, ExitCode.INFRASTRUCTURE)
        return Outcome(ExitCode.INFRASTRUCTURE, reason, state, self._interrupted)

    def _end(self, state: RolloutState, phase: Phase, exit_code: ExitCode, reason: str) -> Outcome:
        state = state.model_copy(update={"phase": phase, "reason": reason})
        problems = self._try_all(functools.partial(self._save, state))
        if problems:
            exit_code = ExitCode.INFRASTRUCTURE
        # What the next command finds is the reason alone: it would tell the problems of every try otherwise.
        reason = "; ".join(filter(None, [reason, state.problem, *problems]))
        self._tell_end(f"{phase}: {reason}", state, exit_code)
        return Outcome(exit_code, reason, state, self._interrupted)

    def _tell_end(self, message: str, state: RolloutState, exit_code: ExitCode) -> None:
        tell = functools.partial(self._tell, Kind.ENDED, message, state, exit_code=int(exit_code))
        self._try_all(tell)  # the rollout has ended, whether or not anybody can be told

    def _insist(self, action: Callable[[], T]) -> T:
        """Do an action of the rollback to its end: Ctrl-C is what began it, a further one must not stop it."""
        while True:
            try:
                return action()
            except KeyboardInterrupt:
                self._interrupted = True

    def _save(self, state: RolloutState) -> None:
        self._state = state
        self._home.save_state(state)

    def _tell(self, kind: Kind, message: str, state: RolloutState, **figures: object) -> None:
        data = {
            "rollout_id": state.rollout_id,
            "model_uri": state.model_uri,
            "weight": state.weight,
            **figures,
        }
        self._notify(RolloutEvent(kind, message, data))

    def _tell_look(
        self, state: RolloutState, in_step: Counters, seconds: float, judgement: Judgement
    ) -> None:
        look = LookData(
            state.step, state.steps, state.weight, seconds, in_step.stable, in_step.canary, judgement
        )
        data = {"rollout_id": state.rollout_id, "model_uri": state.model_uri}
        self._notify(RolloutEvent(Kind.LOOK, judgement.reason, data, look))
