"""What Coalmine is judged by: `nox -s tests lint`. Nox judges and changes nothing; `invoke` acts.

All sessions share one environment, `.nox/coalmine`, made from the one lock. It can be used by hand as well:
`. .nox/coalmine/bin/activate`.
"""

import hashlib
import itertools
import os
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.10"
nox.options.sessions = ["tests", "lint", "types", "codegen", "imports"]
nox.options.default_venv_backend = "uv"

ROOT = Path(__file__).parent
LOCK = ROOT / "requirements.lock"
CODEGEN_LOCK = ROOT / "requirements-codegen.lock"
FUZZ_LOCK = ROOT / "requirements-fuzz.lock"
CONFORMANCE_LOCK = ROOT / "requirements-conformance.lock"
ENVIRONMENT = ROOT / ".nox" / "coalmine"
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
#: Most tests wait for processes; beyond four at a time those would wait for processors.
SPREAD = ("-n", "auto", "--maxprocesses", "4", "--dist", "worksteal")
BENCHMARKS = (
    *("serving", "swap", "overload", "peers", "parity", "validation"),
    *("drift", "drift_log", "calibration"),
)
PACKAGES = ("protos", "telemetry", "training", "inference", "drift", "rollout")
CHECKED = (*PACKAGES, "benchmarks", "tests", "tasks.py", "noxfile.py")


def prepare(session: nox.Session) -> None:
    """Make the shared environment exactly what the lock says; nothing to do when it already is."""
    stamp = ENVIRONMENT / "lock.sha256"
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    uv = _uv()
    session.run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT), external=True)
    # Without compiled bytecode every process would compile its imports anew; see docs/decisions/0001.
    session.run(
        uv, "pip", "sync", "--quiet", "--require-hashes", "--compile-bytecode", "--python", str(PYTHON), str(LOCK),
        external=True,
    )  # fmt: skip
    # Scripts of people who use this environment find our packages from any directory.
    (site,) = ENVIRONMENT.rglob("site-packages")
    (site / "coalmine.pth").write_text(f"{ROOT}\n")
    stamp.write_text(wanted)


