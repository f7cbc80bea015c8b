"""Fields of protobuf, written by hand: what a message would make, without a message.

https://protobuf.dev/programming-guides/encoding/ has the format.
"""

import functools
from collections.abc import Iterable
from typing import Final

from google.protobuf.descriptor import Descriptor

__all__ = [
    "FIXED64",
    "ONE_BYTE",
    "VARINT",
    "head_of",
    "lengthed",
    "number_of",
    "packed",
    "tag",
    "text",
    "varint",
]

#: Kinds of fields on the wire.
VARINT: Final = 0
FIXED64: Final = 1
LENGTHED: Final = 2
#: The numbers below take one byte as a varint.
ONE_BYTE: Final = 0x80

#: How many heads of fields are kept; small answers have the same few sizes.
_HEADS: Final = 256


def number_of(message: Descriptor, field: str) -> int:
    """Return the number of a field of `message`."""
    number: int = message.fields_by_name[field].number
    return number


def varint(number: int) -> bytes:
    """Return a whole number, at least 0, in groups of seven bits."""
    groups = bytearray()
    while number >= ONE_BYTE:
        groups.append(number & (ONE_BYTE - 1) | ONE_BYTE)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def tag(number: int, kind: int) -> bytes:
    """Return the beginning of the field `number`."""
    return varint(number << 3 | kind)


@functools.lru_cache(_HEADS)
def head_of(number: int, size: int) -> bytes:
    """Return what stands before the `size` bytes of the field `number`."""
    return tag(number, LENGTHED) + varint(size)


def lengthed(number: int, content: bytes) -> bytes:
    """Return a field of text, bytes, packed numbers or a message."""
    return head_of(number, len(content)) + content


def text(number: int, content: str) -> bytes:
    """Return a field of text; nothing when it is empty, as it is by default."""
    return lengthed(number, content.encode()) if content else b""


def packed(numbers: Iterable[int]) -> bytes:
    """Return whole numbers, at least 0, as a repeated field packs them."""
    return b"".join(map(varint, numbers))
