"""Names of aliases: those that mean something here, and what MLflow takes as one, asked before any work."""

import argparse
import re
from typing import Final

__all__ = ["CHALLENGER", "CHAMPION", "PREVIOUS", "alias_name"]

#: Alias of the version that serves by default; it moves last.
CHAMPION: Final = "champion"
#: Alias of the version that shall become champion, if it proves better.
CHALLENGER: Final = "challenger"
#: Alias of the version that was champion before.
PREVIOUS: Final = "previous"


def alias_name(text: str) -> str:
    """Return `text` when MLflow takes it as an alias, as an argparse type: the rules are MLflow's."""
    if not re.fullmatch(r"[\w.-]{1,255}", text) or text == "latest" or re.fullmatch(r"[vV]\d+", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be an alias: use letters, digits, dots and dashes, not `latest` nor `v1`"
        )
    return text
