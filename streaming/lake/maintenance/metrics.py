"""Prometheus metrics of maintenance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

if TYPE_CHECKING:
    from streaming.lake.maintenance.run import Done


RETAINED = "retention_timestamp_seconds"


class MaintenanceMetrics:
    """Metrics of `storelake maintain --every`, in a registry of their own.

    Args:
        every: how often a run is due.
    """

    def __init__(self, every: timedelta) -> None:
        self.registry = registry = CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"storelake_maintenance_{name}", text, labels, registry=registry)

        def counter(name: str, text: str) -> Counter:
            return Counter(f"storelake_maintenance_{name}", text, ("table",), registry=registry)

        gauge("interval_seconds", "How often a run is due.").set(every.total_seconds())
        self._at = gauge("last_run_timestamp_seconds", "When the newest run that was noted began.")
        self._seconds = gauge("run_seconds", "How long it took.")
        self._failed = gauge("table_failed", "1 of a table that it could not maintain.", "table")
        self._files = gauge("table_files", "Data files of a table after it.", "table")
        self._manifests = gauge("table_manifests", "Manifests of a table after it.", "table")
        self._joined = counter("joined_files", "Small files that became larger ones.")
        self._expired = counter("forgotten_snapshots", "Snapshots that nobody can read any more.")
        self._removed = counter("removed_bytes", "Bytes of files that no table named.")
        self._retention = gauge("retention_interval_seconds", "Of retention; 0: it is off.")
        self._retained = gauge(RETAINED, "When rows past their age were last deleted.")

    def retention_every(self, every: timedelta) -> None:
        """State how often retention is due; zero: never."""
        self._retention.set(every.total_seconds())

    def retained(self, at: datetime) -> None:
        """Record a complete run of retention that began at `at` (UTC)."""
        self._retained.set(at.timestamp())

    def update(self, began: datetime, done: Sequence[Done]) -> None:
        """Record the results of a run. `began` is in UTC."""
        self._at.set(began.timestamp())
        self._seconds.set(sum(one.seconds for one in done))
        for one in done:
            if one.state == "gone":
                continue
            table = one.table_name
            self._failed.labels(table).set(one.state == "failed")
            self._joined.labels(table).inc(one.compacted)
            self._expired.labels(table).inc(one.snapshots_forgotten)
            self._removed.labels(table).inc(one.bytes_removed)
            if one.state != "failed":
                self._files.labels(table).set(one.files_after)
                self._manifests.labels(table).set(one.manifests_after)
