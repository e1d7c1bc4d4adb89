"""`make verify-quality`: ten kinds of damage; the report must name each and nothing else.

Two weeks of a chain pass through a fresh deployment, and must be valid. Then comes a bad span of
two hours, partly through the streams and partly past them, and everything is validated again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from conf.settings import Settings
from conf.stores import load_stores
from quality.engines import Engines
from quality.results import Result
from quality.run import QualityRun, ValidationPlan, run_quality
from simulator.history import HOUR, Span, frame_history
from verification.deployment import Deployment
from verification.history import (
    FILMED,
    ONE_BATCH,
    orders_of,
    send_frames,
    send_orders,
    this_hour,
    wait_for_history,
)
from verification.processes import Child
from verification.quality import fault_injection
from verification.quality.fault_injection import FAULTS, InjectedFault

HISTORY = timedelta(days=14)
BAD = 2 * HOUR


@dataclass
class _Input:
    """What is sent to the deployment.

    Attributes:
        settings: of the deployment.
        seed: of the history.
        now: where the history ends and the bad span begins: a full hour.
        frames: that were sent so far.
    """

    settings: Settings
    seed: int
    now: datetime
    frames: int = 0

    def send_history(self) -> None:
        """Two weeks of orders and a few hours of frames, all sent now: brokers delete old ones."""
        history = orders_of(self.settings, Span(self.now - HISTORY, self.now), self.seed, "past")
        send_orders(self.settings, history, on_time=False)
        self._film(Span(self.now - FILMED, self.now), None)

    def send_bad_span(self, deployment: Deployment, streams: Child) -> None:
        """Two hours with drift, a silent branch and a stale camera; then a late burst."""
        span = Span(self.now, self.now + BAD)
        events = list(orders_of(self.settings, span, self.seed, "bad"))
        damaged = list(fault_injection.via_broker(events, span))
        for hour in span.hours():
            within = Span(hour, hour + HOUR)
            send_orders(
                self.settings, (e for e in damaged if within.start <= e.event_time < within.end)
            )
            self._film(within, self.now + HOUR / 2)
            wait_for_history(deployment, self.frames, streams)
        late = fault_injection.late_burst(events, self.now - 6 * HOUR, span.end - HOUR / 2)
        send_orders(self.settings, late)
        wait_for_history(deployment, self.frames, streams)

    def _film(self, span: Span, stale_from: datetime | None) -> None:
        run_id = f"{span.start:%Y%m%dT%H}"
        frames = frame_history(load_stores(self.settings.stores_file), span, run_id=run_id)
        if stale_from is not None:
            frames = fault_injection.frames_with_a_stale_camera(frames, stale_from)
        self.frames += send_frames(self.settings, frames)


def verify(deployment: Deployment, seed: int) -> dict[str, Any]:
    """Run it all in a fresh deployment with Iceberg tables.

    Returns:
        `ok`, `faults`, `planted`, `found`, `false_alarms`, the ids of the expectations that failed,
        and how long each validation took.

    Raises:
        StorelakeError: a program did not start or died by itself.
    """
    clean, damaged = _validate_twice(deployment, seed)
    missed, alarms = match(FAULTS, damaged.failures)
    alarms = [*clean.failures, *alarms]
    return {
        "ok": not missed and not alarms,
        "planted": len(FAULTS),
        "found": len(FAULTS) - len(missed),
        "false_alarms": len(alarms),
        "faults": [
            *(f"not reported: {name}" for name in missed),
            *(f"false alarm: {one.id}: {one.observed or ''} {one.samples}" for one in alarms),
        ],
        "named": [one.id for one in damaged.failures],
        "expectations": len(damaged.results),
        "validation_seconds": [round(run.seconds, 1) for run in (clean, damaged)],
    }


def match(
    injected: Iterable[InjectedFault], failures: Iterable[Result]
) -> tuple[list[str], list[Result]]:
    """The faults that no failure names, and the failures that no fault explains."""
    injected, failures = list(injected), list(failures)
    missed = [fault.name for fault in injected if not any(map(fault.names, failures))]
    alarms = [one for one in failures if not any(fault.explains(one) for fault in injected)]
    return missed, alarms


def _validate_twice(deployment: Deployment, seed: int) -> tuple[QualityRun, QualityRun]:
    settings, step = deployment.settings, deployment.step
    source = _Input(settings, seed, this_hour() - BAD)
    now = source.now
    with closing(Engines(settings)) as engines:
        step("two weeks of orders")
        source.send_history()
        with deployment.run_streams(**ONE_BATCH) as streams:
            wait_for_history(deployment, source.frames, streams)
            step("validating the clean deployment")
            clean = run_quality(settings, ValidationPlan(), step, engines=engines, now=now)
            step("two bad hours")
            source.send_bad_span(deployment, streams)
        step("direct writes")
        fault_injection.write_directly(settings)
        step("validating the damaged deployment")
        return clean, run_quality(settings, ValidationPlan(), step, engines=engines, now=now + BAD)
