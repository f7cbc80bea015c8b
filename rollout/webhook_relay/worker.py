"""The one thread that acts: it takes what is wanted, asks whether it still is, and fires the trigger."""

import threading
from typing import Final

import structlog
from filelock import Timeout

from rollout.errors import InfrastructureError
from rollout.webhook_relay.aliases import Aliases
from rollout.webhook_relay.child import command_lock
from rollout.webhook_relay.deployment import Deployment, Source, State, Wanted, why_unusable
from rollout.webhook_relay.inbox import Inbox
from rollout.webhook_relay.metrics import RelayMetrics, TriggerOutcome
from rollout.webhook_relay.settings import Settings
from rollout.webhook_relay.trigger import Answer, Result, Trigger
from training.registering.alias_name import CHAMPION

__all__ = ["Worker"]

#: Another process may change the inbox (`retry`), and cannot wake this thread.
_LOOK_SECONDS: Final = 2.0
#: How long a disk or a registry that fails is left alone.
_TROUBLE_SECONDS: Final = 10.0
#: The doubling of the wait between attempts ends here.
_LONGEST_WAIT_SECONDS: Final = 600.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("webhook-relay")


class Worker:
    """Acts on what the inbox holds, one deployment at a time."""

    def __init__(
        self,
        settings: Settings,
        inbox: Inbox,
        aliases: Aliases,
        trigger: Trigger,
        metrics: RelayMetrics,
        stopping: threading.Event,
    ) -> None:
        self._settings, self._inbox, self._aliases = settings, inbox, aliases
        self._trigger, self._metrics, self._stopping = trigger, metrics, stopping
        self._work = threading.Event()

    def wake(self) -> None:
        """Say that there is something to do, or that the relay is to end."""
        self._work.set()

    def run(self) -> None:
        """Act until the relay is to end."""
        recovered = False
        while not self._stopping.is_set():
            try:
                recovered = recovered or self._recover()
                if recovered and not self.act():
                    self._rest()
            except InfrastructureError as error:
                _log.error(str(error))
                self._stopping.wait(_TROUBLE_SECONDS)

    def act(self) -> bool:
        """Take one step for the deployment whose turn it is; False when there is none."""
        deployment = self._inbox.next_due()
        if deployment is None:
            return False
        try:
            aliases = self._aliases.of(deployment.wanted.name)
        except InfrastructureError as error:
            # Not counted as an attempt: nothing was asked of the trigger.
            _log.warning("deployment waits for the registry", reason=str(error), **_fields(deployment))
            self._inbox.postpone(deployment, _TROUBLE_SECONDS, str(error))
            return True
        if self._still_wanted(deployment, aliases):
            attempt = self._inbox.begin(deployment.id)
            _log.info("deployment triggered", **_fields(attempt))
            self._conclude(attempt, self._trigger.fire(attempt))
        return True

    def _still_wanted(self, deployment: Deployment, aliases: dict[str, str]) -> bool:
        """Ask the registry, which is right where events come late, twice or out of order."""
        wanted = deployment.wanted
        version = aliases.get(wanted.alias)
        if wanted.alias != self._settings.relay_alias or version != wanted.version:
            names = f"names version {version}" if version else "is gone"
            self._settle(deployment, State.SUPERSEDED, f"alias {wanted.alias} {names}")
            if (
                version
                and not why_unusable(wanted.name, version)
                and wanted.alias == self._settings.relay_alias
            ):
                self._inbox.want(Wanted(wanted.name, wanted.alias, version), Source.POLL)
            return False
        if deployment.source is Source.RETRY:
            return True
        if self._inbox.acted_on(wanted.name, wanted.alias) == wanted.version:
            self._settle(deployment, State.SUPERSEDED, "it was acted on before, and nothing else since")
            return False
        if wanted.alias != CHAMPION and aliases.get(CHAMPION) == wanted.version:
            self._settle(deployment, State.DONE, f"it is {CHAMPION} already")
            return False
        return True

    def _conclude(self, deployment: Deployment, result: Result) -> None:
        match result.answer:
            case Answer.LEFT:
                _log.info("deployment goes on without the relay", detail=result.detail, **_fields(deployment))
            case Answer.DONE:
                self._metrics.trigger(TriggerOutcome.DONE)
                self._settle(deployment, State.DONE, result.detail)
            case Answer.DECLINED:
                self._metrics.trigger(TriggerOutcome.DECLINED)
                self._settle(deployment, State.DECLINED, result.detail)
            case Answer.AGAIN if deployment.attempts < self._settings.relay_max_attempts:
                self._try_again(deployment, result)
            case _:
                self._metrics.trigger(TriggerOutcome.FAILED)
                detail = (
                    f"{result.detail} (attempt {deployment.attempts} of {self._settings.relay_max_attempts})"
                )
                self._settle(deployment, State.FAILED, detail)

    def _try_again(self, deployment: Deployment, result: Result) -> None:
        self._metrics.trigger(TriggerOutcome.RETRIED)
        doubled = self._settings.relay_retry_seconds * 2 ** (deployment.attempts - 1)
        wait = min(doubled, _LONGEST_WAIT_SECONDS) if result.after_seconds is None else result.after_seconds
        _log.warning(
            "deployment will be tried again", after_seconds=wait, detail=result.detail, **_fields(deployment)
        )
        self._inbox.postpone(deployment, wait, result.detail)

    def _settle(self, deployment: Deployment, state: State, detail: str) -> None:
        self._inbox.settle(deployment.id, state, detail)
        say = _log.error if state is State.FAILED else _log.info
        say("deployment ended", state=str(state), detail=detail, **_fields(deployment))

    def _recover(self) -> bool:
        """Conclude what an earlier relay began; False while its command still runs."""
        deployment = self._inbox.running()
        if deployment is None:
            return True
        try:
            # While we hold it no command begins; one that is late finds that its attempt was given up.
            with command_lock(self._inbox.directory):
                deployment = self._inbox.get(deployment.id)
                result = self._trigger.result_of(deployment)
                if result is None:
                    self._inbox.postpone(deployment, 0, "the relay ended before the trigger answered")
                    return True
        except Timeout:
            _log.debug("the command of an earlier relay still runs", **_fields(deployment))
            self._stopping.wait(_LOOK_SECONDS)
            return False
        self._conclude(deployment, result)
        return True

    def _rest(self) -> None:
        due = self._inbox.seconds_to_next()
        self._work.wait(_LOOK_SECONDS if due is None else min(due, _LOOK_SECONDS))
        self._work.clear()


def _fields(deployment: Deployment) -> dict[str, object]:
    return {
        "deployment": deployment.id,
        "model_uri": deployment.wanted.model_uri,
        "alias": deployment.wanted.alias,
        "attempt": deployment.attempts,
    }
