"""The state machine: what it does in which order, and where it ends whatever fails.

The driver and the registry here are models of a world: they keep what a real one keeps (weight, canary,
version of stable, alias) and refuse what a real one refuses. `tests/rollout/test_envoy.py` and
`test_local_stack.py` hold the real ones to the same.
"""

import contextlib
import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout import ExitCode, Plan, Step
from rollout.counters import Counters, Histogram, TrackCounters
from rollout.driver import CanaryCondition, CanaryRefusedError, Comparison, ServedModel
from rollout.errors import AliasConflictError, InfrastructureError, UsageError
from rollout.events import Kind, RolloutEvent
from rollout.machine import Outcome, Rollout
from rollout.registry import ModelVersion
from rollout.state import Home, Phase, RolloutState

PLAN = Plan(
    steps=(
        Step(weight=10, min_seconds=2, max_seconds=20),
        Step(weight=30, min_seconds=2, max_seconds=20),
        Step(weight=60, min_seconds=2, max_seconds=20),
    ),
    deadline_seconds=50,
)
WEIGHTS = [step.weight for step in PLAN.steps]
BOUNDS = (0.01, 0.1)

T = TypeVar("T")


class ModelRegistry:
    """Versions 7 to 9 of iris, of which 7 is champion, and version 1 of wine."""

    def __init__(self) -> None:
        self.aliases: dict[str, str] = {"champion": "7"}
        self.down = False

    def resolve(self, model_uri: str) -> ModelVersion:
        name, version = model_uri.removeprefix("models:/").split("/")
        if version not in {"iris": "789", "wine": "1"}.get(name, ""):
            raise UsageError(f"{model_uri} does not exist")
        return ModelVersion(name, version)

    def champion(self, name: str) -> str | None:
        assert name == "iris"
        self._reach()
        return self.aliases.get("champion")

    def promote(self, version: ModelVersion, *, expected: str | None, why: str) -> None:
        assert why.startswith("rollout ")
        self._reach()
        if self.aliases.get("champion") == version.version:
            return
        if self.aliases.get("champion") != expected:
            raise AliasConflictError("champion was moved by somebody else")
        self.aliases |= {"previous": self.aliases["champion"], "champion": version.version}

    def _reach(self) -> None:
        if self.down:
            raise InfrastructureError("the registry is out of reach")


@dataclass
class World:
    """What outlives every command: servers, Envoy, registry, time and traffic."""

    registry: ModelRegistry = field(default_factory=ModelRegistry)
    stable: ServedModel = field(default_factory=lambda: ServedModel("iris", "7", "d7"))
    canary: ServedModel | None = None
    weight: int = 0
    time: float = 0.0
    calls_per_second: int = 1000
    error_ratio: float = 0.0
    stable_died: bool = False
    counted: tuple[int, int, int] = (0, 0, 0)

    def pass_time(self, seconds: float) -> None:
        """Let clients call."""
        self.time += seconds
        stable, canary, errors = self.counted
        calls = int(self.calls_per_second * seconds)
        added = calls * self.weight // 100
        self.counted = (stable + calls - added, canary + added, errors + int(added * self.error_ratio))


