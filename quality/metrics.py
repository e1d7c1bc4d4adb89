"""What Prometheus reads of validation: expectations that fail, and when the last run ended."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from prometheus_client import CollectorRegistry, Gauge, start_http_server

from quality.run import Run

log = logging.getLogger(__name__)


class Metrics:
    """Meters of the newest run, in a registry of their own.

    Args:
        every: how often a run is due.
    """

    def __init__(self, every: timedelta) -> None:
        self.registry = CollectorRegistry()
        self._judged = Gauge(
            "storelake_quality_expectations",
            "Expectations judged in the newest run.",
            ("table",),
            registry=self.registry,
        )
        self._failed = Gauge(
            "storelake_quality_failed_expectations",
            "Of these, the ones that failed or could not be judged.",
            ("table", "severity"),
            registry=self.registry,
        )
        self._at = Gauge(
            "storelake_quality_last_run_timestamp_seconds",
            "When the newest run began.",
            registry=self.registry,
        )
        self._seconds = Gauge(
            "storelake_quality_run_seconds", "How long it took.", registry=self.registry
        )
        interval = Gauge(
            "storelake_quality_interval_seconds",
            "How often a run is due.",
            registry=self.registry,
        )
        interval.set(every.total_seconds())

    def update(self, run: Run) -> None:
        """Take over what a run found."""
        judged = Counter(result.table for result in run.results)
        failed = Counter((result.table, result.severity) for result in run.failures)
        self._judged.clear()
        self._failed.clear()
        for table, count in judged.items():
            self._judged.labels(table).set(count)
            for severity in ("critical", "warning"):
                # Zero, too: an alert needs to see the end of a failure.
                self._failed.labels(table, severity).set(failed[table, severity])
        self._at.set(run.at.timestamp())
        self._seconds.set(run.seconds)

    @contextmanager
    def served(self, port: int) -> Iterator[None]:
        """Over HTTP on loopback for the length of a block; 0 means not at all.

        A port that is in use costs the metrics, not the runs: it is logged.
        """
        try:
            server = start_http_server(port, "127.0.0.1", self.registry) if port else None
        except OSError as error:
            log.warning(
                "no metrics: port %d cannot be opened (%s); STORELAKE_QUALITY__METRICS_PORT names "
                "another one, and 0 none",
                port,
                error.strerror,
            )
            server = None
        try:
            yield
        finally:
            if server is not None:
                server[0].shutdown()
                server[0].server_close()
