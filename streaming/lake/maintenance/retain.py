"""Retention, and erasures that Kafka may undo, as a periodic task of the maintenance service."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from conf.settings import Settings
from streaming.lake.maintenance.metrics import MaintenanceMetrics
from streaming.privacy import erase
from streaming.recompute import retention


@dataclass
class PeriodicRetention:
    """Repeats erasures and deletes rows past their age, each `retention.every` after a success.

    Attributes:
        settings: of the deployment; `retention.enabled` false deletes no rows by age.
        metrics: of the interval and of each complete run.
        clock: the time, UTC.
    """

    settings: Settings
    metrics: MaintenanceMetrics
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    _last: datetime | None = None

    def __post_init__(self) -> None:
        limits = self.settings.retention
        self.metrics.retention_every(limits.every if limits.enabled else timedelta(0))

    def run_if_due(self, log: logging.Logger) -> None:
        """Delete what is past its age, if that is due.

        Raises:
            RetentionError: files still hold older rows; the next call tries again.
        """
        limits, now = self.settings.retention, self.clock()
        # A last run in the future is one before the clock was set back.
        if self._last and self._last <= now < self._last + limits.every:
            return
        log.info("erased", extra={"customers": erase.repeat_erasures(self.settings, _silent)})
        if limits.enabled:
            purged = retention.apply_retention(self.settings, limits.detections, _silent)
            self.metrics.retained(now)
            log.info("retained", extra={"rows_deleted": sum(one.rows_deleted for one in purged)})
        self._last = now


def _silent(_: str) -> None:
    """Progress of a service, which nobody watches."""
