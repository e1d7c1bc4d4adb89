"""The last step of a plan: a task returns few rows to the driver, and writes many itself.

A task holds whole topic partitions. If it has at most `streams.returned_rows`, it returns them,
parsed and validated, and the driver writes them: one round trip for a batch. If it has more, it
calls the same sinks where the rows are: they commit to Postgres, with the positions of the task's
partitions, part by part, while the next part is parsed; for the lake they write data files, which
the driver commits in one snapshot for all tasks. The task then returns what it did.

Delivery guarantee: exactly-once in effect. A task that runs twice, is speculative, or dies at any
point repeats rows that its sinks find committed by their positions (docs/adr/0002); data files that
no commit names are removed by maintenance.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any, cast

import pyarrow as pa

from conf.settings import Settings
from streaming.lake.formats import open_lake
from streaming.lake.protocol import Lake
from streaming.lake.tables import Table
from streaming.runtime.failures import root_cause, span
from streaming.runtime.lease import Epochs
from streaming.runtime.metrics import StreamMetrics
from streaming.runtime.rejections import write_all
from streaming.runtime.task_results import (
    Call,
    Facts,
    QueryPlan,
    StreamWrites,
    TaskResult,
    latest,
    newest_of,
    oldest,
    returned,
)
from streaming.sinks.orders import KEEP_STAGED
from streaming.sinks.postgres import STREAM_BOUNDS, Database
from streaming.source import unpacked
from streaming.steps import compose
from streaming.stream import Batch, Rows, Stream

RESULT_DDL = "result binary"


class TaskError(Exception):
    """An error of a task that cannot be pickled; the message is its cause."""


@dataclass(frozen=True)
class TaskWriter:
    """The function for `mapInArrow`: packed source rows -> one pickled `TaskResult`.

    Without rows it returns nothing.

    Attributes:
        plan: a pickled `QueryPlan`: a worker unpickles it once, not with each batch.
        facts: of the micro-batch.
    """

    plan: bytes
    facts: Facts

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Parse and validate the rows of a task; return or write them."""
        plan, parse = _unpickled(self.plan)
        tables = (parse(unpacked(batch)) for batch in batches if batch.num_rows)
        few: list[pa.Table] = []
        for rows in tables:
            few.append(rows)
            if sum(map(len, few)) > plan.settings.streams.returned_rows:
                yield _packed(_Writes(plan, self.facts).run(chain(few, tables)))
                return
        if few:
            yield _packed(returned(pa.concat_tables(few), "timestamp"))


def _packed(result: TaskResult) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"result": [pickle.dumps(result, protocol=5)]})


class _Writes:
    """Calls the sinks of all streams with the rows of one task."""

    def __init__(self, plan: QueryPlan, facts: Facts) -> None:
        self._plan, self._facts = plan, facts
        self._parts = {stream.name: StreamWrites() for stream in plan.streams}
        self._lakes = {stream.name: _StagingLake(plan.settings) for stream in plan.streams}
        self._db = _database(plan.settings.postgres.dsn)
        self._db.fence = Epochs(facts.epochs)
        self._ends: list[tuple[int, datetime | None, pa.Table]] = []

    def run(self, tables: Iterable[pa.Table]) -> TaskResult:
        """Write each table while the next one is parsed, then the data files of all."""
        with ThreadPoolExecutor(1) as pool:
            running: Future[None] | None = None
            for rows in tables:
                if running:
                    running.result()
                running = pool.submit(self._write, rows)
            if running:
                running.result()
        for name, part in self._parts.items():
            with _errors_in(part):
                self._stage(self._lakes[name], part)
        counts, times, positions = zip(*self._ends, strict=True)
        return TaskResult(
            sum(counts),
            span(pa.concat_tables(positions)),
            min((t for t in times if t), default=None),
            parts=self._parts,
        )

    def _write(self, rows: pa.Table) -> None:
        at = rows.select(["topic", "partition", "position"])
        self._ends.append((rows.num_rows, oldest(rows, "timestamp"), at))
        memory: dict[str, Any] = {}  # of all streams, for these rows
        for stream in self._plan.streams:
            part = self._parts[stream.name]
            if part.error is None:  # positions must not pass rows that are not written
                with _errors_in(part):
                    self._write_to(stream, part, rows, memory)

    def _write_to(
        self, stream: Stream, part: StreamWrites, rows: pa.Table, memory: dict[str, Any]
    ) -> None:
        batch = Batch(
            stream.name,
            cast(Lake, self._lakes[stream.name]),
            self._db,
            self._plan.settings,
            self._plan.stores,
            memory,
            cast(StreamMetrics, _Recorder(part.calls)),
            rows=rows,
            id=self._facts.id,
            watermark=self._facts.watermarks.get(stream.name),
            written=part.written,
        )
        assert stream.write is not None  # noqa: S101 - the plan has only such
        write_all(stream.write, batch, keeps_rejected=stream.keeps_rejected)
        part.newest = latest(part.newest, newest_of(stream, rows))

    @staticmethod
    def _stage(lake: _StagingLake, part: StreamWrites) -> None:
        part.staged = [
            (table, lake.real.stage(table, pa.concat_tables(rows)))
            for table, rows in lake.appended.values()
        ]


@contextmanager
def _errors_in(part: StreamWrites) -> Iterator[None]:
    """Keep an error in the part: the driver raises it, for this stream alone."""
    try:
        yield
    except Exception as error:
        part.error = _portable(error)


class _StagingLake:
    """The lake for sinks in a task: `append` keeps rows, which are staged at the end."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.appended: dict[str, tuple[Table, list[pa.Table]]] = {}

    @property
    def real(self) -> Lake:
        """The lake itself; opened once a worker."""
        return _lake(pickle.dumps(self._settings))

    def append(self, table: Table, rows: pa.Table, batch_id: int) -> int:  # noqa: ARG002
        """Keep rows for `Lake.stage`; what is old among them is skipped by the driver."""
        if rows.num_rows:
            self.appended.setdefault(table.name, (table, []))[1].append(rows)
        return int(rows.num_rows)

    def fresh(self, table: Table, rows: pa.Table) -> pa.Table:
        """As `Lake.fresh`."""
        return self.real.fresh(table, rows) if rows.num_rows else rows


class _Recorder:
    """Stands for `StreamMetrics` in a task: the driver repeats the calls."""

    def __init__(self, calls: list[Call]) -> None:
        self._calls = calls

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self._calls.append((name, arguments))


def _portable(error: Exception) -> Exception:
    """The error itself, if it survives the way to the driver."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    except Exception:  # whatever keeps it from that
        return TaskError(root_cause(error))
    return error


@lru_cache(maxsize=4)
def _unpickled(plan: bytes) -> tuple[QueryPlan, Rows]:
    found: QueryPlan = pickle.loads(plan)  # noqa: S301 - our own bytes
    return found, compose(found.steps, found.settings, found.stores)


@lru_cache(maxsize=2)
def _database(dsn: str) -> Database:
    """One connection a worker process, kept between batches."""
    return Database(dsn, 1, options=f"{STREAM_BOUNDS} {KEEP_STAGED}")


@lru_cache(maxsize=2)
def _lake(settings: bytes) -> Lake:
    return open_lake(pickle.loads(settings))  # noqa: S301 - our own bytes
