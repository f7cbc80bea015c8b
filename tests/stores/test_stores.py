"""Tables at az:// and gs://, by emulators of the real stores."""

import pytest

from tests.stores.conftest import KEY, ROWS, connection_string
from training import validate
from training.data.sources import local_file
from training.errors import DatasetError, ExitCode

#: Slow where nothing answers: the libraries try for a while.
pytestmark = pytest.mark.slow


@pytest.fixture(params=["az", "gs"])
def scheme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One store after the other, found by its own variable."""
    if request.param == "az":
        port = request.getfixturevalue("azure")
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection_string(port))
    else:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("google"))
    return str(request.param)


def refused(uri: str) -> DatasetError:
    with pytest.raises(DatasetError) as caught, local_file(uri):
        pass
    assert KEY not in str(caught.value)
    return caught.value


def test_table_is_fetched(scheme: str) -> None:
    """Byte for byte; the copy vanishes."""
    with local_file(f"{scheme}://shop/tables/t.csv") as path:
        assert path.read_bytes() == ROWS
    assert not path.exists()


def test_table_is_validated_by_the_command(scheme: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From the store to data/processed."""
    assert validate.main(["--data", f"{scheme}://shop/tables/t.csv", "--target", "y"]) == ExitCode.OK
    assert "valid: data/processed/t.csv" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["shop/tables/u.csv", "mall/t.csv", "shop/tables"])
def test_what_is_not_there_is_wrong_usage(scheme: str, path: str) -> None:
    """An object, a container, a folder."""
    error = refused(f"{scheme}://{path}")
    assert "there is no such object or bucket (404)" in str(error)
    assert error.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (
            "AAAA" + KEY[4:],
            "its store refuses these credentials (403); check AZURE_STORAGE_CONNECTION_STRING",
        ),
        (None, "no usable credentials were found for its store; set AZURE_STORAGE_CONNECTION_STRING"),
    ],
)
def test_wrong_credentials_are_infrastructure(
    azure: int, monkeypatch: pytest.MonkeyPatch, key: str | None, reason: str
) -> None:
    """Wrong or absent: the variables are named, their values are not."""
    if key is not None:
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection_string(azure, key))
    error = refused("az://shop/tables/t.csv")
    assert reason in str(error)
    assert error.exit_code == ExitCode.INFRASTRUCTURE


@pytest.mark.parametrize(
    ("store", "variable", "value"),
    [
        ("az", "AZURE_STORAGE_CONNECTION_STRING", connection_string(1)),
        ("gs", "STORAGE_EMULATOR_HOST", "http://127.0.0.1:1"),
    ],
)
def test_store_that_does_not_answer_is_infrastructure(
    monkeypatch: pytest.MonkeyPatch, store: str, variable: str, value: str
) -> None:
    """Given up after a quarter of a minute, whatever its library would do."""
    monkeypatch.setenv(variable, value)
    error = refused(f"{store}://shop/tables/t.csv")
    assert f"its store does not answer; check the network and {variable}" in str(error)
    assert error.exit_code == ExitCode.INFRASTRUCTURE