class ModelDriver:
    """Acts on a world, and checks at each action that the state file said so before."""

    def __init__(self, world: World, home: Home) -> None:
        self.world, self.home = world, home
        self.calls: list[tuple[str, object]] = []
        self.fail_at = -1
        self.error: BaseException | None = None
        self.fail_after_effect = False
        self.canary_version = ""
        self.unsaved: RolloutState | None = None
        self.watch: Callable[[], None] = lambda: None

    def stable_model(self) -> ServedModel:
        return self._act("stable_model", None, lambda: self.world.stable)

    def start_canary(self, model_uri: str) -> ServedModel:
        assert self.last_state().phase is Phase.STARTING
        assert self.world.weight == 0
        return self._act("start_canary", model_uri, lambda: self._new_canary(model_uri))

    def set_weight(self, weight: int, label: str) -> None:
        state = self.last_state()
        assert state.weight == weight
        assert state.phase in (Phase.STEPPING, Phase.PROMOTING, Phase.ABORTING)
        assert label.startswith(state.rollout_id)
        if weight:
            assert self.world.canary is not None
        self._act("set_weight", weight, lambda: setattr(self.world, "weight", weight))

    def read_counters(self) -> Counters:
        stable, canary, errors = self.world.counted
        times = [Histogram(BOUNDS, (requests, 0, 0)) for requests in (stable, canary)]
        found = Counters(TrackCounters(stable, 0, times[0]), TrackCounters(canary, errors, times[1]))
        return self._act("read_counters", None, lambda: found)

    def require_stable(self) -> None:
        def look() -> None:
            if self.world.stable_died:
                raise InfrastructureError("stable has ended; `invoke stack-down` then `invoke stack-up`")

        self._act("require_stable", None, look)

    def canary_condition(self) -> CanaryCondition:
        healthy = self.world.canary is not None
        return self._act("canary_condition", None, lambda: CanaryCondition(0.95, healthy))

    def compare_outputs(self, value_tolerance_ratio: float) -> Comparison:
        assert value_tolerance_ratio == PLAN.checks.agreement.value_tolerance_ratio
        return self._act("compare_outputs", None, lambda: Comparison(64, 1))

    def swap_stable(self, model_uri: str) -> ServedModel:
        state = self.last_state()
        assert state.phase is Phase.PROMOTING
        version = model_uri.rsplit("/", 1)[1]
        assert version in (state.version, state.stable_version)
        served = ServedModel("iris", version, f"d{version}")

        def swap() -> ServedModel:
            if self.world.stable_died:
                raise InfrastructureError("stable does not answer")
            self.world.stable = served
            return served

        return self._act("swap_stable", model_uri, swap)

    def stop_canary(self) -> None:
        assert self.last_state().phase in (Phase.PROMOTING, Phase.ABORTING)
        self._act("stop_canary", None, lambda: setattr(self.world, "canary", None))

    def _new_canary(self, model_uri: str) -> ServedModel:
        name, version = model_uri.removeprefix("models:/").split("/")
        version = self.canary_version or version
        self.world.canary = ServedModel(name, version, f"d{version}")
        return self.world.canary

    def last_state(self) -> RolloutState:
        state = self.unsaved or self.home.load_state()
        assert state is not None
        return state

    def _act(self, name: str, value: object, effect: Callable[[], T]) -> T:
        number = len(self.calls)
        self.calls.append((name, value))
        self.watch()
        if number == self.fail_at and not self.fail_after_effect:
            assert self.error is not None
            raise self.error
        result = effect()
        self.watch()
        if number == self.fail_at:
            assert self.error is not None
            raise self.error
        return result

    def weights_set(self) -> list[object]:
        return [value for name, value in self.calls if name == "set_weight"]


