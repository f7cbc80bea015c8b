"""Envoy's configuration as data: a bootstrap that never changes and a route file that carries the weights.

Routes are read from a file (RDS) that is replaced atomically; `version_info` comes back as a statistic once
Envoy uses it, which is how a weight is confirmed. The canary's share goes to an aggregate cluster
(canary, then stable), so that a dying canary costs its users nothing.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = [
    "LATENCY_BOUNDS_SECONDS",
    "EnvoyPaths",
    "Upstream",
    "bootstrap",
    "clusters",
    "routes",
]

_CANARY_LEG: Final = "canary_or_stable"
#: Calls that ask for the canary by header have a leg of their own: nobody drew them at random.
_BY_HEADER: Final = "canary_by_header"
_EXTENSIONS: Final = "type.googleapis.com/envoy.extensions."
_ROUTE_CONFIG: Final = "local"
_STAT_PREFIX: Final = "ingress_grpc"

#: Upper bounds of Envoy's latency buckets in milliseconds: about 1.25 apart, so that a shift of a quarter
#: moves calls into the next bucket; Envoy records whole milliseconds, and drops what is above the last (a day).
_LATENCY_BUCKETS_MS: Final = (
    1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 80, 100, 125, 160, 200, 250, 320, 400, 500, 630,
    800, 1000, 1600, 2500, 5000, 10000, 30000, 86_400_000,
)  # fmt: skip

#: The same bounds in seconds, as the counters have them.
LATENCY_BOUNDS_SECONDS: Final = tuple(bound / 1000 for bound in _LATENCY_BUCKETS_MS)

#: How often Envoy moves its histograms into what the admin page shows; 5 s by default, too slow to judge by.
_STATS_FLUSH: Final = "0.5s"

_HTTP2: Final = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": _EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}

#: A call that the canary could not take is tried once more, on the next priority of the leg, which is stable.
_RETRY: Final = {
    # `reset` and `cancelled` are calls in flight on a server that died; predicting twice does no harm.
    "retry_on": "connect-failure,refused-stream,unavailable,reset,cancelled",
    "num_retries": 1,
    "retry_back_off": {"base_interval": "0.005s"},
    "retry_priority": {
        "name": "envoy.retry_priorities.previous_priorities",
        "typed_config": {
            "@type": _EXTENSIONS + "retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            "update_frequency": 1,
        },
    },
}


#: By default Envoy retries three calls at a time: under load a dying canary would cost all others.
_RETRIES_AT_A_TIME: Final = {"thresholds": [{"max_retries": 10_000}]}


@dataclass(frozen=True, slots=True)
class EnvoyPaths:
    """Where one Envoy keeps its files, all in one directory."""

    directory: Path

    @property
    def bootstrap(self) -> Path:
        """The configuration that Envoy starts from."""
        return self.directory / "bootstrap.json"

    @property
    def routes(self) -> Path:
        """The route file that carries the weights."""
        return self.directory / "rds.json"

    @property
    def clusters(self) -> Path:
        """The cluster file that carries the addresses of stable and canary."""
        return self.directory / "cds.json"

    @property
    def admin_address(self) -> Path:
        """Where Envoy writes the address of its admin interface."""
        return self.directory / "admin.txt"

    @property
    def log(self) -> Path:
        """Envoy's own log."""
        return self.directory / "envoy.log"


@dataclass(frozen=True, slots=True)
class Upstream:
    """The address of one inference server."""

    host: str
    port: int


def bootstrap(paths: EnvoyPaths, *, host: str, port: int) -> dict[str, Any]:
    """Build the bootstrap: a listener on `host:port` (0: the kernel chooses), the rest from files."""
    return {
        "node": {"id": "coalmine", "cluster": "coalmine"},
        "admin": {"address": _address(Upstream("127.0.0.1", 0))},
        "stats_flush_interval": _STATS_FLUSH,
        "stats_config": {
            "histogram_bucket_settings": [
                {"match": {"suffix": "upstream_rq_time"}, "buckets": list(_LATENCY_BUCKETS_MS)}
            ]
        },
        "dynamic_resources": {"cds_config": _from_file(paths.clusters)},
        "static_resources": {"listeners": [_listener(paths, host, port)]},
    }


