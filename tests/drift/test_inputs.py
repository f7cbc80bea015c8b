"""What an evaluation reads: a reference that changes or goes away, a log, and labels that come late."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from drift.errors import DriftError
from drift.inputs import Inputs
from drift.settings import Settings

EventLine = Callable[..., bytes]
NOW = 1_900_000_000.0
HEADER = "feature_0,feature_1,feature_2,feature_3,prediction"


@pytest.fixture
def inputs(tmp_path: Path, reference_csv: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Inputs]:
    """A function that makes inputs of a copy of the reference and a log, with further variables."""
    (tmp_path / "reference.csv").write_bytes(reference_csv.read_bytes())
    (tmp_path / "stable.log").touch()

    def make(**variables: str) -> Inputs:
        given = {
            "REFERENCE_DATASET_URI": str(tmp_path / "reference.csv"),
            "CURRENT_DATASET_URI": str(tmp_path / "stable.log"),
            "CURRENT_RANGE_MINUTES": str(10**8),
        }
        for name, value in (given | variables).items():
            monkeypatch.setenv(name, value)
        return Inputs(Settings())

    return make


def replace(path: Path, text: str) -> None:
    """Replace a file as programs do that write aside and rename."""
    aside = path.with_suffix(".aside")
    aside.write_text(text)
    os.replace(aside, path)


def test_a_reference_is_prepared_once_and_again_when_it_changes(
    inputs: Callable[..., Inputs], tmp_path: Path
) -> None:
    """The same file gives the same baseline; another one in its place another."""
    read = inputs()
    first, notes = read.baseline()
    assert (len(first.reference.rows), notes) == (150, ())
    assert read.baseline()[0] is first
    replace(tmp_path / "reference.csv", f"{HEADER}\n" + "1,2,3,4,setosa\n5,6,7,8,virginica\n" * 30)
    assert len(read.baseline()[0].reference.rows) == 60


def test_a_reference_that_goes_away_or_breaks_stays_as_it_was(
    inputs: Callable[..., Inputs], tmp_path: Path
) -> None:
    """A note says why; one that was never there is an error."""
    read = inputs()
    first, _ = read.baseline()
    replace(tmp_path / "reference.csv", f"{HEADER}\n")
    for _ in range(2):  # as long as it is so
        baseline, (note,) = read.baseline()
        assert baseline is first
        assert note.startswith("the reference stays as it was: Reference dataset is empty")
    (tmp_path / "reference.csv").unlink()
    baseline, (note,) = read.baseline()
    assert baseline is first
    assert "missing" in note
    with pytest.raises(DriftError, match="missing"):
        inputs().baseline()


def test_a_reference_that_the_methods_do_not_fit_is_said_as_long_as_it_is_there(
    inputs: Callable[..., Inputs], tmp_path: Path
) -> None:
    """It was read and cannot be used: the one in use stays, with a note at each evaluation."""
    read = inputs(DRIFT_METHODS="feature_3=psi")
    first, _ = read.baseline()
    replace(tmp_path / "reference.csv", "feature_0,prediction\n" + "1,setosa\n2,virginica\n" * 30)
    for _ in range(2):
        baseline, (note,) = read.baseline()
        assert baseline is first
        assert "DRIFT_METHODS names feature_3" in note


def test_a_reference_of_another_shape_takes_another_window(
    inputs: Callable[..., Inputs], tmp_path: Path, event_line: EventLine
) -> None:
    """Rows of the old shape are of no use; the log is read again, and those that fit count."""
    read = inputs()
    log = tmp_path / "stable.log"
    log.write_bytes(event_line() + event_line(features=[[1.0, 2.0]], predictions=["setosa"]))
    baseline, _ = read.baseline()
    rows = read.current(baseline, NOW).rows
    assert rows is not None
    assert rows.features.shape == (1, 4)
    replace(
        tmp_path / "reference.csv", "feature_0,feature_1,prediction\n" + "1,2,setosa\n3,4,virginica\n" * 30
    )
    baseline, _ = read.baseline()
    rows = read.current(baseline, NOW).rows
    assert rows is not None
    assert rows.features.tolist() == [[1.0, 2.0]]


def test_labels_are_joined_and_their_absence_is_a_note(
    inputs: Callable[..., Inputs], tmp_path: Path, event_line: EventLine
) -> None:
    """Rows whose label has come have a target; without the file the evaluation goes on."""
    read = inputs(LABELS_URI=str(tmp_path / "labels.csv"))
    log = tmp_path / "stable.log"
    log.write_bytes(event_line(event_id="a") + event_line(event_id="b"))
    baseline, _ = read.baseline()
    current = read.current(baseline, NOW)
    assert current.rows is not None
    assert current.rows.targets is None
    assert current.notes[0].startswith("labels cannot be read: Labels dataset is missing")
    (tmp_path / "labels.csv").write_text("event_id,label\nb,virginica\nc,setosa\n")
    current = read.current(baseline, NOW)
    assert current.rows is not None
    assert current.rows.targets is not None
    assert sorted(map(str, current.rows.targets)) == ["None", "virginica"]
    assert current.notes == ()