class Stage:
    """One world and one home, in which rollouts run."""

    def __init__(self, directory: Path, world: World | None = None) -> None:
        self.home = Home(directory)
        self.world = world or World()
        self.events: list[RolloutEvent] = []
        self.driver = ModelDriver(self.world, self.home)

    def rollout(self, plan: Plan = PLAN) -> Rollout:
        return Rollout(
            plan,
            self.driver,
            self.world.registry,
            self.home,
            self.events.append,
            actor="me@here",
            clock=lambda: self.world.time,
            sleep=self.world.pass_time,
        )

    def run(self, model_uri: str = "models:/iris/8", plan: Plan = PLAN) -> Outcome:
        return self.rollout(plan).run(model_uri)

    def again(self) -> "Stage":
        """Return a new process over the same home and world."""
        return Stage(self.home.directory, self.world)

    def phase(self) -> Phase:
        state = self.home.load_state()
        assert state is not None
        return state.phase

    def assert_restored(self) -> None:
        """Stable serves as before, alone, and the alias did not move."""
        assert self.world.weight == 0
        assert self.world.canary is None
        assert self.world.stable.version == "7"
        assert self.world.registry.aliases == {"champion": "7"}

    def assert_promoted(self) -> None:
        """The new version serves, alone, and is champion."""
        assert self.world.weight == 0
        assert self.world.canary is None
        assert self.world.stable.version == "8"
        assert self.world.registry.aliases == {"champion": "8", "previous": "7"}
        assert self.phase() is Phase.PROMOTED


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A stable that serves iris version 7 to 1,000 calls a second."""
    return Stage(tmp_path / "home")


def kinds(stage: Stage) -> list[Kind]:
    return [kind for kind, _ in itertools.groupby(event.kind for event in stage.events)]


def test_a_good_version_is_promoted_traffic_first_alias_last(stage: Stage) -> None:
    """Weights as planned, stable swapped before weight 0, the canary ended, then the alias."""
    aliases: list[tuple[str, str]] = []

    def note() -> None:
        aliases.append((stage.driver.calls[-1][0], stage.world.registry.aliases["champion"]))

    stage.driver.watch = note
    outcome = stage.run()
    assert outcome.exit_code is ExitCode.PROMOTED
    stage.assert_promoted()
    acts = ("start_canary", "set_weight", "swap_stable", "stop_canary")
    assert [call for call in stage.driver.calls if call[0] in acts] == [
        ("start_canary", "models:/iris/8"),
        ("set_weight", 10),
        ("set_weight", 30),
        ("set_weight", 60),
        ("swap_stable", "models:/iris/8"),
        ("set_weight", 0),
        ("stop_canary", None),
    ]
    assert {champion for _, champion in aliases} == {"7"}  # until the last act of the driver


def test_every_event_is_told_in_order(stage: Stage) -> None:
    """From started to ended, each with the rollout's id."""
    stage.run()
    steps = [Kind.WEIGHT_SET, Kind.LOOK, Kind.STEP_PASSED] * 3
    assert kinds(stage) == [Kind.STARTED, Kind.CANARY_READY, *steps, Kind.PROMOTING, Kind.ENDED]
    assert len({event.data["rollout_id"] for event in stage.events}) == 1
    assert stage.events[-1].data["exit_code"] == 0


def test_a_step_stays_its_shortest_time(stage: Stage) -> None:
    """Evidence that is there at once does not shorten `min_seconds`."""
    stage.run()
    assert stage.world.time >= 6


def test_a_bad_version_is_rolled_back_before_it_sees_more_traffic(stage: Stage) -> None:
    """A fifth of its calls fail: aborted in the first step, weight 0 before the canary ends."""
    stage.world.error_ratio = 0.2
    outcome = stage.run()
    assert outcome.exit_code is ExitCode.ABORTED
    assert "error_rate" in outcome.reason
    stage.assert_restored()
    assert stage.phase() is Phase.ABORTED
    assert stage.driver.calls[-2:] == [("set_weight", 0), ("stop_canary", None)]
    assert stage.driver.weights_set() == [10, 0]


def test_too_little_traffic_is_inconclusive_at_the_longest_stay(stage: Stage) -> None:
    """Without evidence nothing passes: rolled back with exit code 3 when the step's time is over."""
    stage.world.calls_per_second = 1
    outcome = stage.run()
    assert outcome.exit_code is ExitCode.INCONCLUSIVE
    assert "the step's 20 s" in outcome.reason
    assert stage.world.time == pytest.approx(20, abs=1)
    stage.assert_restored()
    assert stage.phase() is Phase.INCONCLUSIVE


def test_no_traffic_at_all_never_passes(stage: Stage) -> None:
    """Silence is not consent."""
    stage.world.calls_per_second = 0
    assert stage.run().exit_code is ExitCode.INCONCLUSIVE
    stage.assert_restored()


def test_the_deadline_holds_for_all_steps_together(stage: Stage) -> None:
    """Missing evidence does not go beyond it, although each step alone might wait longer."""
    stage.world.calls_per_second = 1
    steps = tuple(Step(weight=weight, min_seconds=13, max_seconds=60) for weight in (10, 20, 30))
    outcome = stage.run(plan=Plan(steps=steps, deadline_seconds=40))
    assert outcome.exit_code is ExitCode.INCONCLUSIVE
    assert "deadline of 40 s" in outcome.reason
    assert stage.world.time == pytest.approx(40, abs=1)
    stage.assert_restored()


@pytest.mark.parametrize(
    "model_uri",
    ["models:/iris/7", "models:/wine/1", "models:/iris/99"],
    ids=["serves already", "another model", "no such version"],
)
def test_wrong_usage_touches_nothing(stage: Stage, model_uri: str) -> None:
    """What stable serves already, another model, a version that does not exist: exit 2, no file, no act."""
    with pytest.raises(UsageError) as caught:
        stage.run(model_uri)
    assert model_uri in str(caught.value)
    assert stage.home.load_state() is None
    assert {name for name, _ in stage.driver.calls} <= {"stable_model"}


