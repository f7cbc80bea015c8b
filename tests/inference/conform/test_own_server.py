"""Our own server conforms."""

import json

import pytest

from inference.conform.command import main

TOKEN = "a-token"
#: Our models take one tensor, of any name, so that one of several cannot be missing or misnamed.
ONE_INPUT = {"errors.input", "errors.unknown_input"}


@pytest.mark.parametrize("options", [{}, {"regression": True}, {"integers": 2}])
def test_own_server_conforms(
    make_service: object,
    make_bundle: object,
    options: dict[str, object],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every point passes, the optional ones too, for classification, regression and whole numbers."""
    monkeypatch.setenv("ADMIN_API_TOKEN", TOKEN)
    running = make_service(make_bundle(**options), admin_api_token=TOKEN)
    capsys.readouterr()
    url = str(running.http.base_url)
    code = main([running.address, "--json", "--admin-token-env", "ADMIN_API_TOKEN", "--http", url])
    said = capsys.readouterr().out  # the server of this process logs there too
    points = json.loads(said[said.index("{\n") :])["points"]
    assert [point for point in points if point["outcome"] == "fail"] == []
    assert {point["id"] for point in points if point["outcome"] == "skipped"} == ONE_INPUT
    assert code == 0
