"""The relay in one piece: inbox, receiver behind HTTP, reconciler and worker, and how they start and end."""

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import structlog
from filelock import FileLock, Timeout

from rollout.errors import InfrastructureError, UsageError
from rollout.webhook_relay.aliases import Aliases
from rollout.webhook_relay.command import CommandTrigger
from rollout.webhook_relay.http_trigger import ArgoTrigger, GithubTrigger
from rollout.webhook_relay.inbox import Inbox
from rollout.webhook_relay.metrics import RelayMetrics
from rollout.webhook_relay.receiver import Receiver
from rollout.webhook_relay.reconciler import Reconciler
from rollout.webhook_relay.server import create_app
from rollout.webhook_relay.settings import Settings
from rollout.webhook_relay.trigger import Trigger
from rollout.webhook_relay.worker import Worker
from telemetry import HttpServer

__all__ = ["Relay"]

#: A POST to GitHub or Argo that is under way may end by itself; the inbox knows what to do when it does not.
_GRACE_SECONDS: Final = 3.0

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("webhook-relay")


class Relay:
    """One relay for one state directory."""

    def __init__(self, settings: Settings, on_defect: Callable[[], None]) -> None:
        """Open the state and bind the port; `on_defect` is called when a thread of the relay broke.

        Raises `UsageError`, `InfrastructureError`, `PortInUseError` or `OSError`.
        """
        self._settings, self._on_defect = settings, on_defect
        self._stopping = threading.Event()
        self.inbox = Inbox(settings.relay_state_dir)
        self._lock = _only_relay(self.inbox.directory)
        self._aliases = aliases = Aliases(settings)
        try:
            self.metrics = RelayMetrics(self._pending)
            trigger = self._choose_trigger()
            self._worker = Worker(settings, self.inbox, aliases, trigger, self.metrics, self._stopping)
            wake = self._worker.wake
            self._reconciler = Reconciler(settings, aliases, self.inbox, self.metrics, wake)
            receiver = Receiver(settings, self.inbox, wake)
            app = create_app(receiver, self.metrics, self.health, settings.relay_max_body_bytes)
            host, port = settings.relay_host, settings.relay_port
            self._http = HttpServer(app, host=host, port=port, variable="RELAY_PORT")
        except BaseException:
            self._close()
            raise
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=name, daemon=True)
            for name, work in (("worker", self._worker.run), ("reconciler", self._reconcile))
        ]

    @property
    def port(self) -> int:
        """The port that is really bound."""
        return self._http.port

    def start(self) -> None:
        """Take events, look at the aliases, act."""
        for thread in self._threads:
            thread.start()
        self._http.start()

    def stop(self) -> bool:
        """Take no more events and end; False when a thread is still at work and has to be abandoned."""
        self._stopping.set()
        self._worker.wake()
        self._http.stop()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(_GRACE_SECONDS)
        if any(thread.is_alive() for thread in self._threads):
            return False
        self._close()
        return True

    def health(self) -> dict[str, Any]:
        """Say how the relay is: `ok`, or `degraded` when the registry cannot be asked."""
        sight = self._reconciler.sight
        return {
            "status": "degraded" if sight.problem else "ok",
            "pending": self.inbox.pending_count(),
            "last_reconcile_at": sight.succeeded_at,
            "registry_problem": sight.problem,
        }

    def _close(self) -> None:
        self._aliases.close()
        self._lock.release()
        self.inbox.close()

    def _pending(self) -> float:
        try:
            return float(self.inbox.pending_count())
        except InfrastructureError:  # the other metrics shall be scraped all the same
            return math.nan

    def _choose_trigger(self) -> Trigger:
        match self._settings.relay_trigger:
            case "github":
                return GithubTrigger(self._settings)
            case "argo":
                return ArgoTrigger(self._settings)
            case "local":
                return CommandTrigger(self.inbox, self._settings.relay_command, self._stopping)

    def _reconcile(self) -> None:
        self._reconciler.run(self._stopping)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001  # the edge of the process: a relay without this thread is none
            _log.exception(
                "a defect of the relay; it ends, and goes on where it was when it is started again"
            )
            self._on_defect()


def _only_relay(directory: Path) -> FileLock:
    lock = FileLock(directory / "relay.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"another relay works in {directory}: stop it, or set RELAY_STATE_DIR to a directory for each"
        ) from None
    return lock