def test_a_canary_of_another_version_is_refused(stage: Stage) -> None:
    """The server says what it serves; if that is not what was asked for, it gets no traffic."""
    stage.driver.canary_version = "9"
    outcome = stage.run()
    assert outcome.exit_code is ExitCode.ABORTED
    assert "iris version 9 instead of models:/iris/8" in outcome.reason
    assert stage.driver.weights_set() == [0]


def call_number(stage: Stage, name: str, value: object = None) -> int:
    """Find the first call of a good rollout with that name, in another world."""
    rehearsal = Stage(stage.home.directory.with_name("rehearsal"))
    rehearsal.run()
    return rehearsal.driver.calls.index((name, value))


@pytest.mark.parametrize(
    ("name", "value", "error", "expected"),
    [
        ("start_canary", "models:/iris/8", InfrastructureError("no port"), ExitCode.INFRASTRUCTURE),
        ("start_canary", "models:/iris/8", CanaryRefusedError("golden row"), ExitCode.ABORTED),
        ("start_canary", "models:/iris/8", UsageError("a wrong setting"), ExitCode.USAGE),
        ("set_weight", 10, InfrastructureError("no ack"), ExitCode.INFRASTRUCTURE),
        ("set_weight", 60, InfrastructureError("no ack"), ExitCode.INFRASTRUCTURE),
        ("read_counters", None, InfrastructureError("no answer"), ExitCode.INFRASTRUCTURE),
        ("canary_condition", None, InfrastructureError("no answer"), ExitCode.INFRASTRUCTURE),
        ("compare_outputs", None, InfrastructureError("no log"), ExitCode.INFRASTRUCTURE),
        ("swap_stable", "models:/iris/8", InfrastructureError("refused"), ExitCode.INFRASTRUCTURE),
        ("set_weight", 30, KeyboardInterrupt(), ExitCode.ABORTED),
    ],
)
def test_a_failure_of_the_driver_rolls_back(
    stage: Stage, name: str, value: object, error: BaseException, expected: ExitCode
) -> None:
    """Wherever it happens before stable has swapped, weight 0 and no canary, with the right exit code."""
    stage.driver.fail_at, stage.driver.error = call_number(stage, name, value), error
    outcome = stage.run()
    assert outcome.exit_code is expected
    assert str(error) in outcome.reason
    stage.assert_restored()
    state = stage.home.load_state()
    assert state is not None
    assert state.ended


@pytest.mark.parametrize("name", ["set_weight", "stop_canary"])
def test_a_failure_after_the_swap_restores_stable(stage: Stage, name: str) -> None:
    """What fails between the swap and the end of the canary takes stable back to what it served."""
    value = {"set_weight": 0, "stop_canary": None}[name]
    stage.driver.fail_at = call_number(stage, name, value)
    stage.driver.error = InfrastructureError("Envoy is gone")
    outcome = stage.run()
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    assert stage.world.stable.version == "7"
    assert stage.world.registry.aliases == {"champion": "7"}
    assert stage.world.weight == 0
    assert stage.world.canary is None
    assert stage.again().run().exit_code is ExitCode.PROMOTED
    stage.assert_promoted()


def test_an_alias_that_somebody_moved_is_not_overwritten(stage: Stage) -> None:
    """Compare and swap: the traffic has moved, the alias is somebody else's, and the next rollout may begin."""

    def move() -> None:
        if stage.world.weight == 30 and stage.world.registry.aliases["champion"] == "7":
            stage.world.registry.aliases["champion"] = "9"

    stage.driver.watch = move
    outcome = stage.run()
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    assert "moved by somebody else" in outcome.reason
    assert stage.world.registry.aliases == {"champion": "9"}
    assert stage.phase() is Phase.PROMOTED
    assert stage.again().run("models:/iris/9").exit_code is ExitCode.PROMOTED


