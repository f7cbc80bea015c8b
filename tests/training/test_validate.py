"""The command that validates: its page, its samples, and the table that was accepted before."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from training import validate
from training.configuration.sections import Config
from training.errors import ExitCode

Csv = Callable[[str], Path]


def rows(shift: int = 0, count: int = 200) -> str:
    return "a,c,y\n" + "".join(f"{i % 37 + shift},{'rst'[i % 3]},{'uv'[i % 2]}\n" for i in range(count))


def config(text: str = "") -> list[str]:
    Path("c.toml").write_text(f'[dataset]\nsource = "table.csv"\ntarget = "y"\n{text}')
    return ["--config", "c.toml"]


class Page(HTMLParser):
    """The texts of a page, and what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [f"{tag} {name}" for name, _ in attrs if name in {"src", "href", "srcset"}]


def test_page_of_a_valid_table_needs_nothing_else() -> None:
    """Verdict, digest, checks and features; nothing is loaded from anywhere; light and dark."""
    assert validate.main(["--sample", "--html", "report.html"]) == ExitCode.OK
    text = Path("report.html").read_text("utf-8")
    page = Page(text)
    assert "✓ The table satisfies its contract" in page.texts
    assert {"sepal_length", "4.3 to 7.9", "duplicates", "1 (0.6667 %)"} <= set(page.texts)
    assert page.loaded == []
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text


def test_page_of_a_refused_table_lists_rows(csv: Csv) -> None:
    """Row, column, value and rule, with whatever stands in the table shown as text and not as markup."""
    csv(rows().replace("5,t,v", "oops,<script>alert(1)</script>,v"))
    arguments = config('[contract.columns]\nc = { values = ["r", "s", "t"] }\n')
    assert validate.main([*arguments, "--html", "deep/report.html"]) == ExitCode.CONTRACT
    text = Path("deep/report.html").read_text("utf-8")
    page = Page(text)
    found = " ".join(page.texts)
    assert re.search(r"6 +c +'<script>alert\(1\)</script>' +must be one of r, s, t", found)
    assert re.search(r"6 +a +'oops' +must be a number", found)
    assert "<script" not in text
    assert "not checked" in page.texts
    assert not Path("data").exists()


def test_limit_lists_more_or_fewer(csv: Csv, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts stay those of all."""
    csv(rows().replace(",r,", ",,"))
    for limit in (3, 50):
        assert validate.main([*config(), "--json", "--limit", str(limit)]) == ExitCode.CONTRACT
        report = json.loads(capsys.readouterr().out)
        assert (len(report["violations"]), report["total_violations"]) == (limit, 67)


def test_sample_of_a_table_is_its_first_rows_and_is_not_written(
    csv: Csv, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part is never compared with, nor accepted as, the whole; where a place is named it is written there."""
    csv(rows().replace("36,r,u", "oops,r,u"))
    assert validate.main([*config(), "--sample", "30", "--json"]) == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert (report["rows"], report["part"], report["output"]) == (30, True, None)
    assert {check["name"] for check in report["checks"] if not check["checked"]} == {
        "split",
        "leakage",
        "drift",
    }
    assert not Path("data").exists()
    assert validate.main([*config(), "--sample", "30", "--output", "part.csv"]) == ExitCode.OK
    assert [path.name for path in Path().glob("part*")] == ["part.csv"]


def test_next_table_is_compared_with_the_accepted_one(csv: Csv, capsys: pytest.CaptureFixture[str]) -> None:
    """Drift is told; with a limit it is a violation, and the table accepted before stays."""
    csv(rows())
    assert validate.main(config()) == ExitCode.OK
    accepted = Path("data/processed/table.accepted.json").read_bytes()
    csv(rows(shift=30))
    limited = config("[contract]\nmax_drift = 0.25\n")
    assert validate.main([*limited, "--json"]) == ExitCode.CONTRACT
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["violations"][0]["column"] == "a"
    assert "may differ by at most 0.25 (PSI) from the table accepted at 20" in report["violations"][0]["rule"]
    assert report["drift"]["a"] > 1
    assert report["drift"]["c"] < 0.01
    assert Path("data/processed/table.accepted.json").read_bytes() == accepted
    assert validate.main(config()) == ExitCode.OK
    assert Path("data/processed/table.accepted.json").read_bytes() != accepted
    assert validate.main(limited) == ExitCode.OK


def test_parquet_stays_parquet_with_the_same_digest(csv: Csv, capsys: pytest.CaptureFixture[str]) -> None:
    """The digest is of the content: how a table is stored does not matter."""
    csv(rows())
    pd.read_csv("table.csv").to_parquet("table.parquet")
    digests = []
    for source in ("table.csv", "table.parquet"):
        assert validate.main(["--data", source, "--target", "y", "--json"]) == ExitCode.OK
        report = json.loads(capsys.readouterr().out)
        assert report["output"] == f"data/processed/{source}"
        digests.append(report["sha256"])
    assert digests[0] == digests[1]
    assert pd.read_parquet("data/processed/table.parquet").columns.tolist() == ["a", "c", "y"]


def test_output_is_a_directory_or_a_file() -> None:
    """The name of the table is used in a directory, and the record stands beside either."""
    assert validate.main(["--sample", "--output", "somewhere"]) == ExitCode.OK
    assert validate.main(["--sample", "--output", "flowers.parquet"]) == ExitCode.OK
    found = {str(path) for path in Path().rglob("*") if path.is_file()}
    assert found == {
        *("somewhere/iris.csv", "somewhere/iris.accepted.json"),
        *("flowers.parquet", "flowers.accepted.json"),
    }


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The schema of coalmine.toml, and nothing else."""
    assert validate.main(["--print-schema"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["properties"].keys() == Config.model_fields.keys()


@pytest.mark.parametrize("text", ["0", "-3", "ten", "9" * 30])
def test_wrong_number_of_rows_is_a_sentence(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """argparse exits 2."""
    with pytest.raises(SystemExit, match="2"):
        validate.main([f"--sample={text}"])
    assert "write a whole number above 0" in capsys.readouterr().err