def routes(weight: int, version: str) -> dict[str, Any]:
    """Build the route file: `weight` percent to the canary leg, the rest to stable.

    `version` comes back as the statistic `version_text` once Envoy uses this file. Calls with the header
    `x-canary: always` go to the canary whatever the weight, while one exists.
    """
    legs = [
        {"name": "stable", "weight": 100 - weight},
        {"name": _CANARY_LEG, "weight": weight},
    ]
    always = {"name": "x-canary", "string_match": {"exact": "always"}}
    match: dict[str, Any] = {"prefix": "/"}
    # Deadlines are the clients' own (gRPC). Envoy ends a call just before its client would: a call that the
    # client gave up has no status, and would be missing from the counters that the judge reads.
    deadline = {"grpc_timeout_header_max": "0s", "grpc_timeout_header_offset": "0.01s"}
    common = {"timeout": "0s", "max_stream_duration": deadline, "retry_policy": _RETRY}
    table = [
        {"match": match | {"headers": [always]}, "route": {"cluster": _BY_HEADER} | common},
        {"match": match, "route": {"weighted_clusters": {"clusters": legs}} | common},
    ]
    resource = {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": _ROUTE_CONFIG,
        "validate_clusters": True,
        "virtual_hosts": [{"name": "inference", "domains": ["*"], "routes": table}],
    }
    return {"version_info": version, "resources": [resource]}


def clusters(stable: Upstream, canary: Upstream | None, version: str) -> dict[str, Any]:
    """Build the cluster file: stable, canary (without an address while there is none), and the canary leg."""
    legs = [_leg(_CANARY_LEG), _leg(_BY_HEADER)]
    resources = [_cluster("stable", stable), _cluster("canary", canary), *legs]
    kind = {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster"}
    return {"version_info": version, "resources": [kind | resource for resource in resources]}


def _from_file(path: Path) -> dict[str, Any]:
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
    }


def _address(upstream: Upstream) -> dict[str, Any]:
    return {"socket_address": {"address": upstream.host, "port_value": upstream.port}}


def _leg(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": _RETRIES_AT_A_TIME,
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {
                "@type": _EXTENSIONS + "clusters.aggregate.v3.ClusterConfig",
                "clusters": ["canary", "stable"],
            },
        },
    }


def _cluster(name: str, upstream: Upstream | None) -> dict[str, Any]:
    endpoints = [] if upstream is None else [{"endpoint": {"address": _address(upstream)}}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": _HTTP2,
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "circuit_breakers": _RETRIES_AT_A_TIME,
        # Act soon: two failed probes take the endpoint out, a good one brings it back.
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "0.5s",
                "no_traffic_interval": "0.5s",
                "no_traffic_healthy_interval": "0.5s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {"service_name": "inference.v1.InferenceService"},
            }
        ],
        # Without the first Envoy sends traffic to endpoints that it knows to be unhealthy ("panic mode");
        # without the second it acts on a change of health up to a second late.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
    }


def _listener(paths: EnvoyPaths, host: str, port: int) -> dict[str, Any]:
    stats = {
        "@type": _EXTENSIONS + "filters.http.grpc_stats.v3.FilterConfig",
        "individual_method_stats_allowlist": {
            "services": [{"name": "inference.v1.InferenceService", "method_names": ["Predict"]}]
        },
        "enable_upstream_stats": True,
        "replace_dots_in_grpc_service_name": True,
    }
    router = {"@type": _EXTENSIONS + "filters.http.router.v3.Router"}
    manager = {
        "@type": _EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": _STAT_PREFIX,
        "codec_type": "HTTP2",
        "rds": {"route_config_name": _ROUTE_CONFIG, "config_source": _from_file(paths.routes)},
        "http_filters": [
            {"name": "envoy.filters.http.grpc_stats", "typed_config": stats},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {"name": "grpc", "address": _address(Upstream(host, port)), "filter_chains": [chain]}
