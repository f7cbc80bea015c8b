"""What the fetching process is told and answers survives the way through JSON."""

from dataclasses import replace
from pathlib import Path

import pytest

from inference.artifacts import Credentials
from inference.artifacts.exchange import Reply, Request, decode_reply, encode_error
from inference.errors import (
    BundleError,
    CacheError,
    InferenceError,
    ModelNotFoundError,
    RegistryError,
    RegistryUnavailableError,
)


def test_request_round_trip() -> None:
    """A request is the same after the way."""
    request = Request("models:/iris/1", "http://host", Path("/cache"), Credentials("a", "b", "c"), 1.5)
    assert Request.from_json(request.to_json()) == request
    full = replace(request, max_cache_bytes=9, signature_required=True, allow_pickle=True, memory_bytes=7)
    assert Request.from_json(full.to_json()) == full


def test_reply_round_trip() -> None:
    """A reply is the same after the way, in one line."""
    reply = Reply("iris", "1", "a" * 64, "3.17.2", "line\nbreak", "state")
    assert decode_reply(reply.to_json()) == reply
    assert "\n" not in reply.to_json()


@pytest.mark.parametrize(
    "error",
    [
        ModelNotFoundError("u", "r", existing="e", remedy="m"),
        RegistryError("a sentence"),
        RegistryUnavailableError("host", "why"),
        BundleError("b", "r", "m"),
        CacheError("d", "r"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_error_round_trip(error: InferenceError) -> None:
    """An error is raised again as the same class with the same attributes and sentence."""
    with pytest.raises(type(error)) as caught:
        decode_reply(encode_error(error, str))
    assert type(caught.value) is type(error)
    assert str(caught.value) == str(error)
    assert vars(caught.value) == vars(error)


def test_redaction() -> None:
    """Secrets are taken out of the attributes, not of the sentence only."""
    line = encode_error(
        RegistryUnavailableError("host", "bad pass-word"), lambda text: text.replace("pass-word", "***")
    )
    assert "pass-word" not in line


@pytest.mark.parametrize("line", ["", "{", "[]", "3", "{}", '{"error": "KeyboardInterrupt"}', '{"name": 1}'])
def test_no_answer(line: str) -> None:
    """Anything else is no answer."""
    with pytest.raises(ValueError):  # noqa: PT011 (JSON's own errors among them)
        decode_reply(line)
