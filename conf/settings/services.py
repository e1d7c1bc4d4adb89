"""Settings of the HTTP services: gateway, console, Trino."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from conf.settings.base import Frozen, Port, Secret, http_url, required


class HttpSettings(Frozen):
    """Limits of every connection to the gateway and to the console."""

    max_connections: int = Field(default=500, ge=1)
    """Maximum number of open connections of one process; one above it gets 503 and is closed. Keep
    it well below the limit of open files."""
    max_head_bytes: int = Field(default=16 * 1024, ge=1024)
    """Maximum size of a request line with its headers; above it the response is 431."""
    head_seconds: float = Field(default=10, gt=0)
    """A request line and its headers must arrive within this time, or the response is 408."""
    body_seconds: float = Field(default=30, gt=0)
    """A body must arrive within this time, or the response is 408; a client that does not read its
    response for as long is disconnected."""
    idle_seconds: float = Field(default=10, ge=1)
    """A connection without a next request is closed after this long."""


class GatewaySettings(Frozen):
    """The HTTP gateway for events of tills and the web shop."""

    host: str = "127.0.0.1"
    """Listening address."""
    port: Port = 18080
    """Listening port."""
    operations_host: str = "127.0.0.1"
    """Listening address of the operations port."""
    operations_port: Port = 18089
    """Port of metrics, documentation and connection test, which the public port then lacks;
    0: no such port, the public one serves them (profile `local`)."""
    serve_metrics: bool = True
    """Whether there is `/metrics`."""
    serve_docs: bool = True
    """Whether there are `/docs` and `/openapi.json`."""
    serve_connection_test: bool = True
    """Whether there is `/api/kafka/test-connection`."""
    max_body_bytes: int = Field(default=256 * 1024, ge=1)
    """Maximum size of one event in bytes."""
    max_batch_events: int = Field(default=500, ge=1)
    """Maximum number of events in one request."""
    max_batch_bytes: int = Field(default=4 * 1024 * 1024, ge=1)
    """Maximum size of a batch in bytes."""
    remembered_ids: int = Field(default=100_000, ge=0)
    """Number of recent event ids that are acknowledged again without producing again; each takes
    about 350 bytes."""
    events_per_second: float = Field(default=20_000, gt=0)
    """Average rate of one key; above it and the burst the response is 429. What is refused counts,
    too: a refused request of N KiB as N events."""
    burst_events: int = Field(default=40_000, ge=1)
    """Maximum number of events at once after a pause; a batch that begins within it passes."""
    ack_timeout_seconds: float = Field(default=5.0, gt=0)
    """How long a request waits for the broker before a 503."""
    retry_after_seconds: int = Field(default=2, ge=0)
    """`Retry-After` of a response with status 503."""

    key: Secret | None = None
    """Key of `storelake send` and other senders of this machine; `storelake up` makes one for the
    local server."""
    key_cache_seconds: float = Field(default=5.0, gt=0)
    """Within this time a revoked key ends and a changed one changes."""
    key_outage: timedelta = timedelta(minutes=15)
    """For how long the known keys are accepted while Postgres does not answer; then 503."""
    unauthenticated_per_second: float = Field(default=10.0, gt=0)
    """Average rate of requests without a known key from one address, ten seconds of it at once;
    above it the response is 429 instead of 401."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of the proxies whose `X-Forwarded-For` is believed."""

    @property
    def url(self) -> str:
        """Its address on this machine."""
        return http_url(self.host, self.port)

    @property
    def authorization(self) -> dict[str, str]:
        """The header of who sends with `key`.

        Raises:
            SettingsError: it is not set.
        """
        key = required(
            self.key,
            "STORELAKE_GATEWAY__KEY",
            "run `storelake up`, which makes one for the local server, or set one of "
            "`storelake keys create`.",
        )
        return {"Authorization": f"Bearer {key}"}


