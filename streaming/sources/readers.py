"""A partitioned log as a Python Data Source of Spark, batch and streaming.

Small batches are cheap: the planner process on the driver reads up to `prefetchRows` waiting rows
through a consumer that is kept open, and passes them to Spark with the plan. Such a batch starts
no Python worker. A larger one is split into at most `readTasks` tasks, in a dense log evenly,
whatever the number of broker partitions. PySpark 4.1 passes rows in this way for its own
`SimpleDataSourceStreamReader`.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pyarrow as pa
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
from pyspark.sql.datasource_internal import _SimpleStreamReaderWrapper
from pyspark.sql.types import StructType

from streaming.source import HEARTBEAT, PACKED_DDL, SOURCE_DDL, packed
from streaming.sources.log import (
    DataLossError,
    Limit,
    Log,
    Offsets,
    Partition,
    Range,
    Task,
    Wire,
    from_wire,
    heartbeat_of,
    to_wire,
)
from streaming.sources.options import ReadOptions
from streaming.sources.rows import to_arrow

log = logging.getLogger(__name__)


def _ranges(broker: Log, start: Offsets, end: Offsets) -> list[Range]:
    """The non-empty ranges between two offsets; a partition new in `end` starts at its first."""
    spans = ((p, start.get(p, broker.origin(e)), e) for p, e in sorted(end.items()))
    return [Range(t, n, s, e) for (t, n), s, e in spans if e > s]


def _present(ranges: Sequence[Range], bounds: Mapping[Partition, tuple[int, int]]) -> list[Range]:
    """The parts of the ranges that the broker still holds."""
    held = ((r, *bounds.get((r.topic, r.partition), (0, 0))) for r in ranges)
    cut = (replace(r, start=max(r.start, low), end=min(r.end, high)) for r, low, high in held)
    return [r for r in cut if r.end > r.start]


class LogBatchReader(DataSourceReader):
    """`spark.read.format(...)`: all messages from startingOffsets to the present end."""

    def __init__(self, broker: Log, options: ReadOptions) -> None:
        self._broker, self._options = broker, options

    def partitions(self) -> Sequence[InputPartition]:
        """Plan once, on the driver."""
        bounds = self._broker.bounds()
        ends = {p: bounds[p][1] for p in bounds}
        ranges = _ranges(self._broker, _start(self._broker, self._options), ends)
        return self._broker.split(ranges, 1_000) or [Task(())]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Read one task's ranges as Arrow batches."""
        return self._broker.fetch(cast(Task, partition).ranges)


def _start(broker: Log, options: ReadOptions) -> Offsets:
    """Offsets where a read without a checkpoint starts."""
    return starting_offsets(broker.bounds(), options.starting, broker.origin)


def starting_offsets(
    bounds: Mapping[Partition, tuple[int, int]],
    starting: str,
    origin: Callable[[int], int] = lambda _: 0,
) -> Offsets:
    """Start offsets of a new stream: earliest, latest, or JSON such as {"topic": {"0": 5}}.

    Offsets in JSON are those of the broker; `origin` of `Log` places them in their generation.
    In JSON -2 is the earliest and -1 the latest offset, as in Spark's own Kafka source. A
    partition that the JSON does not name starts at its earliest offset.
    """
    if starting == "latest":
        return {p: high for p, (_, high) in bounds.items()}
    offsets = {p: low for p, (low, _) in bounds.items()}
    if starting != "earliest":
        for partition, offset in from_wire(json.loads(starting)).items():
            if partition not in bounds:
                raise ValueError(f"startingOffsets names {partition}, which does not exist")
            low, high = bounds[partition]
            first = origin(high)
            here = offset if offset >= first else first + offset
            offsets[partition] = {-2: low, -1: high}.get(offset, here)
    return offsets


