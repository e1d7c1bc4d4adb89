"""Settings of the HTTP services: gateway, console, Trino."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field, model_validator

from conf.settings.base import Frozen, Secret, required


class GatewaySettings(Frozen):
    """The HTTP gateway for events of tills and the web shop."""

    host: str = "127.0.0.1"
    """Listening address."""
    port: int = 18080
    """Listening port."""
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
    """Average rate of one client; above it and the burst the response is 429."""
    burst_events: int = Field(default=40_000, ge=1)
    """Maximum number of events at once after a pause."""
    ack_timeout_seconds: float = 5.0
    """How long a request waits for the broker before a 503."""
    retry_after_seconds: int = 2
    """`Retry-After` of a response with status 503."""

    @model_validator(mode="after")
    def _fit_a_batch_into_the_burst(self) -> GatewaySettings:
        if self.burst_events < self.max_batch_events:
            raise ValueError("burst_events is below max_batch_events: no full batch would pass")
        return self


class ConsoleSettings(Frozen):
    """The live console in the browser (`storelake console`); read-only."""

    host: str = "127.0.0.1"
    """Listening address. The console has no authentication: keep it on loopback, or put a proxy in
    front."""
    port: int = 8600
    """Listening port."""
    refresh_seconds: float = Field(default=2.0, gt=0)
    """Interval between two queries while a browser is connected."""
    query_timeout: timedelta = timedelta(seconds=3)
    """Statement timeout in the database."""
    stale_after: timedelta = timedelta(minutes=2)
    """A camera of an open branch without a frame for this long is shown as silent, a stream without
    a report for this long as old."""
    user: str = "storelake_console"
    """Database role with read access to what the console shows, and nothing else."""
    password: Secret | None = None
    """Password of the role; `storelake up` generates one for the local server."""

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
        return f"http://{self.host}:{self.port}"


class TrinoSettings(Frozen):
    """Trino, a SQL server for many readers of the lake; read-only."""

    enabled: bool = False
    """Start Trino with the other local services."""
    host: str = "127.0.0.1"
    """Address of the local server."""
    port: int = 18090
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
        return self.url or f"http://{self.host}:{self.port}"
