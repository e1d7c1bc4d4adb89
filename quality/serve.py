"""Validation again and again, as `storelake quality run --every` does it."""

from __future__ import annotations

import logging
from datetime import timedelta

from conf.periodic import run_periodically
from conf.settings import Settings
from quality import run
from quality.engines import Engines
from quality.metrics import QualityMetrics


def serve(settings: Settings, plan: run.ValidationPlan, every: timedelta, engines: Engines) -> None:
    """Validate every so often until SIGINT or SIGTERM, and serve the metrics of the newest run."""
    metrics = QualityMetrics(every)

    def job(log: logging.Logger) -> None:
        done = run.run_quality(settings, plan, lambda _: None, engines=engines)
        metrics.update(done)
        log_run(log, done)

    run_periodically(
        job,
        every,
        process="quality",
        settings=settings,
        registry=metrics.registry,
        port=settings.quality.metrics_port,
    )


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
