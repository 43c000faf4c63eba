"""What an operator may set on the server: every value with its default, unit and one line of help.

Owns the numbers that bound what a client may cost us: bytes, milliseconds, connections. The
command line and `tidelog config` read names, units and help from the fields' metadata, so a
setting that is not declared here does not exist, and one that is declared is documented.

A value out of range is refused when the settings are made, never when the first client meets it.
This module reads no file and no environment.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from broker.settings import check_positive, setting

KIB = 1024
MIB = 1024 * KIB

PORT_MAX = 65_535
WORKERS_MAX = 64
HOST_NAME = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
MAY_BE_ZERO = frozenset(
    {
        "port",
        "otlp_percent",
        "require_tls",
        "shutdown_grace_ms",
        "linger_ms",
        "storage_failure_linger_ms",
    }
    | {"matrix_requests_max", "metrics_port", "drain_window_ms"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerSettings:
    host: str = setting("127.0.0.1", "host name or address", "interface to listen on")
    port: int = setting(8080, "TCP port", "port to listen on; 0 lets the system choose")
    backlog: int = setting(4096, "connections", "connections the system queues before we accept")
    workers: int = setting(
        1, "processes", "processes that serve clients together; beyond 1, see docs/workers.md"
    )
    metrics_host: str = setting(
        "127.0.0.1", "host name or address", "interface for metrics; they ask for no credentials"
    )
    metrics_port: int = setting(0, "TCP port", "port of GET /metrics, for Prometheus; 0 is off")

    url_bytes_max: int = setting(8 * KIB, "bytes", "longest request target; beyond it 414")
    header_bytes_max: int = setting(16 * KIB, "bytes", "all header lines together; beyond it 431")
    body_bytes_max: int = setting(2 * MIB, "bytes", "longest request body; beyond it 413")
    json_depth_max: int = setting(64, "levels", "deepest nesting of a JSON body")
    msgpack_depth_max: int = setting(64, "levels", "deepest nesting of a MessagePack body")

    require_tls: bool = setting(
        False, "on or off", "refuse credentials that come over plain HTTP; trusted proxies may say"
    )
    tls_handshake_timeout_ms: int = setting(10_000, "ms", "time for the whole TLS handshake")
    header_timeout_ms: int = setting(10_000, "ms", "time for the first request head; then 408")
    body_timeout_ms: int = setting(30_000, "ms", "time for a whole request body; then 408")
    write_timeout_ms: int = setting(
        30_000, "ms", "time a client may take to accept 64 KiB of reply"
    )
    idle_timeout_ms: int = setting(
        75_000, "ms", "time from one reply to the complete head of the next request"
    )
    linger_ms: int = setting(
        2_000, "ms", "time we go on reading a body that we refused, so that the client sees why"
    )
    shutdown_grace_ms: int = setting(
        10_000, "ms", "time that requests already accepted have to finish on shutdown"
    )
    drain_window_ms: int = setting(
        2_000,
        "ms",
        "time over which clients are told to come back on shutdown; at most half of the grace",
    )

    idle_interval_ms: int = setting(
        15_000, "ms", "longest silence on a realtime connection; then a heartbeat"
    )
    frame_bytes_max: int = setting(
        512 * KIB, "bytes", "largest message on a WebSocket; beyond it close code 1009"
    )
    outbox_bytes_max: int = setting(
        MIB, "bytes", "deliveries queued for one WebSocket before it reads on from disk"
    )
    outboxes_bytes_max: int = setting(
        256 * MIB, "bytes", "deliveries queued for all WebSockets together"
    )
    realtime_open_timeout_ms: int = setting(
        10_000, "ms", "time from a WebSocket's upgrade request until it is authenticated"
    )
    stalled_timeout_ms: int = setting(
        120_000, "ms", "time a WebSocket's client may take to accept anything that waits for it"
    )
    handshakes_max: int = setting(
        256, "connections", "WebSockets being opened at a time; more wait to be accepted"
    )

    connections_max: int = setting(10_000, "connections", "open connections altogether")
    connections_per_address_max: int = setting(
        1_000, "connections", "open connections of one IPv4 address or IPv6 /64"
    )
    unauthenticated_connections_max: int = setting(
        2_000, "connections", "open connections that have shown no valid credentials yet"
    )
    h2_streams_max: int = setting(100, "requests", "requests under way on one HTTP/2 connection")
    trusted_proxies: tuple[str, ...] = setting(
        (), "CIDR networks", "proxies whose forwarding headers count; no limit per address for them"
    )
    matrix_hosts: tuple[str, ...] = setting(
        (), "host names", "names of this server under which it is the Matrix pusher API only"
    )
    matrix_requests_max: int = setting(
        600, "requests", "requests of one user to the Matrix pusher API in a minute; 0 is no limit"
    )
    file_descriptors_min: int = setting(
        1_024, "descriptors", "refuse to start when the system grants fewer"
    )
    otlp_endpoint: str = setting(
        "",
        "URL",
        "collector that traces go to, as OTLP over HTTP, without /v1/traces; empty is off",
    )
    otlp_percent: int = setting(
        100, "percent", "share of traces that is recorded, of those that come with a request too"
    )
    otlp_spans_max: int = setting(
        2_048, "spans", "spans that may wait for the collector; more are dropped, and counted"
    )
    storage_failure_linger_ms: int = setting(
        10_000, "ms", "time that reads go on after writing has failed for good; then the exit"
    )

    def __post_init__(self) -> None:
        check_positive(self, MAY_BE_ZERO)
        if self.workers > WORKERS_MAX:
            raise ValueError(f"workers is at most {WORKERS_MAX}, not {self.workers}")
        for name, port in (("port", self.port), ("metrics_port", self.metrics_port)):
            if port > PORT_MAX:
                raise ValueError(f"{name} is at most {PORT_MAX}, not {port}")
        if self.otlp_percent > 100:
            raise ValueError(f"otlp_percent is at most 100, not {self.otlp_percent}")
        if self.otlp_endpoint:
            _check_endpoint(self.otlp_endpoint)
        for network in self.trusted_proxies:
            ipaddress.ip_network(network)
        for host in self.matrix_hosts:
            if not HOST_NAME.fullmatch(host):
                raise ValueError(f"{host!r} is no host name: name it as clients do, without a port")


def _check_endpoint(text: str) -> None:
    """Credentials of a collector are not here, where they would be printed: see docs/operating.md.
    Raises ValueError."""
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.username or url.query:
        raise ValueError("otlp_endpoint must be an http or https URL without credentials or query")
    if url.port == 0:
        raise ValueError("otlp_endpoint has no port 0")
