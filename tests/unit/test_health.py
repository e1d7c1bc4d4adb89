"""The health of a query or an interval task: pauses after failures, and its state."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from conf.settings import StreamSettings
from streaming.runtime.health import Health
from tests.support.clock import HandClock

LIMITS = StreamSettings(
    retries=2, retry_base_seconds=1, retry_max_seconds=3, failed_retry_seconds=60, stalled_after=60
)


@dataclass
class Part:
    clock: HandClock[float] = field(default_factory=lambda: HandClock(1000.0))

    def __post_init__(self) -> None:
        self.health = Health("footfall", LIMITS, self.clock)

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.health.failed("OSError: the disk is full")

    def pause(self) -> float:
        return self.health.retry_at - self.clock.now


def test_pauses_double_up_to_a_bound_and_are_long_afterwards() -> None:
    part, pauses = Part(), []
    for _ in range(4):
        part.fail()
        pauses.append(part.pause())
    assert pauses == [1, 2, 60, 60]


def test_a_part_that_has_failed_is_tried_again_and_recovers() -> None:
    part = Part()
    part.fail(3)
    assert (part.health.state, part.health.is_due) == ("failed", False)
    assert part.health.sentence == "footfall failed 3 times in a row: OSError: the disk is full"
    part.clock.now += 60
    assert part.health.is_due
    part.health.finished(5)
    assert (part.health.state, part.health.sentence) == ("running", "")
    assert (part.health.failed_total, part.health.rows_total) == (3, 5)


def test_a_part_that_was_fenced_is_never_tried_again() -> None:
    part = Part()
    part.health.fence("footfall was taken over by somebody")
    part.clock.now += 1e6
    assert (part.health.state, part.health.is_due) == ("failed", False)
    assert part.health.sentence == "footfall was taken over by somebody"


def test_a_batch_that_does_not_end_is_stalled_until_it_does() -> None:
    part = Part()
    assert part.health.state == "starting"
    part.health.finished()
    part.health.began()
    part.clock.now += 59
    part.health.began()  # looked at again: the same batch
    assert part.health.state == "running"
    part.clock.now += 2
    assert (part.health.state, part.health.sentence) == (
        "stalled",
        "footfall has not come to an end for 61 s",
    )
    part.health.finished()
    assert part.health.state == "running"


def test_between_two_batches_no_time_is_counted() -> None:
    part = Part()
    part.health.began()
    part.health.idle()
    part.clock.now += 1000
    assert part.health.state == "starting"


def test_a_failure_is_reported_once_loudly_and_not_at_every_retry(
    caplog: pytest.LogCaptureFixture,
) -> None:
    part = Part()
    part.fail(20)
    assert [r.levelname for r in caplog.records] == ["WARNING", "WARNING", "ERROR"]
    assert "OSError: the disk is full" in caplog.text
