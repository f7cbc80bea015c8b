"""What the documents say exists: links, commands, sessions, variables."""

import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from invoke import Collection
from invoke.parser import Parser

from rollout.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """Return (document, text) of every fenced block in a language."""
    return [
        (document.name, text)
        for document in DOCUMENTS
        for kind, text in BLOCK.findall(document.read_text(encoding="utf-8"))
        if kind == language
    ]


def commands() -> list[list[str]]:
    """Return every command line of the shell blocks and of the inline code, split into words."""
    lines = [line for _, text in blocks("sh") for line in text.splitlines()]
    for document in DOCUMENTS:
        lines += re.findall(r"`((?:invoke|nox|python -m) [^`]+)`", document.read_text(encoding="utf-8"))
    parts = [part for line in lines for part in line.split("&&")]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


@pytest.fixture(scope="module")
def tasks() -> Collection:
    """The tasks as invoke itself loads them."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("tasks", ROOT / "tasks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Collection.from_module(module)


def test_readme_is_short() -> None:
    """The README keeps to 150 lines."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link names a file that exists."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_nothing_is_left_to_be_filled_in(document: Path) -> None:
    """No mark of a place where text or a number is still to come."""
    assert "@@" not in document.read_text(encoding="utf-8")


def test_invoke_commands_parse(tasks: Collection) -> None:
    """The real parser of invoke accepts every `invoke …` that the documents name."""
    found = [words[1:] for words in commands() if words[0] == "invoke" and not words[1].startswith("-")]
    assert len(found) > 5
    for words in found:
        task = words[0]
        assert task in tasks.task_names, f"invoke {' '.join(words)}"
        if len(words) > 1:
            Parser(contexts=tasks.to_contexts()).parse_argv(words)


def test_nox_sessions_exist() -> None:
    """Every session that a document names is one that nox lists."""
    listed = subprocess.run(
        [sys.executable, "-m", "nox", "--list", "-f", str(ROOT / "noxfile.py")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    sessions = set(re.findall(r"^[*-] (\w+)", listed, re.MULTILINE))
    called = [words[2:] for words in commands() if words[:2] == ["nox", "-s"]]
    # What stands behind `--` is for the session itself.
    asked = {
        word for words in called for word in itertools.takewhile("--".__ne__, words) if word.isidentifier()
    }
    assert asked
    assert asked <= sessions


def test_module_commands_explain_themselves() -> None:
    """Every `python -m …` that a document names exists and has a --help that teaches."""
    modules = {words[2] for words in commands() if words[:2] == ["python", "-m"]}
    assert {"inference", "drift", "training.train"} <= modules
    for module in sorted(modules):
        shown = subprocess.run(
            [sys.executable, "-m", module, "--help"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )
        assert shown.returncode == 0, shown.stderr
        assert len(shown.stdout.splitlines()) > 5


def test_plan_of_the_documents_is_the_default_plan() -> None:
    """The TOML block that explains the plan holds the defaults of the code."""
    (plan,) = [text for name, text in blocks("toml") if name == "rollouts.md"]
    assert Plan.model_validate(tomllib.loads(plan)) == Plan()


def test_python_blocks_compile() -> None:
    """Every Python block of the documents is valid and imports what exists."""
    found = blocks("python")
    assert found
    for name, text in found:
        compile(text, name, "exec")
        for line in text.splitlines():
            if line.startswith(("import ", "from ")):
                exec(line, {})  # noqa: S102 - our own documents


def test_decisions_are_numbered_without_gaps() -> None:
    """Decisions count from 0001."""
    numbers = [int(path.name[:4]) for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_locks_name_no_package_index() -> None:
    """A lock works wherever packages come from: it has versions and hashes, no address."""
    for lock in ROOT.glob("requirements*.lock"):
        text = lock.read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://|--index-url|--find-links", text)
