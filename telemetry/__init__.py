"""What every long-running process of Coalmine shares, and nothing of its business.

A process starts by reading its environment (`load_settings`), turns its output into one JSON object a line
(`configure_logging`), binds its ports before it promises them (`HttpServer`), answers scrapes
(`render_metrics`), carries the caller's correlation id into its log lines (`correlation_id`), and ends on
signals the same way everywhere (`StopSignals`: the first drains, the second ends at once).
"""

from telemetry.correlation import CORRELATION_HEADERS, choose_correlation_id, correlation_id
from telemetry.environment import SettingsError, load_settings
from telemetry.exposition import render_metrics
from telemetry.http_server import HttpServer, PortInUseError
from telemetry.lifecycle import FLUSH_SECONDS, TRACE_FLUSH_SECONDS, StopSignals
from telemetry.logs import LogFormat, configure_logging

__all__ = [
    "CORRELATION_HEADERS",
    "FLUSH_SECONDS",
    "TRACE_FLUSH_SECONDS",
    "HttpServer",
    "LogFormat",
    "PortInUseError",
    "SettingsError",
    "StopSignals",
    "choose_correlation_id",
    "configure_logging",
    "correlation_id",
    "load_settings",
    "render_metrics",
]
