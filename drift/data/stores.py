"""Opens object stores with obstore, by the variables that the stores' own tools know.

AWS: AWS_ACCESS_KEY_ID and its like, AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL(_S3), web identities, and roles of
containers and machines. Azure: AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME with a key, a SAS
token or an identity (AZURE_CLIENT_ID …). Google: GOOGLE_APPLICATION_CREDENTIALS, the login of gcloud, the service
account of the machine, STORAGE_EMULATOR_HOST.
"""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from obstore.store import AzureStore, GCSStore, S3Store

from drift.data.aws_profile import read_profile
from drift.data.location import Location
from drift.errors import UnreadableObjectError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

__all__ = ["CREDENTIALS", "ENDPOINTS", "open_store"]

#: One request, the answer's body included, may take so long. A request whose answer does not come ends after this, and
#: once more this when a first try failed late; looking for credentials beforehand may cost the same: 28 s in all.
_REQUEST_SECONDS: Final = 8
_RETRY_SECONDS: Final = 6
_CONNECT_SECONDS: Final = 4
#: Errors that come at once (a 503, a closed connection) are tried again so often, within `_RETRY_SECONDS`.
_RETRIES: Final = 3

#: What to check when a store refuses, or knows nobody.
CREDENTIALS: Final = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
#: What to check when a store does not answer.
ENDPOINTS: Final = {
    "s3": "AWS_ENDPOINT_URL",
    "gs": "STORAGE_EMULATOR_HOST",
    "az": "AZURE_STORAGE_CONNECTION_STRING or AZURE_STORAGE_ENDPOINT",
}


def open_store(location: Location) -> "ObjectStore":
    """Return the store of a location; nothing is asked of it yet. Raises `UnreadableObjectError`."""
    return {"s3": _amazon, "gs": _google, "az": _azure}[str(location.store)](location)


def _amazon(location: Location) -> "ObjectStore":
    given = _first("AWS_ACCESS_KEY_ID") or _first("AWS_WEB_IDENTITY_TOKEN_FILE")
    options: dict[str, Any] = {} if given else dict(read_profile())
    if _first("AWS_EC2_METADATA_DISABLED").lower() == "true" and not _knows_somebody(options):
        raise _nobody(location)
    options |= _given(
        endpoint=_first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        region=_first("AWS_REGION", "AWS_DEFAULT_REGION"),
    )
    return S3Store(location.bucket, client_options=_client(options), retry_config=_retries(), **options)


def _knows_somebody(options: Mapping[str, str]) -> bool:
    # With AWS_SKIP_SIGNATURE a bucket that everybody may read is read.
    sources = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
    containers = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    return "access_key_id" in options or any(os.environ.get(name) for name in sources + containers)


def _google(location: Location) -> "ObjectStore":
    options: dict[str, Any] = {}
    emulator, key_file = _first("STORAGE_EMULATOR_HOST"), _first("GOOGLE_APPLICATION_CREDENTIALS")
    if emulator:  # Google's libraries take it without a scheme as well, and sign nothing
        address = emulator if "://" in emulator else f"http://{emulator}"
        options = {"base_url": address.rstrip("/"), "skip_signature": True}
    elif key_file and not Path(key_file).is_file():
        reason = "cannot be read, GOOGLE_APPLICATION_CREDENTIALS names a file that does not exist"
        raise UnreadableObjectError(str(location), reason, "correct it, or unset it")
    return GCSStore(location.bucket, client_options=_client(options), retry_config=_retries(), **options)


def _azure(location: Location) -> "ObjectStore":
    text = _first("AZURE_STORAGE_CONNECTION_STRING")
    options: dict[str, Any] = _connection(text) if text else _azure_variables()
    if "account_name" not in options:
        raise _nobody(location)
    return AzureStore(location.bucket, client_options=_client(options), retry_config=_retries(), **options)


def _azure_variables() -> dict[str, str]:
    # The second of each is what Azure's command line knows.
    return _given(
        account_name=_first("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"),
        account_key=_first("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_KEY"),
        endpoint=_first("AZURE_STORAGE_ENDPOINT"),
    )


def _connection(text: str) -> dict[str, str]:
    """Return what a connection string says, in obstore's words."""
    parts = dict(part.partition("=")[::2] for part in text.split(";") if part)
    account = parts.get("AccountName", "")
    suffix = parts.get("EndpointSuffix", "core.windows.net")
    protocol = parts.get("DefaultEndpointsProtocol", "https")
    endpoint = parts.get("BlobEndpoint") or f"{protocol}://{account}.blob.{suffix}"
    if not account:  # one with a SAS token may leave the account to the host of the endpoint
        account = endpoint.partition("://")[2].partition(".")[0]
    return _given(
        account_name=account,
        account_key=parts.get("AccountKey", ""),
        sas_key=parts.get("SharedAccessSignature", ""),
        endpoint=endpoint.rstrip("/"),
    )


def _first(*variables: str) -> str:
    """Return the first of these variables that is set, else nothing."""
    return next((os.environ[name] for name in variables if os.environ.get(name)), "")


def _given(**options: str) -> dict[str, str]:
    return {name: value for name, value in options.items() if value}


def _nobody(location: Location) -> UnreadableObjectError:
    reason = "cannot be read, no usable credentials were found for its store"
    return UnreadableObjectError(str(location), reason, f"set {CREDENTIALS[str(location.store)]}")


def _client(options: Mapping[str, str]) -> "ClientConfig":
    return {
        "timeout": f"{_REQUEST_SECONDS}s",
        "connect_timeout": f"{_CONNECT_SECONDS}s",
        # Whoever writes http:// means it; obstore would ask for a variable of its own.
        "allow_http": str(options.get("endpoint") or options.get("base_url", "")).startswith("http://"),
    }


def _retries() -> "RetryConfig":
    backoff = {"init_backoff": timedelta(seconds=0.2), "max_backoff": timedelta(seconds=1), "base": 2}
    return {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=_RETRY_SECONDS), "backoff": backoff}  # type: ignore[typeddict-item]
