"""Looks at the aliases themselves, so that an event that never came is no rollout that never comes."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import structlog

from rollout.errors import InfrastructureError
from rollout.webhook_relay.aliases import Aliases
from rollout.webhook_relay.deployment import Source, Wanted, why_unusable
from rollout.webhook_relay.inbox import Inbox
from rollout.webhook_relay.metrics import RelayMetrics
from rollout.webhook_relay.settings import Settings

__all__ = ["Reconciler", "Sight"]

#: So that relays that were started together do not ask together for ever.
_JITTER: Final = 0.2

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("webhook-relay")


@dataclass(frozen=True, slots=True)
class Sight:
    """How the last look went: when (seconds since 1970) it last succeeded, and what is wrong since."""

    succeeded_at: float | None = None
    problem: str = ""


class Reconciler:
    """Compares the aliases with what the inbox knows, at once and then again and again."""

    def __init__(
        self,
        settings: Settings,
        aliases: Aliases,
        inbox: Inbox,
        metrics: RelayMetrics,
        wake: Callable[[], None],
    ) -> None:
        self._settings, self._aliases, self._inbox, self._metrics = settings, aliases, inbox, metrics
        self._wake = wake
        self._unusable: set[str] = set()
        self.sight = Sight()

    def run(self, stopping: threading.Event) -> None:
        """Look until the relay is to end."""
        while not stopping.is_set():
            self.look()
            interval = self._settings.relay_reconcile_seconds
            stopping.wait(interval * random.uniform(1 - _JITTER, 1 + _JITTER))

    def look(self) -> int:
        """Take in what the aliases name now; return how many deployments that made."""
        alias = self._settings.relay_alias
        try:
            named = self._aliases.naming(alias, self._settings.relay_models)
            wanted = [Wanted(name, alias, version) for name, version in named.items()]
            new = [w for w in filter(self._usable, wanted) if self._inbox.want(w, Source.POLL).new]
        except InfrastructureError as error:
            self._metrics.reconcile_failed()
            if not self.sight.problem:  # said once, not every minute
                _log.warning("aliases cannot be looked at", reason=str(error))
            self.sight = Sight(self.sight.succeeded_at, str(error))
            return 0
        if self.sight.problem:
            _log.info("aliases can be looked at again")
        self.sight = Sight(time.time())
        self._metrics.reconciled(len(new))
        for found in new:
            _log.info("alias found without an event", model_uri=found.model_uri, alias=alias)
        if new:
            self._wake()
        return len(new)

    def _usable(self, wanted: Wanted) -> bool:
        problem = why_unusable(wanted.name, wanted.version)
        if problem and wanted.model_uri not in self._unusable:
            self._unusable.add(wanted.model_uri)
            _log.warning("alias passed over", reason=problem)
        return not problem
