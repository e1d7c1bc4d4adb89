"""Validation again and again, as `storelake quality run --every` does it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from prometheus_client import CollectorRegistry

from conf.periodic import run_periodically
from conf.settings import Settings
from quality import run
from quality.engines import Engines
from quality.metrics import QualityMetrics
from streaming.lineage.sender import LineageSender


def serve(settings: Settings, plan: run.ValidationPlan, every: timedelta, engines: Engines) -> None:
    """Validate every so often until SIGINT or SIGTERM, and serve the metrics of the newest run."""
    metrics = QualityMetrics(every)
    send_lineage = lineage_sender(settings, metrics.registry)

    def job(log: logging.Logger) -> None:
        done = run.run_quality(settings, plan, lambda _: None, engines=engines)
        metrics.update(done)
        log_run(log, done)
        send_lineage(done)

    run_periodically(
        (job,),
        every,
        process="quality",
        settings=settings,
        registry=metrics.registry,
        port=settings.quality.metrics_port,
    )


def lineage_sender(
    settings: Settings, registry: CollectorRegistry
) -> Callable[[run.QualityRun], None]:
    """A function that sends a run as OpenLineage events; it does nothing where lineage is off."""
    if not settings.lineage.enabled:
        return lambda _: None
    sender = LineageSender(settings.lineage, registry)
    from quality.lineage import run_events  # noqa: PLC0415 - of an extra

    return lambda done: sender.send(run_events(settings, done))


def log_run(log: logging.Logger, done: run.QualityRun) -> None:
    """Write a line for each expectation that is not met, and one for the run; no values of rows."""
    for one in done.failures:
        about = {
            "table": one.table,
            "expectation": one.id,
            "severity": one.severity,
            "state": one.state,
            "rows": one.rows,
            "unexpected": one.unexpected,
        }
        log.warning("not_as_expected", extra=about)
    totals = {
        "expectations": len(done.results),
        "tables": len({one.table for one in done.results}),
        "failed": len(done.failures),
        "critical": sum(one.severity == "critical" for one in done.failures),
        "seconds": round(done.seconds, 3),
    }
    log.info("run", extra=totals)
