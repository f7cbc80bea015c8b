"""What the programs of the demo are given: looked at before a minute of work, refused with a sentence."""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rollout.demo import __main__ as demo
from rollout.demo import report, traffic
from rollout.demo.drift_monitor import start_drift_monitor
from rollout.demo.evidence import DriftRecord, RolloutRecord
from rollout.demo.story import StoryResult

Eventually = Callable[..., None]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--report", "/dev/null/x.html"], "/dev/null is no directory"),
        (["--report", "/"], "it is a directory"),
        (["--keep", "/dev/null"], "cannot be made a directory"),
        (["--keep", "/dev/null/x"], "cannot be made a directory"),
    ],
)
def test_a_place_that_cannot_be_written_is_wrong_usage_at_once(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 before anything is trained or started."""
    with pytest.raises(SystemExit, match="2"):
        demo.main(arguments)
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rows", "header.csv"], "it has no row with a feature"),
        (["--rows", "target.csv"], "it has no row with a feature"),
        (["--rows", "huge.csv"], "field larger than field limit"),
        (["--rows", "none.csv"], "No such file"),
        (["--rows", "rows.csv", "--log", "/dev/null/log"], "Not a directory"),
        (["--rows", "rows.csv", "--callers", "0"], "0 callers cannot be"),
        (["--rows", "rows.csv", "--callers", "-3"], "-3 callers cannot be"),
        (["--rows", "rows.csv", "--think", "-1"], "-1 seconds cannot be"),
        (["--rows", "rows.csv", "--think", "nan"], "nan is no finite number"),
        (["--rows", "rows.csv", "--shift", "inf"], "inf is no finite number"),
    ],
)
def test_traffic_refuses_what_it_cannot_send(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 2 and a short sentence, before the first call."""
    monkeypatch.chdir(tmp_path)
    Path("header.csv").write_text("a,b,y\n")
    Path("target.csv").write_text("y\nu\n")
    Path("huge.csv").write_text("a,y\n" + "1" * 200_000 + ",u\n")
    Path("rows.csv").write_text("a,y\n1,u\n")
    with pytest.raises(SystemExit, match="2"):
        traffic.main(arguments)
    error = capsys.readouterr().err
    assert words in error
    assert len(error) < 2000


def test_an_unexpected_end_is_told_in_words() -> None:
    """No name of a Python object stands in what people read."""
    quiet = {"alarm": {"any": False}}
    result = StoryResult(
        began=0.0,
        rollouts=[RolloutRecord("good"), RolloutRecord("bad")],
        drift=[DriftRecord(name, 0.0, 1.0, quiet) for name in ("normal", "shifted")],
    )
    sentences = report.unexpected(result)
    assert "the good challenger ended as no verdict, not promoted" in sentences
    assert not any("<" in sentence for sentence in sentences)


def test_the_answer_of_the_drift_monitor_is_told_in_figures() -> None:
    """Rows on both sides, and the p-value of each scope."""
    scopes = {"features": {"p_value": 0.0005}, "joint": {"p_value": 0.25}}
    answer = {"rows": 800, "reference_rows": 150, "alarm": {"any": True, "scopes": scopes}}
    record = DriftRecord("shifted", 0.0, 1.0, answer)
    assert record.verdict == "alarm"
    assert record.reason == "800 rows against 150 reference rows; p-values: features 0.0005, joint 0.25"


@pytest.mark.slow
def test_ctrl_c_while_the_drift_monitor_starts_ends_it(tmp_path: Path, eventually: Eventually) -> None:
    """It is a process of its own session, which Ctrl-C does not reach: its starter has to end it."""
    reference, log = tmp_path / "reference.csv", tmp_path / "drift.log"
    reference.write_text("feature_0,prediction,target\n" + "1.5,u,u\n2.5,v,v\n" * 50)

    def monitors() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                ours = str(reference) in process.environ().values() and process.cmdline()[-1:] == ["drift"]
                if ours and process.cpu_times().user > 0.1:  # at its imports, long after it was started
                    found.append(process)
            except psutil.Error:
                continue
        return found

    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        eventually(lambda: bool(monitors()))
        signal.pthread_kill(main, signal.SIGINT)

    watcher = threading.Thread(target=interrupt)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        start_drift_monitor(reference, tmp_path, 1.0, log)
    watcher.join()
    assert monitors() == []
