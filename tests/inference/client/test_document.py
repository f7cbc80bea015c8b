"""docs/client.md does what it says."""

import re
from pathlib import Path

import pytest

from inference import client

TEXT = (Path(__file__).parents[3] / "docs" / "client.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_block_runs(
    running: object, mixed: object, block: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against a real server, each on its own, printing what it prints."""
    server = mixed if "plan" in block else running
    assert "127.0.0.1:50051" in block or "models.example" in block
    exec(compile(block.replace("127.0.0.1:50051", server.address), "client.md", "exec"), {})  # noqa: S102  # ours
    assert ("print(" in block) == bool(capsys.readouterr().out)


def test_every_error_is_explained() -> None:
    """The table has each class that a caller may catch."""
    names = {name for name in client.__all__ if name.endswith("Error")}
    assert {name for name in names if f"`{name}`" in TEXT} == names
