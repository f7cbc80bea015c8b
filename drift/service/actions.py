"""The action on a lasting alarm that the settings name, if any."""

from pydantic import SecretStr

from drift.action import Action, ArgoSubmit, Receiver, Webhook
from drift.settings import Settings

__all__ = ["open_action"]


def open_action(settings: Settings) -> Action | None:
    """Return the action, None when there is no receiver."""
    receiver = _receiver(settings)
    if receiver is None:
        return None
    return Action(
        receiver,
        cooldown_seconds=settings.drift_action_cooldown_seconds,
        directory=settings.drift_state_dir,
    )


def _receiver(settings: Settings) -> Receiver | None:
    if settings.drift_action_webhook_url is not None:
        return Webhook(settings.drift_action_webhook_url, _text(settings.drift_action_webhook_secret))
    if settings.drift_action_argo_url is None:
        return None
    assert settings.drift_action_argo_template is not None
    return ArgoSubmit(
        settings.drift_action_argo_url,
        settings.drift_action_argo_namespace,
        settings.drift_action_argo_template,
        token=_text(settings.drift_action_argo_token),
        token_file=settings.drift_action_argo_token_file,
    )


def _text(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
