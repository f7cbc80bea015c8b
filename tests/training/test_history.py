"""The history of aliases: what is written, what is read back, and what nobody recorded."""

import json
from datetime import UTC, datetime
from pathlib import Path

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import history
from training.registering.alias_history import Act, AliasChange, next_number, read_acts, unrecorded_moves
from training.registering.alias_moves import AliasMover
from training.registering.database import prepare_sqlite

NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def act(number: int, *changes: tuple[str, str | None, str | None], done: bool = True) -> Act:
    return Act(number, NOW, tuple(AliasChange(*change) for change in changes), "ada@host", "test", done=done)


def tags(*acts: Act) -> dict[str, str]:
    return {one.key: one.to_text() for one in acts}


versions = st.none() | st.integers(1, 9999).map(str)


@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=255), versions, versions), max_size=4),
    st.text(max_size=2000),
    st.text(max_size=2000),
    st.booleans(),
    st.none() | st.integers(1, 10**6),
)
def test_an_act_survives_its_tag(
    changes: list[tuple[str, str | None, str | None]], who: str, why: str, done: bool, undoes: int | None
) -> None:
    """Any text comes back, cut where it is too long; the tag fits into what every MLflow 2 and 3 takes."""
    written = Act(
        7, NOW, tuple(AliasChange(*change) for change in changes), who, why, done=done, undoes=undoes
    )
    (found,) = read_acts(tags(written))
    assert (found.changes, found.done, found.undoes) == (written.changes, done, undoes)
    assert (found.who, found.why) == (who[:200], why[:600])
    assert len(written.key) <= 250
    assert len(written.to_text()) <= 5000


def test_acts_come_in_their_order_and_tags_of_others_are_left_alone() -> None:
    """By number; a tag that somebody edited by hand is no act, and its number is not given again."""
    found = {
        **tags(act(10, ("champion", "1", "2")), act(2, ("champion", None, "1"))),
        "owner": "ada",
        "coalmine.history.000011.abcdef01": "edited",
        "coalmine.history.x.y": "{}",
        "coalmine.history.": "{}",
    }
    assert [one.number for one in read_acts(found)] == [2, 10]
    assert next_number(found) == 12
    assert next_number({}) == 1


@pytest.mark.parametrize(
    ("acts", "aliases", "expected"),
    [
        ([], {}, []),
        ([], {"champion": "2"}, [(None, "champion none → 2")]),
        ([act(1, ("champion", None, "1"))], {"champion": "1"}, []),
        ([act(1, ("champion", None, "1"))], {"champion": "3"}, [(None, "champion 1 → 3")]),
        ([act(1, ("champion", None, "1"))], {}, [(None, "champion 1 → none")]),
        (
            [act(1, ("champion", None, "1")), act(2, ("champion", "5", "6"))],
            {"champion": "6"},
            [(2, "champion 1 → 5")],
        ),
        ([act(1, ("champion", None, "1"), done=False)], {"champion": "1"}, []),
        ([act(1, ("champion", None, "1"), done=False)], {}, []),
        (
            [act(1, ("champion", None, "1"), done=False), act(2, ("champion", None, "2"))],
            {"champion": "2"},
            [],
        ),
    ],
)
def test_moves_that_nobody_recorded_are_found(
    acts: list[Act], aliases: dict[str, str], expected: list[tuple[int | None, str]]
) -> None:
    """Between acts and after the last one; what was begun and not confirmed may have happened or not."""
    assert [(number, str(change)) for number, change in unrecorded_moves(acts, aliases)] == expected


@pytest.fixture
def mover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AliasMover:
    """Moves aliases of iris, versions 1 to 3, in a real registry that the environment names."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    prepare_sqlite(uri)
    client = mlflow.MlflowClient(uri, uri)
    client.create_registered_model("iris")
    for _ in range(3):
        client.create_model_version("iris", source=str(tmp_path))
    return AliasMover(uri, client)


@pytest.mark.slow
def test_the_command_tells_what_was_champion_when_and_why(
    mover: AliasMover, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Each move in a line with who and why, an undo with what it undoes, and moves behind our back where they show."""
    assert history.main([]) == 0
    assert capsys.readouterr().out == "no alias of iris was ever moved\n"
    mover.promote("iris", "1", expect=None, why="the first one")
    mover.promote("iris", "2", expect="1", why="rollout 42: every step passed")
    mover.undo("iris", why="complaints")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.MlflowClient(uri, uri).set_registered_model_alias("iris", "champion", "3")
    assert history.main(["--alias", "champion"]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.rstrip() == "iris: moves of its aliases"
    assert lines[0].split() == ["act", "when", "(UTC)", "alias", "from", "to", "who", "why"]
    assert lines[1].rstrip().endswith("the first one")
    assert "rollout 42: every step passed" in lines[2]
    assert "undoes act 2; complaints" in lines[3]
    assert "moved by nobody who keeps this history" in lines[4]
    assert len(lines) == 5
    assert history.main(["--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["aliases"] == {"champion": "3"}
    moves = [(move["act"], move["alias"], move["from"], move["to"]) for move in told["moves"]]
    assert moves == [
        (1, "champion", None, "1"),
        (2, "previous", None, "1"),
        (2, "champion", "1", "2"),
        (3, "champion", "2", "1"),
        (3, "previous", "1", None),
        (None, "champion", "1", "3"),
    ]


def test_a_model_that_does_not_exist_is_wrong_usage(
    mover: AliasMover, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, with the models that there are."""
    assert history.main(["--name", "wine"]) == 2
    assert "there are: iris" in capsys.readouterr().err
