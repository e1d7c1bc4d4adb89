"""Writes the micro-batches of a query: what tasks return, and the commits of what they staged."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import chain

import pyarrow as pa
from pyspark import cloudpickle
from pyspark.sql import DataFrame

from streaming.lake.protocol import Staged
from streaming.lake.tables import Table
from streaming.runtime.failures import SinkError
from streaming.runtime.rejections import write_all
from streaming.runtime.task_results import (
    Facts,
    QueryPlan,
    StreamWrites,
    TaskResult,
    latest,
    newest_of,
    returned,
)
from streaming.runtime.tasks import RESULT_DDL, TaskWriter
from streaming.sinks.postgres import ClosedBatch, Database
from streaming.stream import Batch, SinkContext, Stream, Written
from streaming.transforms.watermark import advance_watermark


class BatchWriter:
    """Writes each micro-batch of one query to the sinks of all its streams.

    Args:
        plan: of the query.
        contexts: stream -> resources of its sink.
        epoch: stream -> epoch of its lease.
        db: Postgres.
    """

    def __init__(
        self,
        plan: QueryPlan,
        contexts: Callable[[Stream], SinkContext],
        epoch: Callable[[str], int],
        db: Database,
    ) -> None:
        self._plan, self._db, self._epoch = plan, db, epoch
        self._state = next((s.state for s in plan.streams), None)
        self._writers = [(stream, contexts(stream)) for stream in plan.streams]
        self._pickled = b"" if self._state else bytes(cloudpickle.dumps(plan))  # type: ignore[no-untyped-call]
        self._watermarks: dict[str, datetime | None] = {}

    def write(self, df: DataFrame, batch_id: int) -> int:
        """Write a micro-batch; returns the number of its rows.

        Raises:
            SinkError: some sinks failed; all have ended.
        """
        before = {s.name: self._watermark(s) for s, _ in self._writers}
        results = self._run(df, Facts(batch_id, {s: self._epoch(s) for s in before}, before))
        # In parallel: sinks mostly wait for disks and the database.
        with ThreadPoolExecutor(len(self._writers)) as pool:
            writing = {
                stream.name: pool.submit(self._finish, stream, context, results, batch_id)
                for stream, context in self._writers
            }
        errors = {name: one.exception() for name, one in writing.items()}
        closed = {name: one.result() for name, one in writing.items() if not errors[name]}
        self._db.close_batch(batch_id, {name: b for name, b in closed.items() if b.rows})
        self._watermarks |= {name: b.watermark for name, b in closed.items()}
        if failed := {name: e for name, e in errors.items() if isinstance(e, Exception)}:
            raise SinkError(failed, "; ".join(result.span for result in results))
        return sum(result.count for result in results)

    def _run(self, df: DataFrame, facts: Facts) -> list[TaskResult]:
        """Run the plan: the results of its tasks that had rows."""
        if self._state:  # its rows are not in the order of the topics, so tasks cannot commit them
            rows = df.toArrow()
            return [returned(rows, self._state.event_time_column)] if rows.num_rows else []
        found = df.mapInArrow(TaskWriter(self._pickled, facts), RESULT_DDL).toArrow()
        return [pickle.loads(one) for one in found["result"].to_pylist()]  # noqa: S301 - our tasks'

    def _watermark(self, stream: Stream) -> datetime | None:
        """Of a stream, before the batch; only its first batch reads it."""
        if stream.watermark is None:
            return None
        if stream.name not in self._watermarks:
            self._watermarks[stream.name] = self._db.progress(stream.name)[1]
        return self._watermarks[stream.name]

    def _finish(
        self, stream: Stream, context: SinkContext, results: Sequence[TaskResult], batch_id: int
    ) -> ClosedBatch:
        """Write the rows that tasks returned, and commit what they staged, for one stream."""
        started = time.monotonic()
        parts = [result.parts[stream.name] for result in results if stream.name in result.parts]
        if error := next((part.error for part in parts if part.error), None):
            raise error
        written, times = Written(), [part.newest for part in parts]
        if rows := [result.rows for result in results if result.rows is not None]:
            batch = Batch(
                **vars(context),
                rows=pa.concat_tables(rows),
                id=batch_id,
                watermark=self._watermarks.get(stream.name),
                written=written,
            )
            assert stream.write is not None  # noqa: S101 - the plan has only such
            write_all(stream.write, batch, keeps_rejected=stream.keeps_rejected)
            times.append(newest_of(stream, batch.rows))
        _commit_staged(context, parts, batch_id)
        self._count(context, parts, results, time.monotonic() - started)
        watermark = advance_watermark(
            self._watermarks.get(stream.name), latest(*times), context.settings.streams.watermark
        )
        context.metrics.watermark(stream.name, watermark)
        return ClosedBatch(
            sum(p.written.rows for p in parts) + written.rows,
            sum(p.written.new for p in parts) + written.new,
            watermark,
        )

    @staticmethod
    def _count(
        context: SinkContext,
        parts: Sequence[StreamWrites],
        results: Sequence[TaskResult],
        seconds: float,
    ) -> None:
        for name, arguments in chain.from_iterable(part.calls for part in parts):
            getattr(context.metrics, name)(*arguments)
        first = min((r.oldest for r in results if r.oldest), default=None)
        latency = time.time() - first.timestamp() if first else None
        context.metrics.wrote(context.stream, seconds, latency)


def _commit_staged(context: SinkContext, parts: Sequence[StreamWrites], batch_id: int) -> None:
    """One commit for each table, in the order in which the sink has appended to them."""
    staged: dict[str, tuple[Table, list[Staged]]] = {}
    for table, one in chain.from_iterable(part.staged for part in parts):
        staged.setdefault(table.name, (table, []))[1].append(one)
    for table, ones in staged.values():
        new = context.lake.append_staged(table, ones, batch_id)
        context.metrics.skipped(context.stream, table.name, sum(s.rows for s in ones) - new)