def run(session: nox.Session, module: str, *arguments: str, patient: bool = False) -> None:
    """Run a module in the shared environment; a patient one gets time to clean up on Ctrl-C."""
    interrupt, terminate = (60, 30) if patient else (2, 2)
    session.run(
        str(PYTHON), "-m", module, *arguments,
        external=True, interrupt_timeout=interrupt, terminate_timeout=terminate,
    )  # fmt: skip


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Run the tests, some at a time; arguments after -- go to pytest (`-n 0`: one after the other)."""
    prepare(session)
    run(session, "pytest", *SPREAD, *session.posargs, patient=True)


@nox.session(venv_backend="none", default=False)
def tests_native(session: nox.Session) -> None:
    """Run the tests of the server with GRPC_TRANSPORT=native; arguments after -- go to pytest."""
    prepare(session)
    session.env["COALMINE_TEST_TRANSPORT"] = "native"
    served = ["tests/inference", "--ignore=tests/inference/artifacts"]  # artifacts come by no transport
    run(session, "pytest", *(session.posargs or served), patient=True)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Check format, style, types, layers and generated code."""
    prepare(session)
    run(session, "ruff", "format", "--check", *CHECKED)
    run(session, "ruff", "check", *CHECKED)
    for other in ("types", "imports", "codegen"):
        session.notify(other)


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Check types, strictly."""
    prepare(session)
    run(session, "mypy", *PACKAGES)


@nox.session(venv_backend="none")
def imports(session: nox.Session) -> None:
    """Check the layers: who may import whom."""
    prepare(session)
    session.run(str(PYTHON.parent / "lint-imports"), external=True)


@nox.session
def codegen(session: nox.Session) -> None:
    """Prove that the committed protobuf code is fresh; `-- write` makes it so."""
    session.run_install(_uv(), "pip", "sync", "--quiet", "--require-hashes", str(CODEGEN_LOCK), external=True)
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "protos").rglob("*.proto"))
    target = ROOT if "write" in session.posargs else Path(session.create_tmp())
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    session.run("python", "-m", "grpc_tools.protoc", "-I", str(ROOT), *outputs, *sources, silent=True)
    stale = [
        made.relative_to(target)
        for made in sorted(target.rglob("*_pb2*.py*"))
        if target != ROOT and not _same(made, ROOT / made.relative_to(target))
    ]
    if stale:
        session.error(f"generated code is stale: {', '.join(map(str, stale))}; run `nox -s codegen -- write`")


@nox.session(venv_backend="none", default=False)
def demo(session: nox.Session) -> None:
    """Run the main job end to end on embedded defaults; arguments after -- go to the demo."""
    prepare(session)
    run(session, "rollout.demo", *session.posargs, patient=True)


@nox.session(venv_backend="none", default=False)
def bench(session: nox.Session) -> None:
    """Measure; after -- names (such as serving, drift, calibration; none: all), then their flags."""
    prepare(session)
    session.env["UV"] = _uv()  # the peers' environments are made with it
    ghz = ROOT / ".nox" / "bin" / "ghz"
    if not ghz.exists():
        source = (ROOT / "benchmarks" / "load.py").read_text().split('GHZ: Final = "')[1].split('"')[0]
        session.run("go", "install", source, env={"GOBIN": str(ghz.parent)}, external=True)
    flags = list(itertools.dropwhile(lambda word: not word.startswith("-"), session.posargs))
    names = session.posargs[: len(session.posargs) - len(flags)]
    for name in names or BENCHMARKS:
        results = str(ROOT / "benchmarks" / "results")
        run(session, f"benchmarks.{name}", "--json", results, *flags, patient=True)


@nox.session(venv_backend="none", default=False)
def stores(session: nox.Session) -> None:
    """Read tables from emulators of Azure's and Google's stores; arguments after -- go to pytest."""
    prepare(session)
    places = ROOT / ".nox"
    if not (places / "bin" / "fake-gcs-server").exists():
        source = "github.com/fsouza/fake-gcs-server@v1.52.2"
        session.run("go", "install", source, env={"GOBIN": str(places / "bin")}, external=True)
    azurite = places / "azurite"
    if not (azurite / "node_modules" / ".bin" / "azurite-blob").exists():
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund")
        session.run("npm", "install", *quiet, "--prefix", str(azurite), "azurite@3.37.0", external=True)
    session.env["COALMINE_TEST_STORES"] = str(places)
    run(session, "pytest", *(session.posargs or ["tests/stores"]), patient=True)


@nox.session(default=False)
def conformance(session: nox.Session) -> None:
    """Let unmodified Triton and KServe clients, and our own examination, ask our server."""
    prepare(session)
    session.run_install(
        _uv(), "pip", "sync", "--quiet", "--require-hashes", str(CONFORMANCE_LOCK), external=True
    )
    theirs = Path(session.bin) / "python"
    session.run(
        str(PYTHON), str(ROOT / "tests" / "conformance" / "stage.py"), str(theirs),
        external=True, env={"PYTHONPATH": str(ROOT)}, interrupt_timeout=60, terminate_timeout=30,
    )  # fmt: skip


@nox.session(name="property", venv_backend="none", default=False)
def property_laws(session: nox.Session) -> None:
    """Look longer for inputs that break a law of tests/property; arguments after -- go to pytest."""
    prepare(session)
    session.env["COALMINE_PROPERTY_PROFILE"] = "long"
    run(session, "pytest", *(session.posargs or ["tests/property", "--timeout", "1800"]), patient=True)


@nox.session(default=False)
def fuzz(session: nox.Session) -> None:
    """Fuzz the decoders, guided by coverage; arguments after -- are libFuzzer's (-max_total_time=60) and targets."""
    if sys.platform != "linux" or not (3, 11) <= sys.version_info[:2] <= (3, 14):
        session.skip("atheris has wheels for CPython 3.11 to 3.14 on Linux alone")
    session.run_install(_uv(), "pip", "sync", "--quiet", "--require-hashes", str(FUZZ_LOCK), external=True)
    session.run("python", "-m", "tests.fuzz", *session.posargs)


@nox.session(venv_backend="none", default=False)
def lock(session: nox.Session) -> None:
    """Resolve the dependencies anew and write every lock; `-- --upgrade` takes newer versions."""
    common = ["--universal", "--generate-hashes", "--no-emit-index-url", "--no-header", "--quiet"]
    everything = ["--all-extras", "pyproject.toml"]
    groups = [(["--group", "codegen"], CODEGEN_LOCK), (["--group", "conformance"], CONFORMANCE_LOCK)]
    groups += [
        (["--group", f"peers-{peer}"], ROOT / f"requirements-peers-{peer}.lock")
        for peer in ("kserve", "mlserver")
    ]
    # What is fuzzed is what serves, in the versions of the one lock.
    groups.append((["--group", "fuzz", "--constraints", LOCK.name, "pyproject.toml"], FUZZ_LOCK))
    for what, path in ((everything, LOCK), *groups):
        session.run(_uv(), "pip", "compile", *common, *what, "-o", path.name, *session.posargs, external=True)


def _uv() -> str:
    from uv import find_uv_bin

    return find_uv_bin()


def _same(made: Path, committed: Path) -> bool:
    return committed.exists() and made.read_bytes() == committed.read_bytes()