class ConsoleSettings(Frozen):
    """The live console in the browser (`storelake console`)."""

    host: str = "127.0.0.1"
    """Listening address. Beyond loopback, put a proxy with TLS in front."""
    port: Port = 8600
    """Listening port."""
    login: Literal["password", "proxy", "off"] = "password"
    """`password`: one password for each role. `proxy`: a proxy signs people in, by OpenID Connect
    for example, and names them in headers. `off`: on loopback only."""
    viewer_password: Secret | None = Field(default=None, min_length=12)
    """Password of the role viewer, who reads. Without it and that of the operator, `storelake up`
    generates both."""
    operator_password: Secret | None = Field(default=None, min_length=12)
    """Password of the role operator, who also changes."""
    session_idle: timedelta = Field(default=timedelta(minutes=30), gt=timedelta(0))
    """A session without an open page ends after this long."""
    session_length: timedelta = Field(default=timedelta(hours=12), gt=timedelta(0))
    """A session ends after this long, whatever is open."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of the proxies whose headers count (`10.0.0.5`, `10.1.0.0/16`)."""
    user_header: str = "X-Forwarded-User"
    """Header in which the proxy names who is signed in."""
    groups_header: str = "X-Forwarded-Groups"
    """Header with the groups of that user, separated by commas."""
    viewer_group: str | None = None
    """Group of the role viewer; None: everybody whom the proxy lets in."""
    operator_group: str = "storelake-operators"
    """Group of the role operator."""
    refresh_seconds: float = Field(default=2.0, gt=0)
    """Interval between two queries while a browser is connected."""
    query_timeout: timedelta = timedelta(seconds=3)
    """Statement timeout in the database."""
    stale_after: timedelta = timedelta(minutes=2)
    """A camera of an open branch without a frame for this long is shown as silent, a stream without
    a report for this long as old."""
    roster_file: Path | None = None
    """CSV file with the roster, for visitors per staff hour: `branch_id,start,end,staff`, times
    with an offset from UTC."""
    stills_from: dict[str, str] = Field(default_factory=dict)
    """Camera id -> address of the inference service that reads it, such as
    `http://10.0.0.7:18081`; else this machine's."""
    user: str = "storelake_console"
    """Database role with read access to what the console shows, and nothing else."""
    password: Secret | None = None
    """Password of the role; `storelake up` generates one for the local server."""

    @model_validator(mode="after")
    def _require_a_way_to_sign_in(self) -> ConsoleSettings:
        for one in self.trusted_proxies:
            ipaddress.ip_network(one)
        if self.login == "proxy" and not self.trusted_proxies:
            raise ValueError("login=proxy needs trusted_proxies: nobody else's headers count")
        if self.operator_password and self.operator_password == self.viewer_password:
            raise ValueError("operator_password and viewer_password must differ")
        return self

    @property
    def secret(self) -> str:
        """The password.

        Raises:
            SettingsError: it is not set.
        """
        return required(
            self.password,
            "STORELAKE_CONSOLE__PASSWORD",
            "run `storelake restart`, which generates one for the local server, or set that of the "
            "role on your server (docs/CONSOLE.md).",
        )

    @property
    def url(self) -> str:
        """The address of the console."""
        return http_url(self.host, self.port)


class TrinoSettings(Frozen):
    """Trino, a SQL server for many readers of the lake; read-only."""

    enabled: bool = False
    """Start Trino with the other local services."""
    host: str = "127.0.0.1"
    """Address of the local server."""
    port: Port = 18090
    """Port of the local server."""
    url: str | None = None
    """Address of an existing server; by default the local one at host:port."""
    user: str = "storelake"
    """User name of queries."""
    heap_mb: int = Field(default=1536, ge=512)
    """Heap of the local server in MB."""
    java_home: Path | None = None
    """Its Java (24 or newer); by default the first such one of JAVA_HOME, the PATH and
    /usr/lib/jvm."""

    @property
    def address(self) -> str:
        """The address for clients."""
        return self.url or http_url(self.host, self.port)
