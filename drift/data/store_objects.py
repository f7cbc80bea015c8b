"""Objects of stores: what they are now, and a copy of their bytes. Only imported where a store is used."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, Final

import obstore
from obstore.exceptions import BaseError, PreconditionError

from drift.data.location import Location
from drift.data.store_failures import explain
from drift.data.stores import open_store
from drift.errors import UnreadableObjectError

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ObjectStore

__all__ = ["copy_object", "object_stamp"]

#: An object is fetched in pieces of this size, each within the time of one request: a store that gives less than
#: 0.5 MiB a second counts as one that does not answer.
_PIECE_BYTES: Final = 4 << 20


def object_stamp(location: Location) -> str:
    """Return what changes when the object is replaced. Raises `UnreadableObjectError`."""
    with _store_errors(location) as store:
        return _stamp(obstore.head(store, location.name))


def copy_object(location: Location, target: BinaryIO) -> str:
    """Write the object's bytes to an empty `target`; return their stamp. Raises `UnreadableObjectError`."""
    with _store_errors(location) as store:
        try:
            return _copy(store, location.name, target)
        except PreconditionError:  # replaced meanwhile: once more
            target.seek(0)
            target.truncate()
            return _copy(store, location.name, target)


def _copy(store: "ObjectStore", name: str, target: BinaryIO) -> str:
    meta = obstore.head(store, name)
    # All pieces are of one version: the store refuses when the ETag is no longer this. A weak one equals nothing.
    version = None if (meta["e_tag"] or "W/").startswith("W/") else meta["e_tag"]
    for start in range(0, meta["size"], _PIECE_BYTES):
        end = min(start + _PIECE_BYTES, meta["size"])
        answer = obstore.get(store, name, options={"range": (start, end), "if_match": version})
        target.write(answer.bytes())
    return _stamp(meta)


def _stamp(meta: "ObjectMeta") -> str:
    return f"{meta['e_tag'] or meta['last_modified'].isoformat()} {meta['size']}"


@contextlib.contextmanager
def _store_errors(location: Location) -> Iterator["ObjectStore"]:
    """Yield the store; what it raises in the block becomes `UnreadableObjectError`."""
    try:
        yield open_store(location)
    except (BaseError, FileNotFoundError, ValueError) as error:
        raise explain(error, location) from None  # its text may hold a secret, and would stand in a traceback
    except OSError as error:
        reason = f"cannot be read, there is no room for a copy of it ({error.strerror})"
        raise UnreadableObjectError(str(location), reason, "make room where TMPDIR is") from error
