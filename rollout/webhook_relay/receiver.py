"""What happens to a delivery, in this order: signature, time, content, inbox. Knows nothing of HTTP."""

import time
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from rollout.webhook_relay.event import parse_event
from rollout.webhook_relay.inbox import Inbox
from rollout.webhook_relay.metrics import EventOutcome
from rollout.webhook_relay.settings import Settings
from rollout.webhook_relay.signature import Delivery, verify

__all__ = ["Receiver"]

#: A delivery may be signed so long before and after now, so its id is remembered for both, and a little more.
_MEMORY: Final = 2.5

_log: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("webhook-relay")


class Receiver:
    """Takes deliveries into the inbox; `wake` is called when there is something to do."""

    def __init__(
        self,
        settings: Settings,
        inbox: Inbox,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._inbox, self._wake, self._clock = settings, inbox, wake, clock
        self._secrets: Sequence[str] = settings.secrets

    def receive(self, delivery: Delivery) -> tuple[EventOutcome, str]:
        """Keep what the delivery wants; return what became of it, with the model URI when there is one.

        Raises `DeliveryError` for what is refused, `InfrastructureError` when it cannot be kept.
        """
        settings = self._settings
        skew = settings.relay_max_skew_seconds
        verify(delivery, self._secrets, now=self._clock(), max_skew_seconds=skew)
        wanted = parse_event(delivery.body, settings.relay_alias, settings.relay_models)
        if wanted is None:
            return EventOutcome.IGNORED, ""
        receipt = self._inbox.receive(delivery.delivery_id, wanted, skew * _MEMORY)
        outcome = EventOutcome.ACCEPTED if receipt.new else EventOutcome.DUPLICATE
        _log.info(
            "event received",
            outcome=str(outcome),
            model_uri=wanted.model_uri,
            alias=wanted.alias,
            delivery_id=delivery.delivery_id,
            **({"served_by": receipt.known.id} if receipt.known else {}),
        )
        if receipt.new:
            self._wake()
        return outcome, wanted.model_uri
