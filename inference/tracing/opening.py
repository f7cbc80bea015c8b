"""Reading the standard variables, without OpenTelemetry."""

from collections.abc import Mapping
from typing import Final, TextIO

from inference.tracing.sampling import sampling_of
from inference.tracing.spans import UNTRACED, Tracing
from telemetry import SettingsError

__all__ = ["open_tracing"]

#: Entry points of the protocols of OTLP.
_OTLP: Final = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_INSTALL: Final = "install the extra `otel` (pip install '.[otel]'), or unset the variable"


def open_tracing(environment: Mapping[str, str], stream: TextIO, *, track: str) -> Tracing:
    """Return what follows requests as `OTEL_*` of `environment` say; `stream` is where `console` writes.

    Raises `SettingsError` when they ask for what cannot be.
    """
    exporters = _exporters_of(environment)
    if not exporters:
        return UNTRACED
    try:
        sampling = sampling_of(
            environment.get("OTEL_TRACES_SAMPLER") or "parentbased_always_on",
            environment.get("OTEL_TRACES_SAMPLER_ARG", ""),
        )
    except ValueError as error:
        raise SettingsError([str(error)]) from None
    try:
        from inference.tracing.export import open_recording  # noqa: PLC0415  # an extra, and only when asked for

        return open_recording(exporters, sampling, environment, stream, track=track)
    except ImportError as error:
        raise _wanting(environment, f"{error.name or error} is not installed") from None
    except LookupError as error:
        raise _wanting(environment, f"there is no exporter {error.args[0]}") from None
    except ValueError as error:  # of the SDK, about a variable that it read itself
        raise SettingsError([f"OTEL_*: {error}"]) from None


def _exporters_of(environment: Mapping[str, str]) -> list[str]:
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    asked = [name.strip() for name in environment.get("OTEL_TRACES_EXPORTER", "").split(",")]
    return [_entry_of(name, environment) for name in asked if name not in ("", "none")]


def _entry_of(name: str, environment: Mapping[str, str]) -> str:
    if name != "otlp":
        return name
    variable = "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"
    if not environment.get(variable):
        variable = "OTEL_EXPORTER_OTLP_PROTOCOL"
    protocol = environment.get(variable) or "http/protobuf"
    if protocol not in _OTLP:
        raise SettingsError([f"{variable}: expected {' or '.join(_OTLP)} (found {protocol!r})"])
    return _OTLP[protocol]


def _wanting(environment: Mapping[str, str], reason: str) -> SettingsError:
    asked = environment.get("OTEL_TRACES_EXPORTER", "")
    return SettingsError([f"OTEL_TRACES_EXPORTER asks for {asked!r}, and {reason}: {_INSTALL}"])
