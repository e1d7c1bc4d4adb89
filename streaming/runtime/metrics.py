"""Prometheus metrics of the streams: one series per stream, whichever queries they share.

Rows, seconds and state come from the progress of Spark's queries (`listener.py`), the counts of
late, skipped and rejected rows from the sinks, lag from the brokers (`lag.py`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from streaming.runtime.health import STATES, State
from streaming.transforms.silver_detections import PERSON

log = logging.getLogger("storelake.streams")

_SECONDS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_STREAM = ("stream",)
LABELS = 20


@dataclass(frozen=True)
class Progress:
    """Figures of one finished micro-batch of a query, from Spark.

    Attributes:
        rows: read.
        input_rate: rows a second that came since the batch before.
        processed_rate: rows a second of this batch's own time.
        seconds: of the whole batch.
        phases: seconds of its parts, by Spark's names (`latestOffset`, `addBatch`, ...).
        watermark: of a query that has one.
        state_rows: kept by a stateful query; None of one without state.
        state_bytes: of memory and files that hold them.
        late_rows: dropped by the watermark.
    """

    rows: int
    input_rate: float
    processed_rate: float
    seconds: float
    phases: Mapping[str, float]
    watermark: datetime | None = None
    state_rows: int | None = None
    state_bytes: int | None = None
    late_rows: int = 0


class StreamMetrics:
    """The meters of the streams of one application, in a registry of their own.

    Args:
        streams: their names; series that exist from the start can be alerted on.
        settling: those of them that have an interval task.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        streams: Sequence[str],
        settling: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self._named: set[tuple[str, str]] = set()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"storelake_stream_{name}", text, _STREAM + labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"storelake_stream_{name}", text, _STREAM + labels, registry=registry)

        def seconds(name: str, text: str) -> Histogram:
            return Histogram(
                f"storelake_stream_{name}", text, _STREAM, buckets=_SECONDS, registry=registry
            )

        self._up = gauge("up", "1 while its query runs; 0 while it starts, or waits to retry.")
        self._state = gauge(
            "state", "1 for the state that the stream is in, 0 for the others.", "state"
        )
        self._batches = counter("batches", "Micro-batches that Spark has committed.")
        self._rows = counter("input_rows", "Rows read, those of repeated batches included.")
        self._input_rate = gauge(
            "input_rows_per_second", "Rows a second that came before the newest batch."
        )
        self._processed_rate = gauge(
            "processed_rows_per_second", "Rows a second of the newest batch's own time."
        )
        self._seconds = seconds("batch_seconds", "Time of a micro-batch.")
        self._phases = counter(
            "phase_seconds",
            "Time of its phases, by Spark's names; addBatch has the sinks.",
            "phase",
        )
        self._sink = counter("sink_seconds", "Time of the stream's own sink.")
        self._latency = seconds(
            "latency_seconds",
            "From the broker's timestamp of a batch's oldest row (of frames: from the capture) to "
            "the end of the stream's sink.",
        )
        self._lag = gauge(
            "lag_rows", "Messages behind the end of the topics (Pulsar: entries).", "broker"
        )
        self._watermark = gauge("watermark_timestamp_seconds", "Up to when events have been seen.")
        self._state_rows = gauge("state_rows", "Rows of state.")
        self._state_bytes = gauge("state_bytes", "Memory and files of the state.")
        self._late = counter("late_rows", "Rows that came later than is allowed, put aside.")
        self._ahead = counter(
            "clock_ahead_events",
            "Events later than the broker's time, or the present, by 30 s or more: the clock of "
            "their producer is ahead.",
            "branch",
        )
        self._unreadable = counter(
            "clock_unreadable_events",
            "Events whose broker's time cannot be one, such as seconds in place of milliseconds.",
            "branch",
        )
        self._objects = counter(
            "objects",
            f"Objects in frames, by label; at most {LABELS} of a camera.",
            "camera",
            "label",
        )
        self._labels: dict[str, set[str]] = {}
        self._dead = counter("dead_letters", "Messages that broke a rule, put aside.")
        self._skipped = counter(
            "skipped_rows", "Rows that a sink had already: of a batch that came again.", "sink"
        )
        self._failures = counter("failures", "Failed starts, batches and interval tasks, retried.")
        self._refused = counter(
            "refused_rows", "Rows that a sink could not hold for their data, put into quarantine."
        )
        self._last_batch = gauge(
            "last_batch_timestamp_seconds", "When the newest micro-batch was committed."
        )
        self._last_settled = gauge(
            "last_settled_timestamp_seconds", "End of the stream's last interval task."
        )
        self.broker_up = Gauge(
            "storelake_stream_broker_up",
            "Whether the broker answered the last query of its end offsets.",
            ("broker",),
            registry=registry,
        )
        for stream in streams:
            _begin(
                stream,
                *(self._up, self._batches, self._rows, self._seconds, self._sink, self._latency),
                *(self._late, self._dead, self._failures, self._refused),
            )
            self.state(stream, STATES[0])
        now = clock()
        for stream in settling:
            self._last_settled.labels(stream).set(now)

    def is_up(self, stream: str, up: bool) -> None:
        """Whether its query runs."""
        self._up.labels(stream).set(up)

    def state(self, stream: str, state: State) -> None:
        """Set the state of a stream (`streaming.runtime.health`)."""
        for one in STATES:
            self._state.labels(stream, one).set(one == state)

    def progressed(self, streams: Iterable[str], progress: Progress) -> None:
        """Record a finished micro-batch of the query that serves these streams."""
        now = self._clock()
        for stream in streams:
            self._batches.labels(stream).inc()
            self._rows.labels(stream).inc(progress.rows)
            self._input_rate.labels(stream).set(progress.input_rate)
            self._processed_rate.labels(stream).set(progress.processed_rate)
            self._seconds.labels(stream).observe(progress.seconds)
            for phase, seconds in progress.phases.items():
                self._phases.labels(stream, phase).inc(seconds)
            self._last_batch.labels(stream).set(now)
            self._late.labels(stream).inc(progress.late_rows)
            if progress.watermark is not None:
                self._watermark.labels(stream).set(progress.watermark.timestamp())
            if progress.state_rows is not None:
                self._state_rows.labels(stream).set(progress.state_rows)
            if progress.state_bytes is not None:
                self._state_bytes.labels(stream).set(progress.state_bytes)

    def behind(self, stream: str, broker: str, rows: int) -> None:
        """Set the lag of a stream."""
        self._lag.labels(stream, broker).set(rows)

    def failed(self, streams: Iterable[str]) -> None:
        """Count a failure of their query, which is retried."""
        for stream in streams:
            self._failures.labels(stream).inc()

    def settled(self, stream: str) -> None:
        """Record the end of the stream's interval task."""
        self._last_settled.labels(stream).set(self._clock())

    def dead_letters(self, stream: str, rows: int) -> None:
        """Count messages put aside for the rules that they broke."""
        self._dead.labels(stream).inc(rows)

    def late(self, stream: str, rows: int) -> None:
        """Count rows that came later than is allowed."""
        self._late.labels(stream).inc(rows)

    def clock_ahead(self, stream: str, branch: str, events: int) -> None:
        """Count events of a branch whose producer's clock is ahead; the first one is logged."""
        self._name_once(branch, "a clock of branch %s is ahead")
        self._ahead.labels(stream, branch).inc(events)

    def clock_unreadable(self, stream: str, branch: str, events: int) -> None:
        """Count events of a branch whose broker's time cannot be one; the first one is logged."""
        self._name_once(branch, "a producer of branch %s sends no time in milliseconds")
        self._unreadable.labels(stream, branch).inc(events)

    def _name_once(self, branch: str, problem: str) -> None:
        if (branch, problem) not in self._named:
            self._named.add((branch, problem))
            log.warning(problem, branch)

    def objects(self, stream: str, camera: str, label: str, number: int) -> None:
        """Count objects of a camera with this label; rare labels share the label `(other)`."""
        labels = self._labels.setdefault(camera, {PERSON})
        if len(labels) < LABELS:
            labels.add(label)
        self._objects.labels(stream, camera, label if label in labels else "(other)").inc(number)

    def refused(self, stream: str, rows: int) -> None:
        """Count rows that the sink could not hold because of their data."""
        self._refused.labels(stream).inc(rows)

    def skipped(self, stream: str, sink: str, rows: int) -> None:
        """Count rows that the sink had already."""
        self._skipped.labels(stream, sink).inc(rows)

    def watermark(self, stream: str, moment: datetime | None) -> None:
        """Set up to when events have been seen; None before the first."""
        if moment is not None:
            self._watermark.labels(stream).set(moment.timestamp())

    def wrote(self, stream: str, seconds: float, latency: float | None) -> None:
        """The sink finished a batch; `latency` of its oldest row, None without rows."""
        self._sink.labels(stream).inc(seconds)
        if latency is not None:
            self._latency.labels(stream).observe(latency)


def _begin(stream: str, *meters: MetricWrapperBase) -> None:
    for meter in meters:
        meter.labels(stream)
