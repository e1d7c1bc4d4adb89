"""Settings of operation: supervisor, maintenance, retention, quality, lineage."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from pydantic import Field, SecretStr

from conf.settings.base import Frozen, Port


class SupervisorSettings(Frozen):
    """The supervisor of the processes that `storelake up` starts (docs/RUNNING.md)."""

    restart_base_seconds: float = Field(default=1.0, gt=0)
    """Pause before the first restart of a process that ended; it doubles with each early exit."""
    restart_max_seconds: float = Field(default=60.0, gt=0)
    """Maximum pause before a restart."""
    give_up_after: int = Field(default=5, ge=1)
    """Consecutive early exits after which restarts stop."""
    steady_seconds: float = Field(default=60.0, gt=0)
    """An exit is early if the process ran less than this."""
    stop_seconds: float = Field(default=60.0, gt=0)
    """Time for a process to end before it is killed."""
    silent_seconds: float = Field(default=60.0, gt=0)
    """A service that stops responding for this long is killed and started again: longer than any
    pause of a busy machine. Before its first response it has ten times as long."""
    quality_every: timedelta = timedelta(minutes=1)
    """Interval between two runs of the validation."""
    maintain_every: timedelta = timedelta(minutes=2)
    """Interval between two runs of the maintenance."""


class MaintenanceSettings(Frozen):
    """Maintenance of the tables of the lake (`storelake maintain`)."""

    metrics_port: Port = 18084
    """Port of /metrics at `metrics_host`, with `--every`; 0: none."""


class RetentionSettings(Frozen):
    """Retention of rows about single persons, a task of `storelake maintain --every`."""

    enabled: bool = True
    """Whether maintenance deletes old rows by itself."""
    every: timedelta = timedelta(hours=1)
    """Interval between two runs of it."""
    detections: timedelta = timedelta(hours=72)
    """Age at which detections, crossings and visits are deleted."""


class QualitySettings(Frozen):
    """Validation of the layers (`storelake quality`)."""

    spark_above_rows: int = Field(default=500_000, ge=1)
    """Number of new rows of one table above which Spark validates them."""
    results_keep: timedelta = timedelta(days=1)
    """How long Postgres keeps results; the lake keeps all."""
    metrics_port: Port = 18082
    """Port of /metrics at `metrics_host`, with `--every`; 0: none."""
    lookback: timedelta = timedelta(hours=1)
    """Sums are compared at least this far back."""
    reach: timedelta = timedelta(days=1)
    """Messages are reconciled at most this far back."""
    history: timedelta = timedelta(days=28)
    """Period that an hour is compared with to detect an anomaly."""
    camera_silent: timedelta = timedelta(minutes=10)
    """A camera of an open branch without a frame for this long is stale."""
    stream_behind: timedelta = timedelta(minutes=10)
    """A stream whose oldest waiting message is older than this is behind."""
    quarantined_share: float = Field(default=0.1, gt=0, le=1)
    """Share of an hour's messages; more quarantined ones are a warning."""
    late_share: float = Field(default=0.1, gt=0, le=1)
    """Share of an hour's accepted events; more late ones are a warning."""


class LineageSettings(Frozen):
    """OpenLineage events (docs/MONITORING.md#lineage)."""

    url: str | None = Field(default=None, pattern=r"^https?://[^/\s]+")
    """Base URL of an endpoint such as Marquez."""
    api_key: SecretStr | None = None
    """Bearer token of the endpoint."""
    file: Path | None = None
    """In place of `url`: a file that gets one event a line."""
    namespace: str = "storelake"
    """Namespace of the jobs."""
    every: timedelta = timedelta(minutes=5)
    """Interval of RUNNING events."""

    @property
    def enabled(self) -> bool:
        """Whether events are sent."""
        return self.url is not None or self.file is not None
