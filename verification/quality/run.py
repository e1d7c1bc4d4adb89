"""`make verify-quality`: ten kinds of damage; the report must name each and nothing else.

Two weeks of a chain pass through a fresh deployment, and must be valid. Then comes a bad span of
two hours, partly through the streams and partly past them, and everything is validated again.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

from quality.engines import Engines
from quality.results import Result
from quality.run import QualityRun, ValidationPlan, run_quality
from simulator.history import HOUR, Span
from verification.deployment import Deployment
from verification.history import FILMED, ONE_BATCH, History, this_hour
from verification.processes import Child
from verification.quality import fault_injection
from verification.quality.fault_injection import FAULTS, InjectedFault

HISTORY = timedelta(days=14)
BAD = 2 * HOUR


def _send_past(history: History, now: datetime) -> None:
    """Two weeks of orders and a few hours of frames, all sent now: brokers delete old ones."""
    orders = history.orders(Span(now - HISTORY, now), "past")
    history.send_orders(orders, on_time=False)
    history.send_frames(Span(now - FILMED, now), "past")


def _send_bad_span(history: History, now: datetime, streams: Child) -> None:
    """Two hours with drift, a silent branch and a stale camera; then a late burst."""
    span, stale_from = Span(now, now + BAD), now + HOUR / 2
    events = list(history.orders(span, "bad"))
    damaged = list(fault_injection.via_broker(events, span))
    for hour in span.hours():
        within = Span(hour, hour + HOUR)
        history.send_orders(e for e in damaged if within.start <= e.event_time < within.end)
        history.send_frames(
            within,
            f"{hour:%Y%m%dT%H}",
            lambda camera, at: camera != fault_injection.STALE_CAMERA or at < stale_from,
        )
        history.wait(streams)
    late = fault_injection.late_burst(events, now - 6 * HOUR, span.end - HOUR / 2)
    history.send_orders(late)
    history.wait(streams)


def verify(deployment: Deployment, seed: int) -> dict[str, Any]:
    """Run it all in a fresh deployment with Iceberg tables.

    Returns:
        `ok`, `faults`, `injected`, `found`, `false_alarms`, `named` (ids of the expectations that
        failed), and how long each validation took.

    Raises:
        StorelakeError: a program did not start or died by itself.
    """
    clean, damaged = _validate_twice(deployment, seed)
    missed, alarms = match(FAULTS, damaged.failures)
    alarms = [*clean.failures, *alarms]
    return {
        "ok": not missed and not alarms,
        "injected": len(FAULTS),
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
    history, now = History(deployment, seed), this_hour() - BAD
    with closing(Engines(settings)) as engines:
        step("two weeks of orders")
        _send_past(history, now)
        with deployment.run_streams(**ONE_BATCH) as streams:
            history.wait(streams)
            step("validating the clean deployment")
            clean = run_quality(settings, ValidationPlan(), step, engines=engines, now=now)
            step("two bad hours")
            _send_bad_span(history, now, streams)
        step("direct writes")
        fault_injection.write_directly(settings)
        step("validating the damaged deployment")
        return clean, run_quality(settings, ValidationPlan(), step, engines=engines, now=now + BAD)
