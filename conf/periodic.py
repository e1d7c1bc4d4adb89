"""The loop of a process that does the same jobs again and again, with logs and metrics."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from conf.errors import StorelakeError, first_line
from conf.exporter import served
from conf.logs import configure_logging
from conf.outages import clear_outages

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from conf.settings import Settings


def run_periodically(
    jobs: Sequence[Callable[[logging.Logger], None]],
    every: timedelta,
    *,
    process: str,
    settings: Settings,
    registry: CollectorRegistry,
    port: int,
) -> None:
    """Run jobs in turn until SIGINT or SIGTERM; one that fails is logged, and the next follows.

    `process` is its name in log lines, and the branch of its settings; `port` 0 is no metrics.
    """
    configure_logging(process, settings.log_level)
    log, stop = logging.getLogger(f"storelake.{process}"), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    variable = f"STORELAKE_{process.upper()}__METRICS_PORT"
    with served(registry, settings.metrics_host, port, variable):
        while not stop.is_set():
            for job in jobs:
                _run(job, log)
            stop.wait(every.total_seconds())


def _run(job: Callable[[logging.Logger], None], log: logging.Logger) -> None:
    try:
        with clear_outages():
            job(log)
    except StorelakeError as error:
        log.error("run_failed", extra={"error": str(error)})
    except Exception as error:  # its cause may be gone at the next run
        log.exception("run_failed", extra={"error": first_line(error)})
