"""Spark's progress events, as figures for the stream metrics.

PySpark turns a progress event into Python objects value by value, over a socket to the JVM: for one
batch of a stateful query that took 130 times as long as one JSON text. So the JVM calls a listener
that only requests that text.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from pyspark import SparkContext
from pyspark.sql.streaming.listener import JStreamingQueryListener, StreamingQueryListener

from streaming.runtime.metrics import Progress
from streaming.sources.log import Offsets, from_wire

log = logging.getLogger("storelake.streams")

Notify = Callable[[str, Progress, Sequence[Offsets]], None]
"""(name of the query, figures of the batch, end offsets of each source)."""

READ = "read"
"""Name of the observation in a query's plan that counts the source rows."""

NO_WATERMARK = datetime(1970, 1, 1, tzinfo=timezone.utc)
"""Spark's watermark before the first event."""


class ProgressListener(StreamingQueryListener):
    """Receives every finished micro-batch.

    Args:
        notify: called with the figures of a micro-batch.

    Lost events cost figures, never rows: Spark drops some when a listener is slow, and one that
    fails here is logged.
    """

    def __init__(self, notify: Notify) -> None:
        self._notify = notify

    @property
    def _jlistener(self) -> Any:  # what `addListener` registers
        jvm: Any = SparkContext._jvm
        return jvm.PythonStreamingQueryListenerWrapper(_AsJson(self))

    def take(self, text: str) -> None:
        """One progress event as JSON."""
        try:
            self._notify(*read_progress(text))
        except Exception:  # lost figures must not stop a stream
            log.warning("a progress event could not be read", exc_info=True)

    def onQueryStarted(self, event: Any) -> None:  # noqa: N802  (Spark's names)
        """Ignored: the runner starts the queries."""

    def onQueryProgress(self, event: Any) -> None:  # noqa: N802
        """Ignored: `take` receives it as JSON."""

    def onQueryIdle(self, event: Any) -> None:  # noqa: N802
        """Ignored."""

    def onQueryTerminated(self, event: Any) -> None:  # noqa: N802
        """Ignored: the runner polls the queries."""


class _AsJson(JStreamingQueryListener):
    """The listener that the JVM calls; it passes progress to `pylistener`."""

    pylistener: ProgressListener

    def onQueryStarted(self, jevent: Any) -> None:  # noqa: N802
        pass

    def onQueryProgress(self, jevent: Any) -> None:  # noqa: N802
        self.pylistener.take(jevent.progress().json())

    def onQueryIdle(self, jevent: Any) -> None:  # noqa: N802
        pass

    def onQueryTerminated(self, jevent: Any) -> None:  # noqa: N802
        pass


def read_progress(text: str) -> tuple[str, Progress, list[Offsets]]:
    """Parse a progress event: the query's name, its figures, and the end offsets of each source."""
    reported = json.loads(text)
    phases = {name: ms / 1000 for name, ms in reported["durationMs"].items()}
    operators = reported["stateOperators"]
    packs = reported["numInputRows"]  # a row of Spark is many of ours
    rows = reported.get("observedMetrics", {}).get(READ, {}).get("rows") or 0
    rows_a_pack = rows / packs if packs else 0.0
    progress = Progress(
        rows=rows,
        # Spark leaves out what is not a number.
        input_rate=reported.get("inputRowsPerSecond", 0.0) * rows_a_pack,
        processed_rate=reported.get("processedRowsPerSecond", 0.0) * rows_a_pack,
        seconds=phases.pop("triggerExecution"),
        phases=phases,
        watermark=_watermark(reported.get("eventTime", {}).get("watermark")),
        state_rows=sum(one["numRowsTotal"] for one in operators) if operators else None,
        state_bytes=sum(map(_state_bytes, operators)) if operators else None,
        late_rows=sum(one["numRowsDroppedByWatermark"] for one in operators),
    )
    return reported["name"], progress, [from_wire(one["endOffset"]) for one in reported["sources"]]


def _watermark(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return None if moment == NO_WATERMARK else moment


def _state_bytes(operator: dict[str, Any]) -> int:
    files = operator.get("customMetrics", {}).get("rocksdbSstFileSize", 0)
    return int(operator["memoryUsedBytes"]) + int(files)
