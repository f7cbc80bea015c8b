"""When the registry cannot be used, the last good model serves, and only then."""

from pathlib import Path

from structlog.testing import capture_logs

from inference.artifacts import MlflowRepository
from inference.artifacts.cache import Cache, Record
from inference.errors import BundleError, RegistryError, RegistryUnavailableError
from tests.inference.artifacts.bundle_kit import digest_of, install
from tests.inference.artifacts.faulty_server import FaultyServer, fail


def test_stale(server: FaultyServer, cache_dir: Path, bundles: dict[str, Path]) -> None:
    """When the registry fails later, the last good model of the URI is given, and said to be stale."""
    server.serve(bundles["forest"])
    MlflowRepository("models:/iris@champion", server.address, cache_dir).fetch()
    server.answer = lambda _path: (503, b"down")
    repository = MlflowRepository("models:/iris@champion", server.address, cache_dir)
    with capture_logs() as logs:
        model = repository.fetch()
    assert model.bundle.digest == digest_of(bundles["forest"])
    assert "answered 503: down" in model.stale_reason
    assert repository.diagnostics().last_error == model.stale_reason
    assert logs[-1]["log_level"] == "warning"
    strict = MlflowRepository("models:/iris@champion", server.address, cache_dir, allow_stale=False)
    assert isinstance(fail(strict), RegistryUnavailableError)
    other = MlflowRepository("models:/iris@challenger", server.address, cache_dir)
    assert isinstance(fail(other), RegistryUnavailableError)


def test_refusal_is_not_stale(server: FaultyServer, cache_dir: Path, bundles: dict[str, Path]) -> None:
    """A registry that answers no is believed: the cache is no way round it."""
    server.serve(bundles["forest"])
    repository = MlflowRepository("models:/iris@champion", server.address, cache_dir)
    repository.fetch()
    server.answer = lambda _path: (401, b"no")
    assert type(fail(repository)) is RegistryError
    server.serve(bundles["other forest"], version="2", digest="f" * 64)
    assert isinstance(fail(repository), BundleError)


def test_damaged_stale(server: FaultyServer, cache_dir: Path, bundles: dict[str, Path]) -> None:
    """A damaged bundle in the cache is no last good model."""
    cache = Cache(cache_dir)
    digest = install(cache, bundles["forest"])
    cache.write_record(server.address, "models:/iris@champion", Record("iris", "1", digest))
    (cache_dir / "bundles" / digest / "model.onnx").write_bytes(b"damaged")
    error = fail(MlflowRepository("models:/iris@champion", server.address, cache_dir))
    assert isinstance(error, RegistryUnavailableError)
