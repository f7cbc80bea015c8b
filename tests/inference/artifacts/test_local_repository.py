"""A directory as a repository."""

from pathlib import Path

import pytest

from inference.artifacts import LocalRepository, Repository
from inference.errors import BundleError
from tests.inference.artifacts.bundle_kit import Kit, digest_of


def test_local(bundles: dict[str, Path], kit: Kit) -> None:
    """A local bundle has the name of its manifest and the version `local`; it is verified at each fetch."""
    copy = kit.copy(bundles["forest"])
    repository: Repository = LocalRepository(copy)
    assert repository.diagnostics().last_verified_at is None
    model = repository.fetch()
    assert (model.name, model.version, model.stale_reason) == ("iris", "local", "")
    assert model.bundle.digest == digest_of(copy)
    verified = repository.diagnostics().last_verified_at
    (copy / "model.onnx").write_bytes(b"changed")
    with pytest.raises(BundleError) as caught:
        repository.fetch()
    assert repository.diagnostics().last_error == str(caught.value)
    assert repository.diagnostics().last_verified_at == verified
