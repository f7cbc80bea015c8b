"""The built wheel: what is shipped is what is tested."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"protos", "telemetry", "training", "inference", "drift", "rollout"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree."""
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = directory.glob("*.whl")
    return built


def test_wheel_holds_every_package_and_no_other(wheel: Path) -> None:
    """Every package with its data files is in the wheel; tests and tools are not."""
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if not name.startswith("coalmine-")}
    assert top == PACKAGES
    assert "rollout/demo/plan.toml" in names
    assert "rollout/demo/report.html.j2" in names
    page = ("page.html.j2", "columns.html.j2", "figure.html.j2", "page.css")
    assert {f"drift/service/page/{name}" for name in page} <= set(names)
    assert "protos/inference/v1/inference.proto" in names


@pytest.mark.slow
def test_installed_wheel_serves_without_the_source_tree(wheel: Path, tmp_path: Path) -> None:
    """With the source tree out of reach, the server's command explains itself."""
    venv.create(tmp_path / "env", system_site_packages=False, with_pip=False, symlinks=True)
    python = tmp_path / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    site = subprocess.run(
        [str(python), "-c", "import site; print(site.getsitepackages()[0])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    zipfile.ZipFile(wheel).extractall(site)
    # The dependencies are those of this environment; our packages come from the wheel alone.
    dependencies = next(path for path in sys.path if path.endswith("site-packages"))
    (Path(site) / "dependencies.pth").write_text(dependencies + "\n")
    shown = subprocess.run(
        [str(python), "-m", "inference", "--help"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert shown.returncode == 0, shown.stderr
    assert "MODEL_URI" in shown.stdout