def test_a_registry_that_fails_at_the_last_moment_is_asked_again(stage: Stage) -> None:
    """The swap has happened and the alias has not: the same command sets it."""

    def take_down() -> None:
        stage.world.registry.down = ("swap_stable", "models:/iris/8") in stage.driver.calls

    stage.driver.watch = take_down
    assert stage.run().exit_code is ExitCode.INFRASTRUCTURE
    stage.world.registry.down = False
    assert stage.again().run().exit_code is ExitCode.PROMOTED
    stage.assert_promoted()


def test_a_rollback_that_fails_is_repeated_before_anything_new(stage: Stage) -> None:
    """Weight 0 could not be confirmed: exit 4; the next run restores stable and keeps the judge's verdict."""
    stage.world.error_ratio = 0.2
    rehearsal = Stage(stage.home.directory.with_name("rehearsal"), World(error_ratio=0.2))
    rehearsal.run()
    stage.driver.fail_at = rehearsal.driver.calls.index(("set_weight", 0))
    stage.driver.error = InfrastructureError("Envoy does not answer")
    outcome = stage.run()
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    assert "Envoy does not answer" in outcome.reason
    assert stage.world.canary is None
    assert stage.phase() is Phase.ABORTING
    stage.world.error_ratio = 0.0
    second = stage.again()
    again = second.run()
    assert again.exit_code is ExitCode.ABORTED
    assert "more often than stable" in again.reason
    assert second.driver.calls == [("set_weight", 0), ("stop_canary", None)]
    third = second.again()
    assert third.run().exit_code is ExitCode.PROMOTED


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("error", [InfrastructureError("disk full"), BrokenPipeError("no reader")])
def test_a_watcher_that_fails_cannot_keep_users_on_the_canary(
    tmp_path: Path, kind: Kind, error: Exception
) -> None:
    """Evidence that cannot be written, or a pipe without a reader: weight 0 all the same."""
    stage = Stage(tmp_path / "home", World(error_ratio=0.2 if kind is Kind.ABORTING else 0.0))
    seen: list[RolloutEvent] = []

    def notify(event: RolloutEvent) -> None:
        seen.append(event)
        if any(event.kind is kind for event in seen):  # from then on for good
            raise error

    rollout = stage.rollout()
    rollout._notify = notify
    with contextlib.suppress(InfrastructureError, BrokenPipeError):
        rollout.run("models:/iris/8")
    if kind is Kind.ENDED:
        stage.assert_promoted()
    else:
        stage.again().rollout().recover()
        assert stage.world.canary is None
        stage.assert_restored()


def test_a_disk_that_fills_up_cannot_keep_users_on_the_canary(stage: Stage) -> None:
    """The state cannot be saved any more: weight 0 without it, exit 4."""

    def block() -> None:
        if stage.world.weight == 30:
            state = stage.driver.last_state()
            stage.home.directory.rename(stage.home.directory.with_name("moved"))
            stage.home.directory.write_text("no directory any more")
            stage.driver.watch = lambda: None
            stage.driver.unsaved = state.model_copy(update={"phase": Phase.ABORTING, "weight": 0})

    stage.driver.watch = block
    outcome = stage.run()
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    assert "cannot be written" in outcome.reason
    stage.assert_restored()


def test_a_defect_rolls_back_and_is_not_hidden(stage: Stage) -> None:
    """An exception that nobody foresaw ends with weight 0, and with its traceback."""
    stage.driver.fail_at, stage.driver.error = (
        call_number(stage, "compare_outputs"),
        ZeroDivisionError("oops"),
    )
    with pytest.raises(ZeroDivisionError):
        stage.run()
    stage.assert_restored()
    assert stage.phase() is Phase.FAILED


