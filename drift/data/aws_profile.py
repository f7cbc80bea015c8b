"""What stands in the files that the AWS tools share, `~/.aws/credentials` and `~/.aws/config`.

obstore reads the environment and asks the machine it runs on; these files, which a laptop has, it does not know.
"""

import configparser
import os
from pathlib import Path
from typing import Final

__all__ = ["read_profile"]

#: Setting in the files → the name obstore has for it.
_NAMES: Final = {
    "aws_access_key_id": "access_key_id",
    "aws_secret_access_key": "secret_access_key",
    "aws_session_token": "session_token",
    "region": "region",
    "endpoint_url": "endpoint",
}


def read_profile() -> dict[str, str]:
    """Return the settings of the profile AWS_PROFILE, or `default`; nothing where there is none."""
    profile = os.environ.get("AWS_PROFILE") or "default"
    config = os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config"
    credentials = os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    in_config = profile if profile == "default" else f"profile {profile}"
    # The credentials file wins, as it does for the AWS tools.
    found = _section(config, in_config) | _section(credentials, profile)
    return {_NAMES[name]: value for name, value in found.items() if name in _NAMES and value}


def _section(path: str, name: str) -> dict[str, str]:
    # Secrets hold %, which would else be taken for a reference to another setting.
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(Path(path).expanduser(), encoding="utf-8")
        return dict(parser.items(name)) if parser.has_section(name) else {}
    except (OSError, ValueError, RuntimeError, configparser.Error):
        return {}  # as good as none: the store's answer will say that credentials are wanted
