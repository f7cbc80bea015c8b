"""The cache holds whole, verified bundles or nothing."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inference.artifacts.cache import Cache, Record
from inference.errors import BundleError, CacheError
from tests.inference.artifacts.bundle_kit import Kit, digest_of, install


def write_half(cache: Cache, content: bytes, error: OSError | None = None) -> None:
    """Begin a download that perhaps fails."""
    with cache.staging() as directory:
        (directory / "model.onnx").write_bytes(content)
        if error is not None:
            raise error


def test_install_and_find(bundles: dict[str, Path], tmp_path: Path) -> None:
    """What was installed is found by its digest, and nothing else is left."""
    cache = Cache(tmp_path)
    digest = install(cache, bundles["forest"])
    found = cache.find(digest)
    assert found is not None
    assert found.path == tmp_path / "bundles" / digest
    assert not list(tmp_path.glob("tmp-*"))


@pytest.mark.parametrize("digest", ["", "0" * 64, "../bundles", "x" * 64])
def test_nothing_to_find(tmp_path: Path, digest: str) -> None:
    """A digest that is not there, or is none, finds nothing."""
    (tmp_path / "bundles").mkdir()
    assert Cache(tmp_path).find(digest) is None


def test_damaged_bundle_is_replaced(bundles: dict[str, Path], tmp_path: Path) -> None:
    """A cached bundle that was damaged is not found any more, and installing it again mends it."""
    cache = Cache(tmp_path)
    digest = install(cache, bundles["forest"])
    (tmp_path / "bundles" / digest / "model.onnx").write_bytes(b"damaged")
    assert cache.find(digest) is None
    install(cache, bundles["forest"])
    assert cache.find(digest) is not None
    assert not list(tmp_path.glob("tmp-*"))


def test_broken_download(bundles: dict[str, Path], kit: Kit, tmp_path: Path) -> None:
    """A download that fails verification leaves nothing behind."""
    cache, broken = Cache(tmp_path / "cache"), kit.copy(bundles["forest"])
    (broken / "model.onnx").write_bytes(b"half")
    with pytest.raises(BundleError):
        install(cache, broken)
    assert not list((tmp_path / "cache").glob("bundles/*"))
    assert not list((tmp_path / "cache").glob("tmp-*"))


def test_records(tmp_path: Path) -> None:
    """A record is found under its registry and URI, and only there."""
    cache = Cache(tmp_path)
    record = Record("iris", "7", "a" * 64, "state")
    cache.write_record("http://a", "models:/iris/7", record)
    assert cache.read_record("http://a", "models:/iris/7") == record
    assert cache.read_record("http://b", "models:/iris/7") is None
    assert cache.read_record("http://a", "models:/iris/8") is None
    assert len(list((tmp_path / "resolved").iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"name": 1}', b"\xff"])
def test_broken_record(tmp_path: Path, content: bytes) -> None:
    """A record that a crash left broken counts as none."""
    cache = Cache(tmp_path)
    cache.write_record("r", "u", Record("iris", "7", "a" * 64))
    next((tmp_path / "resolved").iterdir()).write_bytes(content)
    assert cache.read_record("r", "u") is None


def test_leftovers(tmp_path: Path) -> None:
    """What killed downloads left goes after an hour; what may be under way stays."""
    for name in ("tmp-old", "tmp-new", "bundles"):
        (tmp_path / name).mkdir()
    (tmp_path / "tmp-old" / "model.onnx").write_text("half")
    hours_ago = time.time() - 4000
    os.utime(tmp_path / "tmp-old", (hours_ago, hours_ago))
    Cache(tmp_path).remove_leftovers()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundles", "tmp-new"]


def test_too_large(tmp_path: Path) -> None:
    """A bundle that cannot fit is refused before a byte of it is written, with both numbers."""
    with pytest.raises(CacheError, match=r"needs \d+ bytes and \d+ are free"):
        Cache(tmp_path).require_bytes(1 << 62)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "this user may not write there"),
    ],
)
def test_disk_errors(tmp_path: Path, number: int, reason: str) -> None:
    """Each error of the disk becomes a sentence with the free bytes; the half download is gone."""
    error = OSError(number, os.strerror(number))
    with pytest.raises(CacheError, match=rf"{reason}.* \(\d+ bytes are free\); .*MODEL_CACHE_DIR"):
        write_half(Cache(tmp_path), b"half", error)
    assert not list(tmp_path.glob("tmp-*"))


def test_full_disk(small_disk: Path) -> None:
    """On a disk that really is full, the error says so and nothing half stays."""
    cache = Cache(small_disk)
    with pytest.raises(CacheError, match=r"no space is left on the device \(\d+ bytes are free\)"):
        write_half(cache, b"x" * 400_000)
    assert not list(small_disk.glob("tmp-*"))
    (small_disk / "again").write_bytes(b"x" * 100_000)


def test_read_only(bundles: dict[str, Path], small_disk: Path) -> None:
    """A read-only cache cannot be written, and what is in it already is found."""
    cache = Cache(small_disk)
    digest = install(cache, bundles["forest"])
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(CacheError, match="the file system is read-only"):
        write_half(cache, b"")
    assert cache.find(digest) is not None


def test_no_directory(tmp_path: Path) -> None:
    """A cache that is a file cannot be used, and the error names it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=f"the model cache {tmp_path}/file/cache cannot be used"):
        write_half(Cache(tmp_path / "file" / "cache"), b"")


_INSTALL = """
import shutil, sys, pathlib
from inference.artifacts.cache import Cache
cache, bundle, digest = Cache(pathlib.Path(sys.argv[1])), sys.argv[2], sys.argv[3]
for _ in range(10):
    with cache.staging() as directory, cache.lock(digest):
        if cache.find(digest) is None:
            shutil.copytree(bundle, directory, dirs_exist_ok=True)
            cache.install(directory, digest)
    assert cache.find(digest) is not None
"""


def test_many_processes(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Processes that install one bundle at the same time all find it whole, and leave nothing."""
    digest = digest_of(bundles["forest"])
    command = [sys.executable, "-c", _INSTALL, str(tmp_path), str(bundles["forest"]), digest]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(5)]
    assert [process.communicate()[1] for process in processes] == [b""] * 5
    assert not list(tmp_path.glob("tmp-*"))
