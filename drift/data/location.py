"""Where a dataset or log is stored: today a local path, written plainly or as a `file://` URI."""

import re
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from drift.errors import UnsupportedLocationError

__all__ = ["local_path"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters at least: `C:\data` is a path


def local_path(location: str) -> Path:
    """Return the path that `location` names. Raises `UnsupportedLocationError` for what is not local."""
    scheme = _SCHEME.match(location)
    if scheme is None:
        return Path(location)
    if scheme.group(1).lower() != "file":
        raise UnsupportedLocationError(scheme.group(1))
    parts = urlsplit(location)
    if parts.netloc not in ("", "localhost"):
        raise UnsupportedLocationError(f"file://{parts.netloc}")
    return Path(url2pathname(parts.path))
