"""What MLflow takes as the name of an alias, asked before any work."""

import argparse
import re

__all__ = ["alias_name"]


def alias_name(text: str) -> str:
    """Return `text` when MLflow takes it as an alias, as an argparse type: the rules are MLflow's."""
    if not re.fullmatch(r"[\w.-]{1,255}", text) or text == "latest" or re.fullmatch(r"[vV]\d+", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be an alias: use letters, digits, dots and dashes, not `latest` nor `v1`"
        )
    return text
