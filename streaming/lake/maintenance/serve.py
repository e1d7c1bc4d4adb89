"""Periodic maintenance and retention (`storelake maintain --every`).

Retention runs whatever became of maintenance, and also in Delta, whose tables other tools maintain.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta, timezone

from conf.periodic import run_periodically
from conf.settings import Settings
from streaming.lake.maintenance import run
from streaming.lake.maintenance.metrics import MaintenanceMetrics
from streaming.lake.maintenance.retain import PeriodicRetention
from streaming.runtime.memory import FreedMemory


def serve(settings: Settings, table: str | None, every: timedelta) -> None:
    """Maintain tables periodically until SIGINT or SIGTERM, and serve the metrics of the runs.

    Args:
        settings: of the deployment.
        table: only this one; None: all.
        every: pause between two runs.
    """
    metrics = MaintenanceMetrics(every)
    retain, memory = PeriodicRetention(settings, metrics), FreedMemory()

    def maintain(log: logging.Logger) -> None:
        began, done = datetime.now(timezone.utc), list[run.Done]()
        if settings.catalog.format == "iceberg":
            done = run.run_maintenance(settings, lambda _: None, only=table)
        metrics.update(began, done)
        log_run(log, done)

    def give_back(_: logging.Logger) -> None:
        gc.collect()  # parsed metadata of tables and catalog refer to each other
        memory.give_back()

    run_periodically(
        (maintain, retain.run_if_due, give_back),
        every,
        process="maintenance",
        settings=settings,
        registry=metrics.registry,
        port=settings.maintenance.metrics_port,
    )


def log_run(log: logging.Logger, done: Sequence[run.Done]) -> None:
    """Write a line for each table that was changed or failed, and one for the run."""
    for one in done:
        if one.state == "nothing to do":
            continue
        about = {"table" if k == "table_name" else k: v for k, v in asdict(one).items()}
        log.log(logging.ERROR if one.state == "failed" else logging.INFO, "maintained", extra=about)
    failed = sum(one.state == "failed" for one in done)
    seconds = round(sum(one.seconds for one in done), 3)
    log.info("run", extra={"tables": len(done), "failed": failed, "seconds": seconds})