ERRORS = st.sampled_from([InfrastructureError("gone"), KeyboardInterrupt(), ZeroDivisionError("defect")])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 60), error=ERRORS, after=st.booleans(), ratio=st.sampled_from([0.0, 0.2]))
def test_wherever_one_call_fails_the_laws_hold(
    tmp_path_factory: pytest.TempPathFactory, at: int, error: BaseException, after: bool, ratio: float
) -> None:
    """One failure at any driver call, before or after its effect, for good and bad canaries.

    An end that is not a promotion leaves weight 0, no canary, stable and alias as they were. No weight is set
    that no step asked for. What could not be ended is ended by running the command again.
    """
    stage = Stage(tmp_path_factory.mktemp("home"), World(error_ratio=ratio))
    stage.driver.fail_at, stage.driver.error, stage.driver.fail_after_effect = at, error, after
    outcome = None
    with contextlib.suppress(type(error)):  # a defect, or what failed before anything was touched
        outcome = stage.run()
    weights = stage.driver.weights_set()
    climbed = [weight for weight in weights if weight]
    assert climbed == WEIGHTS[: len(climbed)]
    assert weights[: len(climbed)] == climbed
    state = stage.home.load_state()
    if state is None:
        assert isinstance(error, KeyboardInterrupt | ZeroDivisionError | InfrastructureError)
        stage.assert_restored()
    elif state.phase is Phase.PROMOTED:
        assert outcome is not None
        assert outcome.exit_code is ExitCode.PROMOTED
        stage.assert_promoted()
    elif state.ended:
        assert outcome is None or outcome.exit_code in {*ExitCode} - {ExitCode.PROMOTED}
        stage.assert_restored()
    else:
        assert outcome is None or outcome.exit_code is ExitCode.INFRASTRUCTURE
        recovered = stage.again().rollout().recover()
        assert recovered is not None
        if recovered.exit_code is ExitCode.PROMOTED:
            stage.assert_promoted()
        else:
            stage.assert_restored()


def snapshots(directory: Path, ratio: float = 0.0) -> list[tuple[World, bytes]]:
    """Return the world and the state file as a kill would leave them before and after every driver call."""
    stage = Stage(directory, World(error_ratio=ratio))
    found: list[tuple[World, bytes]] = []

    def take() -> None:
        if stage.home.state_file.exists():
            found.append((copy.deepcopy(stage.world), stage.home.state_file.read_bytes()))

    stage.driver.watch = take
    stage.run()
    return found


def after_kill(directory: Path, world: World, state: bytes) -> Stage:
    directory.mkdir()
    (directory / "rollout.json").write_bytes(state)
    return Stage(directory, world)


@pytest.mark.parametrize("ratio", [0.0, 0.2])
def test_after_a_kill_at_any_moment_the_same_command_ends_it(tmp_path: Path, ratio: float) -> None:
    """Before promotion stable is restored first and the rollout starts anew; within it, it is finished."""
    for number, (world, state) in enumerate(snapshots(tmp_path / "first", ratio)):
        stage = after_kill(tmp_path / str(number), world, state)
        killed_in = stage.phase()
        outcome = stage.run()
        if ratio:
            assert outcome.exit_code is ExitCode.ABORTED
            stage.assert_restored()
            continue
        assert outcome.exit_code is ExitCode.PROMOTED
        stage.assert_promoted()
        started = ("start_canary", "models:/iris/8") in stage.driver.calls
        assert started == (killed_in is not Phase.PROMOTING)
        if started:
            assert stage.driver.calls[:2] == [("set_weight", 0), ("stop_canary", None)]


def test_an_interrupted_promotion_restores_stable(stage: Stage) -> None:
    """Ctrl-C while stable swaps: whatever the swap comes to, stable serves the old version at the end."""
    stage.driver.fail_at = call_number(stage, "swap_stable", "models:/iris/8")
    stage.driver.error = KeyboardInterrupt()
    stage.driver.fail_after_effect = True
    outcome = stage.run()
    assert outcome.exit_code is ExitCode.ABORTED
    stage.assert_restored()


def test_after_a_kill_recovery_alone_restores_or_finishes(tmp_path: Path) -> None:
    """`recover` finishes a promotion, else restores stable; a second one finds nothing to do."""
    for number, (world, state) in enumerate(snapshots(tmp_path / "first")):
        stage = after_kill(tmp_path / str(number), world, state)
        promoting = stage.phase() in (Phase.PROMOTING, Phase.MOVING_ALIAS)
        outcome = stage.rollout().recover()
        if promoting:
            assert outcome is not None
            stage.assert_promoted()
        else:
            assert outcome is None
            stage.assert_restored()
        assert stage.rollout().recover() is None