class LogStreamReader(_SimpleStreamReaderWrapper):
    """`spark.readStream.format(...)`; streaming/sources/log.py describes its guarantees.

    It inherits from PySpark's prefetching wrapper only to be recognised as one; every method that
    Spark calls is its own.
    """

    def __init__(self, broker: Log, options: ReadOptions) -> None:
        self._broker, self._options = broker, options
        self._position: Offsets | None = None
        self._behind = True
        self._heartbeat, self._active_at = 0, time.monotonic()
        self._prefetched: list[tuple[Wire, Wire, pa.RecordBatch]] = []

    def initialOffset(self) -> Wire:  # noqa: N802  (Spark's name)
        """Where a stream without a checkpoint starts."""
        return to_wire(_start(self._broker, self._options))

    def latestOffset(self) -> Wire:  # noqa: N802
        """The end of the next batch; equal to the last one when nothing waits."""
        if self._position is None:
            self._position = from_wire(self.initialOffset())
        before = self._position
        try:
            self._position = self._advance(self._position)
        except DataLossError as loss:
            if self._options.on_data_loss == "fail":
                self._broker.check(self._position)
                raise
            log.warning("data loss, continuing by option: %s", loss)
            self._position = self._into_bounds(self._position)
        if self._position != before:
            self._active_at = time.monotonic()
        elif self._is_idle(self._position):
            self._active_at = time.monotonic()
            self._heartbeat = max(self._heartbeat + 1, time.time_ns() // 1_000)
        return to_wire(self._position, self._heartbeat)

    def _is_idle(self, position: Offsets) -> bool:
        """Whether a heartbeat is due; the broker confirms that nothing waits."""
        is_due = 0 < self._options.heartbeat <= time.monotonic() - self._active_at
        return is_due and not self._broker.behind(position)

    def _advance(self, position: Offsets) -> Offsets:
        options = self._options
        limit = min(options.prefetch_rows, options.max_rows)
        if not self._behind and limit:
            rows, end = self._broker.poll(position, Limit(limit, options.max_bytes))
            if rows is None or rows.num_rows < limit:
                if rows is not None:
                    self._prefetched.append((to_wire(position), to_wire(end), rows))
                return end
        end, waiting = self._broker.advance(position, Limit(options.max_rows, options.max_bytes))
        # Behind by a whole prefetch: plan tasks, and query the broker first next time.
        self._behind = waiting >= max(limit, 1)
        return end

    def _into_bounds(self, position: Offsets) -> Offsets:
        return {
            p: (low if not low <= position.get(p, low) <= high else position.get(p, low))
            for p, (low, high) in self._broker.bounds().items()
        }

    def partitions(self, start: Wire, end: Wire) -> Sequence[InputPartition]:
        """Plan [start, end); start == end after a restart, at the position of the checkpoint."""
        if self._position is None:
            self._position, self._heartbeat = from_wire(end), heartbeat_of(end)
        if self.getCache(start, end) is not None:
            return [Task(())]
        ranges = _ranges(self._broker, from_wire(start), from_wire(end))
        if self._options.on_data_loss == "continue":
            ranges = _present(ranges, self._broker.bounds())
        tasks = self._broker.split(ranges, self._options.tasks)
        is_new = heartbeat_of(end) > heartbeat_of(start)
        return [*tasks, Task((), heartbeat_of(end))] if is_new else tasks

    def getCache(self, start: Wire, end: Wire) -> Iterator[Any] | None:  # type: ignore[override]  # noqa: N802
        """The prefetched rows of exactly [start, end), or None: then tasks read them."""
        if heartbeat_of(start) != heartbeat_of(end):
            return None
        found: list[pa.RecordBatch] = []
        at, end = to_wire(from_wire(start)), to_wire(from_wire(end))
        for from_, to, rows in self._prefetched:
            if from_ == at and at != end:
                found.append(rows)
                at = to
        if not found or at != end:
            return None
        return map(self._form, (rows for rows in found if rows.num_rows))

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """Read one task's ranges as Arrow batches, in a Python worker."""
        task = cast(Task, partition)
        if task.heartbeat is not None:
            yield self._form(heartbeat_row(task.heartbeat))
        else:
            yield from map(self._form, self._broker.fetch(task.ranges))

    def _form(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        return packed(rows) if self._options.packed else rows

    def commit(self, end: Wire) -> None:
        """Drop prefetched rows up to `end`, and report the progress to the broker's tools."""
        done = from_wire(end)
        self._prefetched = [
            (s, e, rows)
            for s, e, rows in self._prefetched
            if any(o > done.get(p, 0) for p, o in from_wire(e).items())
        ]
        self._broker.commit(done)

    def stop(self) -> None:
        """Close the planner's consumer."""
        self._broker.close()


def heartbeat_row(at: int) -> pa.RecordBatch:
    """The source row of a heartbeat at a time, in microseconds since 1970 in UTC."""
    return to_arrow([(None, None, HEARTBEAT, 0, f"{at:020d}", at, None)])


class LogSource(DataSource):
    """Base of `format("storelake_<broker>")` for every broker: batch and streaming."""

    def open_log(self) -> Log:
        """The broker that `self.options` name; `ValueError` names a wrong option."""
        return self.connect(ReadOptions.parse(self.options))

    def connect(self, options: ReadOptions) -> Log:
        """The broker that the options name. Connections are made at first use."""
        raise NotImplementedError

    def schema(self) -> str:
        """The source row, or many packed into one."""
        return PACKED_DDL if ReadOptions.parse(self.options).packed else SOURCE_DDL

    def reader(self, schema: StructType) -> LogBatchReader:  # noqa: ARG002
        """For `spark.read`."""
        options = ReadOptions.parse(self.options)
        return LogBatchReader(self.connect(options), options)

    def streamReader(self, schema: StructType) -> LogStreamReader:  # noqa: N802, ARG002
        """For `spark.readStream`."""
        options = ReadOptions.parse(self.options)
        return LogStreamReader(self.connect(options), options)
