"""Retention runs by itself when it is due, and shows its last run (V8, S2)."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from cli.retention import apply
from conf.settings import Settings
from streaming.lake.maintenance.metrics import MaintenanceMetrics
from streaming.lake.maintenance.retain import PeriodicRetention
from streaming.privacy import erase
from streaming.recompute import retention
from streaming.recompute.retention import RetentionError

pytestmark = pytest.mark.requirement("S2")
NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
LOG = logging.getLogger("test")


class Service:
    """A maintenance service whose clock the test moves."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch, **limits: Any) -> None:
        self.now, self.ages, self.fails = NOON, list[timedelta](), False
        self.metrics = MaintenanceMetrics(timedelta(minutes=2))
        own = settings.retention.model_copy(update=limits)
        settings = settings.model_copy(update={"retention": own})
        monkeypatch.setattr(retention, "apply_retention", self._apply)
        monkeypatch.setattr(erase, "repeat_erasures", lambda *_: 0)
        self.task = PeriodicRetention(settings, self.metrics, lambda: self.now)

    def _apply(self, _: Settings, age: timedelta, __: Any) -> list[Any]:
        if self.fails:
            raise RetentionError("Files still hold rows.")
        self.ages.append(age)
        return []

    def after(self, pause: timedelta) -> int:
        """Runs so far, once so much more time has passed."""
        self.now += pause
        self.task.run_if_due(LOG)
        return len(self.ages)

    def last(self) -> float | None:
        name = "storelake_maintenance_retention_timestamp_seconds"
        return self.metrics.registry.get_sample_value(name)


def test_it_runs_at_the_start_and_then_once_an_interval(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(settings, monkeypatch, enabled=True)
    minutes = [timedelta(minutes=n) for n in (0, 59, 1, 1)]
    assert [service.after(pause) for pause in minutes] == [1, 1, 2, 2]
    assert service.ages == [timedelta(hours=72)] * 2
    assert service.last() == (NOON + timedelta(hours=1)).timestamp()


def test_a_failure_is_tried_again_at_the_next_run_of_maintenance(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(settings, monkeypatch, enabled=True)
    service.fails = True
    with pytest.raises(RetentionError):
        service.after(timedelta(0))
    assert service.last() == 0
    service.fails = False
    assert service.after(timedelta(minutes=2)) == 1


def test_a_clock_that_was_ahead_and_is_set_right_does_not_keep_it_from_running(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(settings, monkeypatch, enabled=True)
    steps = [timedelta(0), -timedelta(days=365), timedelta(minutes=2)]
    assert [service.after(step) for step in steps] == [1, 2, 2]


def test_it_can_be_switched_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Service(settings, monkeypatch, enabled=False).after(timedelta(days=9)) == 0


def test_no_age_at_all_is_refused_and_does_not_stand_for_the_setting() -> None:
    with pytest.raises(RetentionError, match="The age must be more than nothing"):
        apply(older_than=timedelta(0))
