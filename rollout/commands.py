"""The commands of a rollout, as `invoke` calls them: parsed arguments in, exit code out."""

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, ParamSpec

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rollout.console import choose_view, fail, write_json
from rollout.errors import ExitCode, InfrastructureError, RolloutError, UsageError
from rollout.events import RolloutEvent
from rollout.local import LocalDriver, Stack, StackOptions, load_stack, stack_down, stack_up
from rollout.local.processes import python_environment, python_module
from rollout.local.stack import absolute_tracking_uri
from rollout.machine import Outcome, Rollout
from rollout.plan import Plan, load_plan
from rollout.registry import MlflowRegistry
from rollout.state import Home

#: How often `invoke drift` looks which model stable serves.
_STABLE_SECONDS: Final = 5.0

__all__ = ["DeployOptions", "deploy", "deploy_canary", "start_stack", "status", "stop_stack", "watch_drift"]

P = ParamSpec("P")

#: How long Envoy may take to find stable healthy before the status says that it does not.
_STATUS_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class DeployOptions:
    """What `deploy-canary` was asked for."""

    model_uri: str
    plan: Path | None = None
    target: str = "local"
    home: Path = Path(".coalmine")
    dry_run: bool = False
    as_json: bool = False


def _explained(command: Callable[P, int]) -> Callable[P, int]:
    """Turn what went wrong into a sentence and an exit code: the edge of the process."""

    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except RolloutError as error:
            fail(str(error))
            return int(error.exit_code)
        except KeyboardInterrupt:
            fail("interrupted; `invoke canary-status` says what runs")
            return int(ExitCode.ABORTED)
        except BrokenPipeError:  # whoever read the output has gone; what was to be done was done
            sys.stdout = None  # so that nothing is flushed into the pipe at exit
            return int(ExitCode.INFRASTRUCTURE)
        except Exception as error:  # noqa: BLE001  # a defect of ours must not look like a verdict
            traceback.print_exc()
            fail(
                f"a defect of this command ({type(error).__name__}); stable was left serving; please report it"
            )
            return int(ExitCode.INFRASTRUCTURE)

    return run


@_explained
def deploy_canary(options: DeployOptions) -> int:
    """Roll out a model version and return the exit code of the specification."""
    if not options.model_uri:
        raise UsageError("which version? say --model-uri models:/NAME/VERSION, such as models:/iris/2")
    if options.target != "local":
        raise UsageError(
            f"target {options.target!r} does not exist in this version: only `local` does, and it is the default"
        )
    plan = load_plan(options.plan)
    home = Home(options.home)
    registry = MlflowRegistry(load_stack(home).options.tracking_uri)
    if options.dry_run:
        return _show_plan(plan, registry, options)
    with choose_view(as_json=options.as_json) as view:
        return int(deploy(home, options.model_uri, plan, registry, view.notify).exit_code)


def deploy(
    home: Home, model_uri: str, plan: Plan, registry: MlflowRegistry, notify: Callable[[RolloutEvent], None]
) -> Outcome:
    """Roll out a model version on the local stack of `home`; every event is also kept as evidence."""

    def record_and_notify(event: RolloutEvent) -> None:
        home.record(str(event.data["rollout_id"]), event.as_dict())
        notify(event)

    with home.only_operator("a rollout"), _termination_interrupts():
        actor = f"{_user()}@{socket.gethostname()}"
        driver = LocalDriver(home)
        return Rollout(plan, driver, registry, home, record_and_notify, actor=actor).run(model_uri)


@_explained
def start_stack(model_uri: str, home: Path, port: int, *, as_json: bool = False) -> int:
    """Start stable behind Envoy."""
    tracking_uri = absolute_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI"))
    place = Home(home)
    console = Console(highlight=False, soft_wrap=True, stderr=True)
    progress = console.status("starting stable and Envoy …")
    options = StackOptions(model_uri, tracking_uri, port=port)
    with place.only_operator("stack-up"), _termination_interrupts(), progress:
        stack, served = stack_up(place, options, MlflowRegistry(tracking_uri))
    report = {
        "address": stack.envoy.address,
        "model": served.name,
        "version": served.version,
        "digest": served.digest,
        "http": f"http://127.0.0.1:{stack.stable.http_port} (stable itself, past Envoy)",
        "home": str(place.directory),
    }
    _show(report, "stack is up", as_json=as_json)
    return 0


@_explained
def stop_stack(home: Path) -> int:
    """End every process of the stack."""
    place = Home(home)
    with place.only_operator("stack-down"):
        ended = stack_down(place)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"ended {', '.join(ended)}" if ended else f"nothing ran in {place.directory}")
    return 0


