"""The driver of the local target: a canary process beside stable, and Envoy's files and counters."""

from pathlib import Path
from typing import Final

from rollout.counters import Counters
from rollout.driver import CanaryCondition, Comparison, ServedModel
from rollout.errors import InfrastructureError
from rollout.local.inference_process import InferenceProcess, start_inference
from rollout.local.processes import stop
from rollout.local.replay import Replay
from rollout.local.stack import load_stack
from rollout.state import Home

__all__ = ["LocalDriver"]

#: Envoy probes twice a second, and two probes in a row have failed by then.
_STABLE_MAY_RECOVER_SECONDS: Final = 2.0


class LocalDriver:
    """Drives the stack recorded in `home`. What it changes is recorded before a command could be killed."""

    def __init__(self, home: Home) -> None:
        """Raise `UsageError` when no stack runs there."""
        self._home = home
        self._stack = load_stack(home)
        self._replay: Replay | None = None

    def stable_model(self) -> ServedModel:
        """Ask stable what it serves."""
        return self._stack.stable.served_model()

    def start_canary(self, model_uri: str) -> ServedModel:
        """Start the canary's server, tell Envoy, and return once Envoy would send calls to it."""
        self.stop_canary()
        log = self._stack.log_for(self._home, "canary")
        started = self._stack.servers_started + 1
        canary = start_inference(
            "canary",
            model_uri,
            self._stack.options,
            log,
            on_start=lambda process: self._record(starting=process),
        )
        self._record(canary=canary, starting=None, servers_started=started)
        self._announce("with-canary")
        self._stack.envoy.wait_until_healthy("canary")
        self._replay = Replay(Path(self._stack.stable.log), canary.address)
        return canary.served_model()

    def set_weight(self, weight: int, label: str) -> None:
        """Write the route file; return once Envoy names it as the one in use."""
        self._stack.envoy.set_weight(weight, label)

    def read_counters(self) -> Counters:
        """Read Envoy's counters of both legs."""
        return self._stack.envoy.read_counters()

    def require_stable(self) -> None:
        """Look for stable's process and ask Envoy; one probe that a busy machine answered late is forgiven."""
        stable = self._stack.stable
        if stable.process.find() is None:
            raise stable.ended_error()
        try:
            self._stack.envoy.wait_until_healthy("stable", _STABLE_MAY_RECOVER_SECONDS)
        except InfrastructureError:
            if stable.process.find() is None:
                raise stable.ended_error() from None
            raise

    def canary_condition(self) -> CanaryCondition:
        """Ask Envoy for its health, and the canary for its accuracy."""
        canary = self._canary()
        if not self._stack.envoy.healthy("canary"):
            return CanaryCondition(None, healthy=False)
        try:
            return CanaryCondition(canary.accuracy(), healthy=True)
        except InfrastructureError:  # it died since Envoy's last probe
            return CanaryCondition(None, healthy=False)

    def compare_outputs(self, value_tolerance_ratio: float) -> Comparison:
        """Replay rows from stable's prediction log to the canary."""
        if self._replay is None:
            self._replay = Replay(Path(self._stack.stable.log), self._canary().address)
        return self._replay.compare(value_tolerance_ratio)

    def swap_stable(self, model_uri: str) -> ServedModel:
        """Swap stable in place; the record changes with it, so that a restart serves the same.

        The server does one swap at a time, so that one which somebody gave up waiting for ends first.
        """
        self._stack.stable.reload(model_uri, self._stack.options.admin_token)
        served = self.stable_model()
        self._record(stable=self._stack.stable.model_copy(update={"model_uri": model_uri}))
        return served

    def stop_canary(self) -> None:
        """Take the canary's address from Envoy, then end its server, which drains first."""
        if self._replay is not None:
            self._replay.close()
            self._replay = None
        if self._stack.starting is not None:  # its command was killed, or it refused the model
            stop(self._stack.starting, 5)
            self._record(starting=None)
        canary = self._stack.canary
        if canary is None:
            return
        without = self._stack.model_copy(update={"canary": None})
        try:
            without.envoy.set_upstreams(without.stable.upstream, None, f"without-canary-{canary.grpc_port}")
        finally:
            canary.stop()
            self._stack = without.save(self._home)

    def _record(self, **changes: object) -> None:
        self._stack = self._stack.model_copy(update=changes).save(self._home)

    def _announce(self, label: str) -> None:
        stack, canary = self._stack, self._canary()
        stack.envoy.set_upstreams(stack.stable.upstream, canary.upstream, f"{label}-{canary.grpc_port}")

    def _canary(self) -> InferenceProcess:
        if self._stack.canary is None:
            raise InfrastructureError("the stack has no canary; start the rollout again")
        return self._stack.canary
