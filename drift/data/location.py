"""Where a dataset or log is stored: a path, or a URI of a file or of an object in a store."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final, Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from drift.errors import UnsupportedLocationError

__all__ = ["Location", "StoreName", "is_dataset", "local_path", "parse_location"]

StoreName = Literal["s3", "gs", "az"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters at least: `C:\data` is a path

#: What a dataset's name ends in, perhaps with `.gz` behind; all else on a disk is a log.
_DATASETS: Final = frozenset({".csv", ".parquet", ".pq"})

#: Other names of the same stores, which other tools write.
_STORES: Final[dict[str, StoreName]] = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
}


@dataclass(frozen=True, slots=True)
class Location:
    """A file (`store` is None, `name` is its path), or the object `name` in a `bucket` of a store.

    As text it is what people may see: without user, password and query, which are not kept.
    """

    store: StoreName | None
    bucket: str
    name: str

    @property
    def path(self) -> Path:
        """The path of a file."""
        return Path(self.name)

    def __str__(self) -> str:
        return self.name if self.store is None else f"{self.store}://{self.bucket}/{self.name}"


def parse_location(text: str) -> Location:
    """Return the location that `text` names: a path, or a URI of file, s3, gs or az.

    Names of objects are taken literally, `%20` as well, as the stores' own tools take them. Raises
    `UnsupportedLocationError`.
    """
    scheme = _SCHEME.match(text)
    if scheme is None or scheme.group(1).lower() == "file":
        return Location(None, "", str(local_path(text)))
    known = scheme.group(1).lower()
    if known not in _STORES:
        reason = "is neither a path nor a URI of file://, s3://, gs:// or az://"
        raise UnsupportedLocationError(f"{scheme.group(1)}://…", reason, "copy the data to one of these")
    authority, _, name = text[scheme.end() :].partition("?")[0].partition("/")
    found = Location(_STORES[known], authority.rpartition("@")[2], name)
    if not found.bucket or not name.strip("/") or name.endswith("/"):
        raise UnsupportedLocationError(
            str(found), "names no object in a bucket", f"write {found.store}://BUCKET/PATH/TO/DATASET.csv"
        )
    return found


def is_dataset(text: str) -> bool:
    """Return whether a location is a dataset: its name says so, or it is not on a disk."""
    found = parse_location(text)
    path = PurePath(found.name.lower())
    suffix = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    return found.store is not None or suffix in _DATASETS


def local_path(location: str) -> Path:
    """Return the path that `location` names. Raises `UnsupportedLocationError` for what is not local."""
    scheme = _SCHEME.match(location)
    if scheme is None:
        return Path(location)
    if scheme.group(1).lower() != "file":
        reason = "is not on a disk of this machine"
        raise UnsupportedLocationError(f"{scheme.group(1)}://…", reason, "give a path or a file:// URI")
    parts = urlsplit(location)
    if parts.netloc not in ("", "localhost"):
        host = f"file://{parts.netloc.rpartition('@')[2]}/…"
        raise UnsupportedLocationError(host, "is a file of another host", "mount it here, and give its path")
    return Path(url2pathname(parts.path))
