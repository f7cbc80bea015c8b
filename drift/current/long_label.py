"""Labels that are no labels: long texts are kept as their beginning and a hash, so that a window of them is small."""

import hashlib
from collections.abc import Container
from typing import Final

__all__ = ["MAX_LABEL_CHARACTERS", "shorten"]

#: Classes have names, and names are shorter; a model that answers with longer texts answers with something else.
MAX_LABEL_CHARACTERS: Final = 256
_KEPT_CHARACTERS: Final = 64
_HASH_BYTES: Final = 8


def shorten(label: str, known: Container[str]) -> str:
    """Return the label, or what stands for it when it is long and none of `known`; equal labels stay equal."""
    if len(label) <= MAX_LABEL_CHARACTERS or label in known:
        return label
    digest = hashlib.blake2b(label.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).hexdigest()
    return f"{label[:_KEPT_CHARACTERS]}…{digest}"
