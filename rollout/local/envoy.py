"""A running Envoy: start it, tell it weights and addresses, read back what it uses and what it counted."""

import json
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import BaseModel, ConfigDict

from rollout.counters import Counters, Histogram, TrackCounters
from rollout.errors import InfrastructureError, UsageError
from rollout.local import envoy_config
from rollout.local.envoy_config import EnvoyPaths, Upstream
from rollout.local.processes import (
    ProcessRecord,
    ended,
    server_environment,
    start_detached,
    stop,
)
from rollout.state import write_durably

__all__ = ["Envoy", "require_free_port", "require_port", "start_envoy"]

#: How long Envoy may take to use a new file; it takes milliseconds.
_CONFIRM_SECONDS: Final = 10.0

_START_SECONDS: Final = 30.0

_LAST_PORT: Final = 65535

#: Where each track's calls are counted: the leg that the weight sends them to.
_LEGS: Final = {"stable": "stable", "canary": "canary_or_stable"}

_COUNTER = re.compile(
    r"cluster\.(stable|canary_or_stable)\."
    r"(?:grpc\.inference\.v1\.InferenceService\.Predict\.(total|failure)|upstream_rq_(retry_success))"
)
_HISTOGRAM = re.compile(
    r"cluster\.(stable|canary_or_stable)\.grpc\.inference\.v1\.InferenceService\.Predict\.upstream_rq_time"
)


class Envoy(BaseModel):
    """An Envoy of ours, as the stack records it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    process: ProcessRecord
    directory: str
    host: str
    port: int
    admin: str

    @property
    def name(self) -> str:
        """What people call it."""
        return "Envoy"

    @property
    def paths(self) -> EnvoyPaths:
        """Its files."""
        return EnvoyPaths(Path(self.directory))

    @property
    def address(self) -> str:
        """Where clients call."""
        return f"{self.host}:{self.port}"

    def set_weight(self, weight: int, version: str) -> None:
        """Send `weight` percent to the canary leg; wait until Envoy does. Raises `InfrastructureError`."""
        write_durably(self.paths.routes, json.dumps(envoy_config.routes(weight, version)))
        self._confirm("http.ingress_grpc.rds.local", version, f"weight {weight} %")

    def set_upstreams(self, stable: Upstream, canary: Upstream | None, version: str) -> None:
        """Set the addresses and wait until Envoy uses them. Raises `InfrastructureError`."""
        write_durably(self.paths.clusters, json.dumps(envoy_config.clusters(stable, canary, version)))
        self._confirm("cluster_manager.cds", version, "the addresses of stable and canary")

    def healthy(self, track: str) -> bool:
        """Tell whether Envoy finds the track's server healthy. Raises `InfrastructureError`."""
        name = f"cluster.{track}.membership_healthy"
        return self._statistics(f"^{re.escape(name)}$").get(name) == 1

    def wait_until_healthy(self, track: str, seconds: float = _CONFIRM_SECONDS) -> None:
        """Wait until Envoy sends calls to the track's server. Raises `InfrastructureError`."""
        deadline = time.monotonic() + seconds
        while not self.healthy(track):
            if time.monotonic() > deadline:
                raise InfrastructureError(
                    f"Envoy does not find the {track} server healthy within {seconds:g} s; "
                    f"its log is {self.paths.log}"
                )
            time.sleep(0.02)

    def read_counters(self) -> Counters:
        """Read the calls that each weight leg got. Raises `InfrastructureError`.

        A call counts as an error when its gRPC status was not OK, or when only the retry on stable saved it.
        """
        counted = self._statistics(_COUNTER.pattern)
        histograms = self._histograms()
        tracks = {}
        for track, leg in _LEGS.items():
            prefix = f"cluster.{leg}.grpc.inference.v1.InferenceService.Predict"
            requests = counted.get(f"{prefix}.total", 0)
            saved = counted.get(f"cluster.{leg}.upstream_rq_retry_success", 0)
            errors = min(requests, counted.get(f"{prefix}.failure", 0) + saved)
            tracks[track] = TrackCounters(requests, errors, histograms.get(leg, _no_calls()))
        return Counters(tracks["stable"], tracks["canary"])

    def stop(self) -> None:
        """End Envoy and its owner."""
        stop(self.process, 10)

    def _confirm(self, source: str, version: str, what: str) -> None:
        deadline = time.monotonic() + _CONFIRM_SECONDS
        name = f"{source}.version_text"
        while True:
            if self._statistics(f"^{re.escape(name)}$").get(name) == version:
                return
            if time.monotonic() > deadline:
                refused = self._statistics(rf"^{re.escape(source)}\.update_(rejected|failure)$")
                raise InfrastructureError(
                    f"Envoy does not use {what} (version {version}) after {_CONFIRM_SECONDS:g} s; it refused "
                    f"{sum(refused.values())} files; its log is {self.paths.log}"
                )
            time.sleep(0.005)

    def _statistics(self, pattern: str) -> dict[str, Any]:
        answer = self._get("/stats", {"filter": pattern, "format": "json"})
        return {stat["name"]: stat["value"] for stat in answer.json()["stats"] if "name" in stat}

    def _histograms(self) -> dict[str, Histogram]:
        query = {"filter": _HISTOGRAM.pattern, "format": "json", "histogram_buckets": "disjoint"}
        found = {}
        for stat in self._get("/stats", query).json()["stats"]:
            for histogram in stat.get("histograms", []):
                match = _HISTOGRAM.fullmatch(histogram["name"])
                if match:
                    found[match.group(1)] = _histogram(histogram["buckets"])
        return found

    def _get(self, path: str, query: dict[str, str]) -> httpx.Response:
        try:
            return _ask(self.admin, path, query, 5).raise_for_status()
        except httpx.HTTPError as error:
            raise InfrastructureError(
                f"Envoy's admin interface at {self.admin} does not answer ({error}); its log is "
                f"{self.paths.log}; `invoke stack-down` then `invoke stack-up` starts it again"
            ) from None


