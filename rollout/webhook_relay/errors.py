"""Why a delivery is not taken, without a word about HTTP: `rollout.webhook_relay.server` alone knows statuses."""

__all__ = ["DeliveryError", "MalformedError", "StaleError", "UnsignedError"]


class DeliveryError(Exception):
    """Base of what is wrong with a delivery; the message may be shown to its sender."""


class UnsignedError(DeliveryError):
    """The signature is missing or not made with a secret of ours."""


class StaleError(DeliveryError):
    """The signature is right, and its time is too far from ours: a replay, or a wrong clock."""

    def __init__(self, skew_seconds: float, limit_seconds: float) -> None:
        self.skew_seconds, self.limit_seconds = skew_seconds, limit_seconds
        direction = "in the past" if skew_seconds > 0 else "in the future"
        super().__init__(
            f"the delivery was signed {abs(skew_seconds):.0f} s {direction} by the clock of the relay, and at most "
            f"{limit_seconds:.0f} s are allowed: set both clocks right, or raise RELAY_MAX_SKEW_SECONDS"
        )


class MalformedError(DeliveryError):
    """The sender is who it says, and what it sent cannot be understood or handed on."""
