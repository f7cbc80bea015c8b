"""Model URIs are understood as MLflow understands them."""

import pytest

from inference.artifacts.model_uri import ModelUri, UriKind, parse_model_uri
from inference.errors import ModelNotFoundError


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("models:/iris/7", ModelUri(UriKind.VERSION, "iris", "7")),
        ("models:/iris/007", ModelUri(UriKind.VERSION, "iris", "7")),
        ("models:/iris@champion", ModelUri(UriKind.ALIAS, "iris", "champion")),
        ("models:/a@b@champion", ModelUri(UriKind.ALIAS, "a@b", "champion")),
        ("models:/my iris@champion", ModelUri(UriKind.ALIAS, "my iris", "champion")),
        ("models:/iris/latest", ModelUri(UriKind.LATEST, "iris", "latest")),
        ("models:/iris/Latest", ModelUri(UriKind.LATEST, "iris", "latest")),
        ("models:/iris/production", ModelUri(UriKind.STAGE, "iris", "Production")),
        ("models:/iris/STAGING", ModelUri(UriKind.STAGE, "iris", "Staging")),
        ("models:/iris/Archived", ModelUri(UriKind.STAGE, "iris", "Archived")),
        ("models:/iris/None", ModelUri(UriKind.STAGE, "iris", "None")),
        ("runs:/0ff8c011cf39/model", ModelUri(UriKind.RUN, "0ff8c011cf39", "model")),
        ("runs:/0ff8c011cf39/deep/model/", ModelUri(UriKind.RUN, "0ff8c011cf39", "deep/model")),
    ],
)
def test_accepted(text: str, uri: ModelUri) -> None:
    """Each accepted form gives its parts, and its one spelling parses to itself."""
    assert parse_model_uri(text) == uri
    assert parse_model_uri(str(uri)) == uri


@pytest.mark.parametrize(
    "text",
    [
        *("", "iris", "models:/", "models:/iris", "models:/iris@", "models:/@champion", "models:/iris/"),
        *("models://x/7", "models:/iris/7/8", "models:/iris/best", "models:/iris/-1", "models:/iris/٧"),
        *("runs:/", "runs:/x", "runs:/x/../y", "runs:/a b/model", "s3://bucket/key"),
    ],
)
def test_refused(text: str) -> None:
    """Everything else is refused with the list of the forms."""
    with pytest.raises(ModelNotFoundError, match=r"models:/name/7, models:/name@alias.*runs:/run-id/path"):
        parse_model_uri(text)