def start_envoy(
    binary: Path,
    paths: EnvoyPaths,
    stable: Upstream,
    *,
    host: str,
    port: int,
    on_start: Callable[[ProcessRecord], None] = lambda _process: None,
) -> Envoy:
    """Start an Envoy that sends every call to `stable`; `on_start` learns of it before it is ready.

    Raises `UsageError` or `InfrastructureError`; nothing is left running then.
    """
    require_free_port(host, port)
    paths.admin_address.unlink(missing_ok=True)
    write_durably(paths.bootstrap, json.dumps(envoy_config.bootstrap(paths, host=host, port=port)))
    write_durably(paths.routes, json.dumps(envoy_config.routes(0, "start")))
    write_durably(paths.clusters, json.dumps(envoy_config.clusters(stable, None, "start")))
    # By its path: as a module it would import all of this package, for nothing.
    owner = Path(__file__).with_name("envoy_owner.py")
    command = [sys.executable, str(owner), str(binary), "-c", str(paths.bootstrap)]
    command += ["--disable-hot-restart", "--admin-address-path", str(paths.admin_address), "-l", "warning"]
    record = start_detached(command, server_environment(), paths.log, on_start=on_start)
    try:
        admin = _wait_until_live(record, paths)
        envoy = Envoy(
            process=record,
            directory=str(paths.directory),
            host=host,
            port=_listener_port(admin),
            admin=admin,
        )
        envoy.wait_until_healthy("stable")
    except BaseException:  # also Ctrl-C: an Envoy that nobody knows of must not stay
        stop(record, 5)
        raise
    return envoy


def require_port(port: int) -> None:
    """Raise `UsageError` for a number that is no port."""
    if not 0 <= port <= _LAST_PORT:
        raise UsageError(
            f"--port {port} is no port: ports are 1 to {_LAST_PORT}, and 0 lets the system choose"
        )


def require_free_port(host: str, port: int) -> None:
    """Raise `UsageError` when nothing can listen on `port`, with what to do."""
    require_port(port)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UsageError(
                f"Envoy cannot listen on {host}:{port}: {error.strerror}; stop what listens there, or choose "
                "another port with --port (0 lets the system choose)"
            ) from None


def _wait_until_live(record: ProcessRecord, paths: EnvoyPaths) -> str:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        code = ended(record)
        if code is not None:
            tail = paths.log.read_text(errors="replace").strip().splitlines()[-1:]
            reason = "".join(tail) or f"it ended with exit code {code} and said nothing"
            raise InfrastructureError(f"Envoy did not start: {reason} (log: {paths.log})")
        admin = paths.admin_address.read_text().strip() if paths.admin_address.exists() else ""
        if admin:
            try:
                if _ask(admin, "/ready", {}, 2).text.strip() == "LIVE":
                    return admin
            except httpx.HTTPError:
                pass
        time.sleep(0.02)
    raise InfrastructureError(
        f"Envoy was not ready within {_START_SECONDS:g} s, although it runs (log: {paths.log}); "
        "a busy machine may need another try"
    )


def _ask(admin: str, path: str, query: dict[str, str], seconds: float) -> httpx.Response:
    # Whatever proxy the shell names, this machine's own servers are asked directly.
    return httpx.get(f"http://{admin}{path}", params=query, timeout=seconds, trust_env=False)


def _listener_port(admin: str) -> int:
    listeners = _ask(admin, "/listeners", {"format": "json"}, 5).json()
    port: int = listeners["listener_statuses"][0]["local_address"]["socket_address"]["port_value"]
    return port


def _histogram(buckets: list[dict[str, Any]]) -> Histogram:
    bounds = tuple(float(bucket["upper_bound"]) / 1000 for bucket in buckets)
    # Envoy drops what is above the last bound, which is a day.
    return Histogram(bounds, (*(int(bucket["cumulative"]) for bucket in buckets), 0))


def _no_calls() -> Histogram:
    bounds = envoy_config.LATENCY_BOUNDS_SECONDS
    return Histogram(bounds, (0,) * (len(bounds) + 1))
