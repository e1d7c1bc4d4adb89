"""Entry points: `storelake run`, and the scripts for `spark-submit`."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Sequence

from conf.errors import StorelakeError
from conf.exporter import served
from conf.logs import configure_logging
from conf.settings import Settings, load_settings
from streaming.runtime.runner import Runner
from streaming.stream import Stream

log = logging.getLogger("storelake.streams")


def run_streams(settings: Settings, streams: Sequence[Stream]) -> None:
    """Run streams until a signal; entry point of `storelake run` and `spark-submit`."""
    settings = settings.acting_as("writer")
    runner = Runner(settings, streams)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stop())
    port = settings.streams.metrics_port
    registry, variable = runner.metrics.registry, "STORELAKE_STREAMS__METRICS_PORT"
    with served(registry, settings.metrics_host, port, variable):
        runner.run()


def submit(*streams: Stream) -> None:
    """Main function of scripts for `spark-submit`: streaming/jobs/NAME.py, streaming/main.py."""
    os.umask(0o077)
    try:
        settings = load_settings()
        configure_logging("streams", settings.log_level)
        logging.getLogger("py4j").setLevel(logging.CRITICAL)  # the runner states what failed
        run_streams(settings, streams)
    except StorelakeError as error:
        log.error("%s", error)
        raise SystemExit(1) from error
