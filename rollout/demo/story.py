"""The story, told with real commands and processes in a directory of its own."""

import contextlib
import csv
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console

from rollout.commands import deploy
from rollout.console import PlainView, TerminalView
from rollout.demo.drift_monitor import DriftMonitor, start_drift_monitor
from rollout.demo.evidence import DriftRecord, RolloutRecord, read_traffic, total
from rollout.errors import InfrastructureError
from rollout.events import RolloutEvent
from rollout.local import StackOptions, load_stack, stack_down, stack_up
from rollout.local.processes import (
    ProcessRecord,
    python_module,
    server_environment,
    start_detached,
    stop,
)
from rollout.plan import load_plan
from rollout.registry import MlflowRegistry
from rollout.state import Home

__all__ = ["Story", "StoryResult"]

#: Window of the drift monitor, in minutes: 12 seconds, so that the demo need not last an hour.
_DRIFT_MINUTES: Final = 0.2
#: Calls that the clients send before the drift monitor is asked.
_DRIFT_CALLS: Final = 800
#: What shifted traffic adds to every feature, in cm: about two standard deviations of the sepal length.
_SHIFT: Final = 1.5
#: No phase of waiting for traffic takes longer than this.
_PATIENCE_SECONDS: Final = 60.0


@dataclass(slots=True)
class StoryResult:
    """What happened, for the table and the report."""

    began: float
    champion: str = ""
    rollouts: list[RolloutRecord] = field(default_factory=list)
    drift: list[DriftRecord] = field(default_factory=list)
    phases: list[tuple[float, str]] = field(default_factory=list)
    traffic_logs: list[Path] = field(default_factory=list)
    ended: float = 0.0