def test_after_a_kill_in_the_promotion_another_version_comes_after_it(tmp_path: Path) -> None:
    """Asked for version 9, a run first finishes the promotion of 8, then rolls out 9 against it."""
    world, state = snapshots(tmp_path / "first")[-3]
    stage = after_kill(tmp_path / "second", world, state)
    assert stage.phase() is Phase.PROMOTING
    assert stage.run("models:/iris/9").exit_code is ExitCode.PROMOTED
    assert stage.world.stable.version == "9"
    assert stage.world.registry.aliases == {"champion": "9", "previous": "8"}


def test_a_second_rollout_after_an_end_starts_from_there(stage: Stage) -> None:
    """What has ended is not recovered."""
    stage.run()
    second = stage.again()
    assert second.run("models:/iris/9").exit_code is ExitCode.PROMOTED
    assert second.rollout().recover() is None
    assert second.world.registry.aliases == {"champion": "9", "previous": "8"}


def test_ctrl_c_while_a_promotion_is_recovered_starts_nothing_new(tmp_path: Path) -> None:
    """The operator stopped the command: it ends what was there, and does not begin another rollout."""
    states = snapshots(tmp_path / "first")
    world, state = next((w, s) for w, s in states if b'"promoting"' in s and w.stable.version == "7")
    stage = after_kill(tmp_path / "second", world, state)
    stage.driver.fail_at, stage.driver.error = 0, KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        stage.run()
    assert ("start_canary", "models:/iris/8") not in stage.driver.calls
    stage.assert_restored()


@pytest.mark.parametrize("weight", [10, 60])
def test_stable_that_dies_in_a_step_ends_the_rollout_at_once(stage: Stage, weight: int) -> None:
    """A canary is not promoted over a dead stable: exit 4 at the next look, with the way out, and not stuck."""

    def die() -> None:
        stage.world.stable_died = stage.world.stable_died or stage.world.weight == weight

    stage.driver.watch = die
    outcome = stage.run()
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    assert "stack-down" in outcome.reason
    assert "run the same command again" not in outcome.reason
    assert stage.phase() is Phase.FAILED
    assert "swap_stable" not in {name for name, _ in stage.driver.calls}
    stage.assert_restored()


def test_stable_that_dies_in_the_promotion_is_said_with_its_own_way_out(stage: Stage) -> None:
    """Running the command again cannot finish it, so that is not advised."""

    def die() -> None:
        name = stage.driver.calls[-1][0]
        stage.world.stable_died = stage.world.stable_died or name == "swap_stable"

    stage.driver.watch = die
    outcome = stage.run()
    assert outcome.exit_code is ExitCode.INFRASTRUCTURE
    assert "stack-down" in outcome.reason
    assert "run the same command again" not in outcome.reason


def test_a_rollback_that_fails_again_and_again_tells_its_reason_once(stage: Stage) -> None:
    """Each try adds what keeps it from ending to its own sentence, and to nothing that the next one finds."""
    stage.world.error_ratio = 0.2
    reasons = []
    for _ in range(3):
        stage = stage.again()
        rehearsed = stage.driver.set_weight

        def refuse(weight: int, label: str, set_weight: Callable[[int, str], None] = rehearsed) -> None:
            if weight == 0:
                raise InfrastructureError("Envoy does not answer")
            set_weight(weight, label)

        stage.driver.set_weight = refuse  # type: ignore[method-assign]
        reasons.append(stage.run().reason)
    assert reasons[0].count("Envoy does not answer") == 1
    assert reasons[0] == reasons[1] == reasons[2]
    state = stage.home.load_state()
    assert state is not None
    assert state.problem == "Envoy does not answer"
    assert "Envoy" not in state.reason


@pytest.mark.parametrize("name", ["read_counters", "stop_canary"])
def test_an_outcome_says_that_the_operator_interrupted(stage: Stage, name: str) -> None:
    """Whether Ctrl-C began the way back or came during it: whoever runs more than a rollout ends as well."""
    stage.world.error_ratio = 0.2
    interrupted: list[str] = []

    def interrupt() -> None:
        if stage.driver.calls[-1][0] == name and not interrupted:
            interrupted.append(name)
            raise KeyboardInterrupt

    stage.driver.watch = interrupt
    assert stage.run().interrupted
    stage.assert_restored()
    assert not stage.again().run().interrupted
