"""What Prometheus reads of validation: expectations that fail, and when the last run ended."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Gauge

if TYPE_CHECKING:
    from quality.run import QualityRun


class QualityMetrics:
    """Meters of the newest run, in a registry of their own."""

    def __init__(self, every: timedelta) -> None:
        self.registry = CollectorRegistry()
        gauge = partial(Gauge, registry=self.registry)
        name = "storelake_quality_expectations"
        self._validated = gauge(name, "Expectations validated in the newest run.", ("table",))
        self._failed = gauge(
            "storelake_quality_failed_expectations",
            "Of these, the ones that failed or could not be validated.",
            ("table", "severity"),
        )
        name = "storelake_quality_last_run_timestamp_seconds"
        self._at = gauge(name, "When the newest run began.")
        self._seconds = gauge("storelake_quality_run_seconds", "How long it took.")
        interval = gauge("storelake_quality_interval_seconds", "How often a run is due.")
        interval.set(every.total_seconds())

    def update(self, run: QualityRun) -> None:
        """Take over what a run found."""
        validated = Counter(result.table for result in run.results)
        failed = Counter((result.table, result.severity) for result in run.failures)
        self._validated.clear()
        self._failed.clear()
        for table, count in validated.items():
            self._validated.labels(table).set(count)
            for severity in ("critical", "warning"):
                # Zero, too: an alert needs to see the end of a failure.
                self._failed.labels(table, severity).set(failed[table, severity])
        self._at.set(run.at.timestamp())
        self._seconds.set(run.seconds)
