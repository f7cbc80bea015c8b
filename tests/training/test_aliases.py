"""Moving aliases: compare and swap, one mover at a time, a line of history for each, and undo."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest
from filelock import FileLock

from training import aliases
from training.errors import AliasConflictError, ConfigError, RegistryError
from training.registering.alias_history import AliasChange
from training.registering.alias_moves import AliasMover, ModelAliases
from training.registering.database import prepare_sqlite

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with model iris, versions 1 to 4."""
    database = tmp_path_factory.mktemp("registry") / "mlflow.db"
    uri = f"sqlite:///{database}"
    prepare_sqlite(uri)
    client = mlflow.MlflowClient(uri, uri)
    client.create_registered_model("iris")
    for _ in range(4):
        client.create_model_version("iris", source=str(database.parent))
    return database


@pytest.fixture
def uri(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of it, which the environment names."""
    (tmp_path / "mlflow.db").write_bytes(filled.read_bytes())
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return address


@pytest.fixture
def mover(uri: str) -> AliasMover:
    """Moves aliases there."""
    return AliasMover(uri)


@pytest.fixture
def client(uri: str) -> mlflow.MlflowClient:
    """Plain MLflow, which takes no lock and keeps no history."""
    return mlflow.MlflowClient(uri, uri)


def test_an_alias_moves_from_where_it_is_expected(mover: AliasMover) -> None:
    """From nowhere, on, and away; what is there already is no act."""
    for before, after in ((None, "1"), ("1", "2"), ("2", None)):
        act = mover.move("iris", "challenger", after, expect=before, why="test")
        assert act is not None
        assert act.changes == (AliasChange("challenger", before, after),)
    assert mover.move("iris", "challenger", None, expect="2", why="test") is None
    now = mover.read("iris")
    assert now.aliases == {}
    assert [(act.number, act.done) for act in now.acts] == [(1, True), (2, True), (3, True)]


def test_an_alias_that_is_elsewhere_stays(mover: AliasMover) -> None:
    """Nothing moves and nothing is written; the error says where it is, who moved it there, and why."""
    mover.move("iris", "challenger", "2", expect=None, why="the nightly training")
    with pytest.raises(
        AliasConflictError, match=r"expected at version 1, and it is at version 2: .*nightly"
    ) as caught:
        mover.move("iris", "challenger", "3", expect="1", why="test")
    assert (caught.value.expected, caught.value.found) == ("1", "2")
    now = mover.read("iris")
    assert now.aliases == {"challenger": "2"}
    assert len(now.acts) == 1


def test_a_promotion_keeps_the_old_champion_and_ends_the_challenge(mover: AliasMover) -> None:
    """`previous` is where `champion` was, `challenger` is gone; a challenger at another version stays."""
    mover.promote("iris", "1", expect=None, why="first")
    mover.move("iris", "challenger", "2", expect=None, why="test")
    act = mover.promote("iris", "2", expect="1", why="better")
    assert act is not None
    assert [str(change) for change in act.changes] == [
        "previous none → 1",
        "champion 1 → 2",
        "challenger 2 → none",
    ]
    mover.move("iris", "challenger", "4", expect=None, why="test")
    mover.promote("iris", "3", expect="2", why="better")
    assert mover.read("iris").aliases == {"champion": "3", "previous": "2", "challenger": "4"}
    assert mover.promote("iris", "3", expect="2", why="again") is None


def test_a_version_that_does_not_exist_changes_nothing(mover: AliasMover) -> None:
    """It is asked for before anything is written, and those that exist are named."""
    with pytest.raises(ConfigError, match="iris has no version 9; it has: 1, 2, 3, 4; choose one"):
        mover.promote("iris", "9", expect=None, why="test")
    assert mover.read("iris").acts == []


def test_undo_takes_back_whole_acts_one_after_the_other(mover: AliasMover) -> None:
    """All moves of the last act, then those of the one before; an undo is an act, and is not undone."""
    mover.promote("iris", "1", expect=None, why="first")
    mover.move("iris", "challenger", "2", expect=None, why="test")
    mover.promote("iris", "2", expect="1", why="better")
    assert mover.undo("iris", why="complaints").undoes == 3
    assert mover.read("iris").aliases == {"champion": "1", "challenger": "2"}
    assert mover.undo("iris", why="more").undoes == 2
    assert mover.undo("iris", why="all").undoes == 1
    assert mover.read("iris").aliases == {}
    with pytest.raises(ConfigError, match="no act is recorded that could be undone"):
        mover.undo("iris", why="too much")


def test_undo_of_another_act_than_was_looked_at_is_refused(mover: AliasMover) -> None:
    """Who says which act shall be undone is told when it is not the last one any more."""
    mover.move("iris", "challenger", "1", expect=None, why="test")
    mover.move("iris", "challenger", "2", expect="1", why="test")
    with pytest.raises(ConfigError, match="the last act that can be undone is 2, not 1"):
        mover.undo("iris", why="test", expect=1)


def test_of_many_undos_at_once_one_takes_back_one_act(uri: str, mover: AliasMover) -> None:
    """Four look at the same last act while the lock is held: one undoes it, three are told who was first."""
    for before, after in ((None, "1"), ("1", "2"), ("2", "3")):
        mover.move("iris", "challenger", after, expect=before, why="test")
    looked = threading.Barrier(5)

    class Looking(AliasMover):
        """Says when it has looked."""

        def read(self, name: str) -> ModelAliases:
            found = super().read(name)
            if not getattr(self, "has_looked", False):
                self.has_looked = True
                looked.wait()
            return found

    def undo(_: int) -> str:
        try:
            return f"undid {Looking(uri).undo('iris', why='complaints').undoes}"
        except AliasConflictError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        with FileLock(f"{uri.removeprefix('sqlite:///')}.aliases.lock"):
            answers = pool.map(undo, range(4))
            looked.wait()
        said = sorted(answers)
    assert said[-1] == "undid 3"
    expected = "challenger of iris is expected at version 3, and it is at version 2: "
    assert all(expected in one and "waited to take back act 3" in one for one in said[:-1])
    assert mover.read("iris").aliases == {"challenger": "2"}


def test_undo_does_not_overwrite_what_was_moved_behind_our_back(
    mover: AliasMover, client: mlflow.MlflowClient
) -> None:
    """Refused, with both versions; where somebody took the act back by hand, nothing is left to undo."""
    mover.move("iris", "challenger", "1", expect=None, why="test")
    mover.move("iris", "challenger", "2", expect="1", why="test")
    client.set_registered_model_alias("iris", "challenger", "3")
    with pytest.raises(AliasConflictError, match=r"expected at version 2, and it is at version 3: no act"):
        mover.undo("iris", why="test")
    client.set_registered_model_alias("iris", "challenger", "1")
    with pytest.raises(ConfigError, match="before the act 2 already"):
        mover.undo("iris", why="test")


def test_of_many_movers_that_expect_the_same_one_wins(uri: str) -> None:
    """Eight threads want another version from the same start: one moves, seven are refused, one act is kept."""
    starts = threading.Barrier(8)
    client = mlflow.MlflowClient(uri, uri)

    def move(number: int) -> bool:
        mover = AliasMover(uri, client)
        starts.wait()
        try:
            return (
                mover.move("iris", "challenger", str(1 + number % 4), expect=None, why=f"{number}")
                is not None
            )
        except AliasConflictError:
            return False

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, moved in enumerate(pool.map(move, range(8))) if moved]
    (act,) = AliasMover(uri).read("iris").acts
    assert [str(number) for number in won] == [act.why]


def _climb(uri: str, rounds: int) -> None:
    """Move the alias one version on, round and round, each time from where it is."""
    mover = AliasMover(uri)
    for _ in range(rounds):
        act = None  # as it stays when another one moved it to the same version meanwhile
        while act is None:
            found = mover.read("iris").aliases.get("challenger")
            try:
                act = mover.move(
                    "iris", "challenger", str(int(found or 0) % 4 + 1), expect=found, why="climb"
                )
            except AliasConflictError:
                continue


@pytest.mark.slow
def test_no_move_of_several_processes_is_lost(uri: str) -> None:
    """Three processes make twenty moves: the history has twenty acts that follow from each other."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_climb, args=(uri, rounds)) for rounds in (7, 7, 6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    acts = AliasMover(uri).read("iris").acts
    assert [act.number for act in acts] == list(range(1, 21))
    positions = [None, *(act.changes[0].after for act in acts)]
    assert [act.changes[0].before for act in acts] == positions[:-1]


@pytest.mark.slow
@pytest.mark.parametrize("call", range(5))
def test_a_promotion_killed_at_any_call_is_finished_by_the_next_one(uri: str, call: int) -> None:
    """SIGKILL before each write: the lock is free, the same promotion again ends as if nothing had happened."""
    program = (
        "import os, signal, sys, mlflow\n"
        "from training.registering.alias_moves import AliasMover\n"
        "left = int(sys.argv[2])\n"
        "def guarded(method):\n"
        "    def call(*arguments):\n"
        "        global left\n"
        "        if left == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        left -= 1\n"
        "        return method(*arguments)\n"
        "    return call\n"
        "for name in ('set_registered_model_alias', 'delete_registered_model_alias', 'set_registered_model_tag'):\n"
        "    setattr(mlflow.MlflowClient, name, guarded(getattr(mlflow.MlflowClient, name)))\n"
        "AliasMover(sys.argv[1]).promote('iris', '2', expect='1', why='killed')\n"
    )
    mover = AliasMover(uri)
    mover.promote("iris", "1", expect=None, why="first")
    mover.move("iris", "challenger", "2", expect=None, why="test")
    command = [sys.executable, "-c", program, uri, str(call)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    mover.promote("iris", "2", expect="1", why="again")
    now = mover.read("iris")
    assert now.aliases == {"champion": "2", "previous": "1"}
    done = [change for act in now.acts if act.done for change in act.changes]
    assert AliasChange("champion", "1", "2") in done or any(not act.done for act in now.acts)


def test_commands_show_move_and_undo(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each writes what it did and where the aliases are, for people or as JSON."""
    assert aliases.main(["show"]) == 0
    assert capsys.readouterr().out == "iris has no aliases\n"
    assert aliases.main(["move", "champion", "1", "--expect", "none"]) == 0
    assert capsys.readouterr().out == "iris: act 1: champion none → 1\nchampion  models:/iris/1\n"
    assert aliases.main(["move", "champion", "2", "--why", "better"]) == 0
    assert "iris: act 2: previous none → 1, champion 1 → 2\n" in capsys.readouterr().out
    assert aliases.main(["move", "champion", "3", "--expect", "1"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "is at version 2" in shown.err
    assert "better (python -m training.aliases move)" in shown.err
    assert aliases.main(["undo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "model": "iris",
        "aliases": {"champion": "1"},
        "act": 3,
        "moved": [["champion", "2", "1"], ["previous", "1", None]],
    }


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["move", "champion", "x"], "'x' is no version"),
        (["move", "champion", "0"], "'0' is no version"),
        (["move", "champion"], "required: VERSION"),
        (["move", "latest", "1"], "'latest' cannot be an alias: use letters, digits"),
        (["move", "a b", "1"], "'a b' cannot be an alias"),
        ([], "required"),
    ],
)
def test_wrong_usage_is_told(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 before anything is asked of the registry."""
    with pytest.raises(SystemExit) as caught:
        aliases.main(arguments)
    assert caught.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_model_that_does_not_exist_is_answered_with_those_that_do(
    uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 and the names."""
    assert aliases.main(["show", "--name", "wine"]) == 2
    assert "no registered model 'wine'; there are: iris" in capsys.readouterr().err


def test_a_version_that_does_not_exist_is_wrong_usage(uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2 and the versions that there are."""
    assert aliases.main(["move", "challenger", "9", "--name", "iris"]) == 2
    assert "iris has no version 9; it has: 1, 2, 3, 4" in capsys.readouterr().err


def test_a_database_without_its_driver_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a defect: the module to install is named, and no password is."""
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(RegistryError, match=r"install the driver .*psycopg2") as caught:
        AliasMover("postgresql+psycopg2://user:hunter2@127.0.0.1:1/models").read("iris")
    assert "hunter2" not in str(caught.value)


def test_a_registry_that_does_not_exist_is_not_created(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """MLflow would make an empty one; we say that there is none."""
    assert aliases.main(["show"]) == 2
    assert "there is no registry at sqlite:///mlflow.db" in capsys.readouterr().err
    assert not (tmp_path / "mlflow.db").exists()


def test_the_model_is_the_one_of_the_environment_the_configuration_or_the_only_one(
    uri: str, client: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this order; where there are several and nothing names one, `show` looks and nothing moves."""
    monkeypatch.delenv("MLFLOW_MODEL_NAME", raising=False)
    client.rename_registered_model("iris", "risk")
    assert aliases.main(["move", "champion", "1"]) == 0
    assert capsys.readouterr().out == "risk: act 1: champion none → 1\nchampion  models:/risk/1\n"
    client.create_registered_model("churn")
    for act in (["undo"], ["move", "champion", "2"]):
        assert aliases.main(act) == 2
        assert "--name: the registry holds churn, risk; say which" in capsys.readouterr().err
    assert aliases.main(["show"]) == 2
    assert "there are: churn, risk" in capsys.readouterr().err
    Path("coalmine.toml").write_text("[dataset]\nsource = 'data/churn.csv'\ntarget = 'y'\n")
    assert aliases.main(["show"]) == 0
    assert capsys.readouterr().out == "churn has no aliases\n"
    Path("coalmine.toml").write_text("[model]\nname = 'risk'\n")
    assert aliases.main(["undo"]) == 0
    assert capsys.readouterr().out == "risk: act 2: champion 1 → none\n"
    monkeypatch.setenv("MLFLOW_MODEL_NAME", "churn")
    assert aliases.main(["show"]) == 0
    assert capsys.readouterr().out == "churn has no aliases\n"
    assert aliases.main(["show", "--name", "risk"]) == 0
    assert capsys.readouterr().out == "risk has no aliases\n"


def test_as_a_command(run: Callable[..., object]) -> None:
    """`python -m training.aliases --help` shows how it is used."""
    done = run("training.aliases", "--help")
    assert "python -m training.aliases move challenger 8" in done.stdout  # type: ignore[attr-defined]
