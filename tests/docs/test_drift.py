"""What docs/drift.md names is what the monitor has, and the reverse: metrics, variables, fields of answers."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from drift.evaluation import Evaluation
from drift.service.metrics import DriftMetrics
from drift.service.run import AlarmRun, ColumnRun, Run, ScopeRun
from drift.settings import Settings
from inference.settings import Settings as ServerSettings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "drift.md").read_text(encoding="utf-8")
#: Variables of the stores' own tools, which are read where the stores are opened.
OF_STORES = ("AWS_", "AZURE_", "GOOGLE_", "STORAGE_")


def test_the_table_of_metrics_is_complete() -> None:
    """Each metric that is served stands in the table, and no other one, with its name in full."""
    table = TEXT.partition("| metric | meaning |\n|---|---|\n")[2].partition("\n\n")[0]
    named = {
        name
        for line in table.splitlines()
        for name in re.findall(r"`(\w+)(?:\{[\w,]+\})?`", line.split(" | ")[0])
    }
    served = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in DriftMetrics().collect()
    }
    assert named == served


def test_metrics_of_the_text_exist() -> None:
    """What is named between the tables is served as well, or begins names that are."""
    served = " ".join(family.name for family in DriftMetrics().collect())
    for name in re.findall(r"`((?:evidently|drift_monitor)_\w+)", TEXT):
        assert name.removesuffix("_total") in served, name


def test_variables_are_settings() -> None:
    """Those of the monitor and of the server are fields of their settings, those of the stores are read for them."""
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z0-9]+)+\b", TEXT))
    of_stores = {name for name in named if name.startswith(OF_STORES)}
    known = Settings.model_fields.keys() | ServerSettings.model_fields.keys()
    assert named - of_stores <= {name.upper() for name in known}
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "drift" / "data").glob("*.py"))
    assert all(f'"{name}"' in source for name in of_stores)


@pytest.mark.parametrize("part", [Run, AlarmRun, ScopeRun, ColumnRun, Evaluation])
def test_the_fields_of_a_run_are_all_named(part: type) -> None:
    """Who reads the history, or what a refresh answers, from a program finds each field."""
    begin = TEXT.index("A run of the history has")
    section = TEXT[begin : TEXT.index("\n## ", begin)]
    assert {field.name for field in fields(part)} <= set(re.findall(r"`(\w+)`", section))