@_explained
def status(home: Path, *, as_json: bool = False) -> int:
    """Say what the stack serves and how the last rollout stands; 4 when a part of it does not do its work."""
    place = Home(home)
    stack = load_stack(place)
    problems: list[str] = []
    stable = _asked(lambda: _served(stack), problems)
    state = place.load_state()
    report: dict[str, Any] = {
        "address": stack.envoy.address,
        "envoy": _asked(lambda: _routed(stack), problems),
        "stable": stable,
        "http": f"http://127.0.0.1:{stack.stable.http_port} (stable itself, past Envoy)",
        "canary": stack.canary.model_uri if stack.canary else "none",
    }
    if state is not None:
        report |= {
            "rollout": state.rollout_id,
            "of": state.model_uri,
            "phase": str(state.phase),
            "step": f"{state.step} of {state.steps}",
            "weight": state.weight,
            "because": state.reason,
        }
        if state.problem:
            report["problem"] = state.problem
    _show(report, "local stack", as_json=as_json)
    for problem in problems:
        fail(problem)
    return int(ExitCode.INFRASTRUCTURE) if problems else 0


def _served(stack: Stack) -> str:
    served = stack.stable.served_model()
    return f"{served.name} version {served.version}"


def _routed(stack: Stack) -> str:
    stack.envoy.wait_until_healthy("stable", _STATUS_SECONDS)
    return "sends calls to stable"


def _asked(question: Callable[[], str], problems: list[str]) -> str:
    try:
        return question()
    except InfrastructureError as error:
        problems.append(str(error))
        return "does not work"


@_explained
def watch_drift(home: Path) -> int:
    """Run the drift monitor on the prediction log of the local stack, until it is stopped."""
    given = {"LOG_FORMAT": "console", "HOST": "127.0.0.1"} | python_environment()
    if {"REFERENCE_DATASET_URI", "CURRENT_DATASET_URI"} <= given.keys():
        with contextlib.suppress(KeyboardInterrupt):  # the monitor got it as well, and ends by itself
            return subprocess.run(python_module("drift"), env=given, check=False).returncode
        return 0
    return _watch_stable(Home(home), given)


def _watch_stable(place: Home, given: dict[str, str]) -> int:
    """Run the monitor for the model that stable serves, and anew for the next one."""
    while True:
        stack = load_stack(place)
        served = stack.stable.served_model()
        found = {
            "REFERENCE_DATASET_URI": str(stack.reference()),
            "CURRENT_DATASET_URI": str(place.logs),
            "CURRENT_TRACK": "stable",
            "CURRENT_VERSION": served.version,
        }
        if "CURRENT_DATASET_URI" in given:  # perhaps a dataset, which has no tracks
            del found["CURRENT_TRACK"], found["CURRENT_VERSION"]
        with subprocess.Popen(python_module("drift"), env=found | given) as monitor:
            try:
                while monitor.poll() is None and _is_served(place, served.digest):
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        monitor.wait(_STABLE_SECONDS)
            except KeyboardInterrupt:  # the monitor got it as well, and ends by itself
                monitor.wait()
                return 0
            if monitor.poll() is not None:
                return monitor.returncode
            monitor.terminate()
        Console(stderr=True).print(
            "stable serves another model: the drift monitor starts anew with its reference"
        )


def _is_served(place: Home, digest: str) -> bool:
    """Whether stable serves that model still; a stack that does not answer is no other model."""
    try:
        return load_stack(place).stable.served_model().digest == digest
    except RolloutError:
        return True


def _show(report: dict[str, Any], title: str, *, as_json: bool) -> None:
    if as_json:
        write_json(report)
        return
    table = Table(title=title, title_justify="left", show_header=False, box=None)
    for key, value in report.items():
        table.add_row(key, escape(str(value)))
    Console(highlight=False).print(table)


def _show_plan(plan: Plan, registry: MlflowRegistry, options: DeployOptions) -> int:
    version = registry.resolve(options.model_uri)
    if options.as_json:
        write_json({"model_uri": version.uri, "plan": plan.model_dump(mode="json"), "digest": plan.digest})
        return 0
    table = Table(title=f"{version.uri} would go through", title_justify="left", box=None)
    for column in ("step", "weight", "at least", "between"):
        table.add_column(column)
    for number, step in enumerate(plan.steps, start=1):
        stay = f"{step.min_seconds:g} and {step.max_seconds:g} s"
        table.add_row(str(number), f"{step.weight} %", f"{step.min_requests} canary calls", stay)
    console = Console(highlight=False)
    console.print(table)
    checks = [name for name, check in plan.checks if check.enabled]
    console.print(
        f"checks: {', '.join(checks)} · alpha {plan.alpha:g} for all together · "
        f"deadline {plan.deadline_seconds:g} s"
    )
    return 0


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return "unknown"


@contextlib.contextmanager
def _termination_interrupts() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end a command the way Ctrl-C does: by rolling back."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    hangup = getattr(signal, "SIGHUP", signal.SIGTERM)  # Windows has none
    heard = [n for n in {signal.SIGTERM, hangup} if signal.getsignal(n) is not signal.SIG_IGN]  # as by nohup
    previous = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
