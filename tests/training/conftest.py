"""What the tests of training share: one trained bundle, one real registry, and small tables."""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

with warnings.catch_warnings():
    # MLflow 3.17 warns about its own type hints when this is imported first.
    warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)
    import mlflow.pyfunc

from training.bundling.bundle import Bundle, verify_bundle
from training.configuration.sections import Config
from training.contracts.contract import check_contract
from training.data.dataset import load_table
from training.fitting.estimator import plan_estimator
from training.fitting.fit import FittedModel, fit_model
from training.pipeline import run_training
from training.report import Progress

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Command:
    """A command that ran in a directory of its own."""

    directory: Path
    code: int
    stdout: str
    stderr: str


def _run_module(module: str, *arguments: str, cwd: Path, **environment: str) -> Command:
    """Run `python -m module` as a user does, without a registry of the caller's."""
    inherited = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "HOME": str(cwd.parent / "home"),
        "COLUMNS": "120",
    }
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Command(cwd, done.returncode, done.stdout, done.stderr)


def _fit(**sections: dict[str, object]) -> FittedModel:
    """Fit what a configuration with these sections describes, without gates."""
    config = Config.model_validate(sections)
    plan = plan_estimator(config.estimator.class_path, config.estimator.parameters, config.split.seed)
    report = check_contract(load_table(config), config.contract, classification=plan.is_classification)
    return fit_model(report.require_valid(), plan, config.split, config.preprocessing)


@pytest.fixture(scope="session")
def fit() -> Callable[..., FittedModel]:
    """Fit what configuration sections, given as keywords, describe."""
    return _fit


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Command]:
    """Run a module as a command in the test's directory; keywords are environment variables."""

    def run_here(module: str, *arguments: str, **environment: str) -> Command:
        return _run_module(module, *arguments, cwd=tmp_path, **environment)

    return run_here


@pytest.fixture(autouse=True)
def in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test starts in a directory of its own, with no registry in its environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "GITHUB_OUTPUT"):
        monkeypatch.setenv(name, "")  # so that it is put back even when a test's code sets it
        monkeypatch.delenv(name)
    yield
    mlflow.set_tracking_uri(None)


@pytest.fixture(scope="session")
def iris_model() -> FittedModel:
    """The default model, fitted in this process."""
    return _fit()


@pytest.fixture(scope="session")
def iris_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of the default configuration; tests that change it copy it first."""
    directory = tmp_path_factory.mktemp("bundle") / "iris"
    progress = Progress(quiet=True)
    run_training(Config(), tracking_uri=None, bundle_dir=directory, alias=None, progress=progress)
    return verify_bundle(directory)


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The real command with its defaults, run once in an empty directory."""
    directory = tmp_path_factory.mktemp("registered")
    return _run_module(
        "training.train", "--alias", "champion", "--output", "uri.env", cwd=directory, GITHUB_OUTPUT="step"
    )


@pytest.fixture
def registry(registered: Command, in_empty_directory: None) -> mlflow.MlflowClient:
    """A client of the registry that `registered` wrote, and stock MLflow pointed at it."""
    uri = f"sqlite:///{registered.directory / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient(uri, uri)


@pytest.fixture
def csv(tmp_path: Path) -> Callable[[str], Path]:
    """Write text to `table.csv` in the test's directory and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "table.csv"
        path.write_text(text, "utf-8")
        return path

    return write