class Story:
    """Tells the story once; use `tell` inside `with story.stage():`, which ends every process."""

    def __init__(self, directory: Path, console: Console) -> None:
        self._directory = directory
        self._console = console
        self._tracking_uri = f"sqlite:///{directory / 'mlflow.db'}"
        self._home = Home(directory / "stack")
        self._cleanup = contextlib.ExitStack()
        self._trainers = ThreadPoolExecutor(1, "trainer")
        self._commands: list[subprocess.Popen[str]] = []
        self.result = StoryResult(began=time.time())

    @contextlib.contextmanager
    def stage(self) -> Iterator[None]:
        """Everything started inside ends here, whatever happens; Ctrl-C included."""
        with self._cleanup:
            try:
                yield
            finally:
                self._trainers.shutdown(wait=False, cancel_futures=True)
                for command in self._commands:  # fine for those that have ended
                    command.terminate()

    def tell(self) -> StoryResult:
        """Tell it. Raises `RolloutError` when a part does not work at all."""
        data = self._validate()
        champion = self._train("champion", "model 1 is trained, checked and registered")
        self.result.champion = champion
        good = self._trainers.submit(self._train, "good", "", "--param", "n_estimators=60")
        mislabelled, target = self._mislabel(data)
        bad = self._trainers.submit(
            self._train, "bad", "", "--data", str(mislabelled), "--target", target, "--model-name", "iris"
        )
        address = self._start_stack(champion)
        traffic = self._start_traffic(address, data, "normal", shift=0.0)
        monitor = self._start_drift_monitor()
        self._roll_out("a good challenger", good)
        self._roll_out("a bad challenger: two labels swapped, fast and error-free", bad)
        self._watch(monitor, "normal", traffic)
        stop(traffic, 10)
        traffic = self._start_traffic(address, data, "shifted", shift=_SHIFT)
        self._watch(monitor, "shifted", traffic)
        stop(traffic, 10)
        self._phase("clients have stopped")
        self.result.ended = time.time()
        return self.result

    def _validate(self) -> Path:
        self._phase("the Iris table is checked against its contract")
        self._command("validate", "training.validate", "--sample")
        return self._directory / "data" / "processed" / "iris.csv"

    def _train(self, name: str, phase: str, *arguments: str) -> str:
        """Train and register a model; return its URI."""
        if phase:
            self._phase(phase)
        output = self._command(f"train-{name}", "training.train", *arguments)
        last = output.strip().splitlines()[-1]
        if not last.startswith("MODEL_URI="):
            raise InfrastructureError(f"training ended without a MODEL_URI: {last}")
        return last.removeprefix("MODEL_URI=")

    def _mislabel(self, data: Path) -> tuple[Path, str]:
        """Write the table with two classes swapped, a bug that no test on the same table can see.

        Returns the file and its target column.
        """
        swapped = {"versicolor": "virginica", "virginica": "versicolor"}
        with data.open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        path = self._directory / "mislabelled.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            writer.writerows([*row[:-1], swapped.get(row[-1], row[-1])] for row in rows)
        return path, header[-1]

    def _start_stack(self, model_uri: str) -> str:
        self._phase(f"{model_uri} is served behind Envoy and becomes champion")
        options = StackOptions(model_uri, self._tracking_uri, port=0)
        # Registered before the start: stack_down is fine with a stack that never came up.
        self._cleanup.callback(stack_down, self._home)
        with self._console.status("the server fetches and checks the model, Envoy starts …"):
            stack, _ = stack_up(self._home, options, MlflowRegistry(self._tracking_uri))
        return stack.envoy.address

    def _start_traffic(self, address: str, data: Path, name: str, *, shift: float) -> ProcessRecord:
        self._phase(f"clients send {name} traffic through Envoy, one call after the other")
        log = self._directory / f"traffic-{name}.jsonl"
        arguments = ["--address", address, "--rows", str(data), "--log", str(log), "--shift", str(shift)]
        arguments.append("--end-with-parent")
        command = python_module("rollout.demo.traffic", *arguments)
        process = start_detached(command, server_environment(), self._directory / f"traffic-{name}.log")
        self._cleanup.callback(stop, process, 10)
        self.result.traffic_logs.append(log)
        return process

    def _start_drift_monitor(self) -> DriftMonitor:
        self._phase("the drift monitor starts with the champion's own reference rows")
        log = self._directory / "drift.log"
        reference = load_stack(self._home).reference()
        monitor = start_drift_monitor(reference, self._home.logs, _DRIFT_MINUTES, log)
        self._cleanup.callback(monitor.stop)
        return monitor

    def _roll_out(self, title: str, challenger: Future[str]) -> None:
        with self._console.status("waiting for the challenger's training …"):
            model_uri = challenger.result()
        self._phase(f"rollout of {title} ({model_uri})")
        record = RolloutRecord(title)
        self.result.rollouts.append(record)
        plan = load_plan(Path(__file__).with_name("plan.toml"))
        live = self._console.is_terminal
        with TerminalView(self._console) if live else PlainView(self._console) as view:

            def notify(event: RolloutEvent) -> None:
                record.events.append((time.time(), event))
                view.notify(event)

            registry = MlflowRegistry(self._tracking_uri)
            record.outcome = deploy(self._home, model_uri, plan, registry, notify)
        if record.outcome.interrupted:  # the rollout is rolled back; now the story ends as well
            raise KeyboardInterrupt

    def _watch(self, monitor: DriftMonitor, name: str, traffic: ProcessRecord) -> None:
        """Wait until the clients have sent enough, then ask the drift monitor."""
        log = self.result.traffic_logs[-1]
        began = time.time()
        with self._console.status(
            f"{_DRIFT_CALLS} calls of {name} traffic, then the drift monitor is asked …"
        ):
            while total(read_traffic([log]), began).sent < _DRIFT_CALLS:
                if traffic.find() is None or time.time() - began > _PATIENCE_SECONDS:
                    raise InfrastructureError(f"the clients do not send traffic; their log is {log}")
                time.sleep(0.1)
            record = DriftRecord(name, began, time.time(), monitor.refresh())
        self.result.drift.append(record)
        self._phase(f"drift monitor on {name} traffic: {record.verdict}")

    def _command(self, name: str, module: str, *arguments: str) -> str:
        """Run one of our commands in the story's directory; return its output."""
        environment = server_environment() | {
            "MLFLOW_TRACKING_URI": self._tracking_uri,
            "PYTHONWARNINGS": "ignore",
        }
        with subprocess.Popen(
            python_module(module, *arguments),
            cwd=self._directory,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            self._commands.append(process)
            output, errors = process.communicate()
        (self._directory / f"{name}.log").write_text(errors + output, encoding="utf-8")
        if process.returncode in (130, -signal.SIGINT):  # a Ctrl-C reaches the trainer's process as well
            raise KeyboardInterrupt
        if process.returncode:
            raise InfrastructureError(
                f"python -m {module} ended with {process.returncode}:\n{errors[-2000:]}"
            )
        return output

    def _phase(self, what: str) -> None:
        now = time.time()
        self.result.phases.append((now, what))
        self._console.print(f"[dim]{now - self.result.began:6.1f} s[/]  [bold]{what}[/]")
