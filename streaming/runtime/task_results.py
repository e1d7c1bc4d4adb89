"""What tasks need to know of a query and a micro-batch, and what they return to the driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from conf.settings import Settings
from conf.stores import Stores
from streaming.lake.protocol import Staged
from streaming.lake.tables import Table
from streaming.runtime.failures import span
from streaming.stream import PlanStep, Stream, Written
from streaming.transforms.quarantine import split_validated

Call = tuple[str, tuple[Any, ...]]
"""A method of `StreamMetrics` and its arguments."""


@dataclass(frozen=True)
class QueryPlan:
    """What the tasks of a query need to know, the same for all micro-batches.

    Attributes:
        settings: of the application.
        stores: branches, cameras, lines and zones.
        steps: of the plan.
        streams: that share the query and have a sink.
    """

    settings: Settings
    stores: Stores
    steps: tuple[PlanStep, ...]
    streams: tuple[Stream, ...]


@dataclass(frozen=True)
class Facts:
    """What the tasks need to know of one micro-batch.

    Attributes:
        id: of the micro-batch.
        epochs: stream -> epoch of its lease.
        watermarks: stream -> watermark before the micro-batch (UTC).
    """

    id: int
    epochs: Mapping[str, int]
    watermarks: Mapping[str, datetime | None]


@dataclass
class StreamWrites:
    """What a task has done for one stream.

    Attributes:
        written: to Postgres.
        newest: event time that counts towards the stream's watermark (UTC).
        staged: for the lake, in the order of the sink.
        calls: to repeat on the metrics of the application.
        error: that ended the writes of the stream in this task.
    """

    written: Written = field(default_factory=Written)
    newest: datetime | None = None
    staged: list[tuple[Table, Staged]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    error: Exception | None = None


@dataclass
class TaskResult:
    """What a task returns.

    Attributes:
        count: rows of the task.
        span: their positions, as text.
        oldest: when the oldest was produced (UTC).
        rows: the rows, where the driver is to write them.
        parts: stream -> what was written, where the task has done so.
    """

    count: int
    span: str
    oldest: datetime | None
    rows: pa.Table | None = None
    parts: dict[str, StreamWrites] = field(default_factory=dict)


def returned(rows: pa.Table, event_time_column: str) -> TaskResult:
    """The result of a task whose rows the driver writes."""
    return TaskResult(rows.num_rows, span(rows), oldest(rows, event_time_column), rows)


def oldest(rows: pa.Table, column: str) -> datetime | None:
    """The earliest time in a column; None without rows, or where all are null."""
    moment: datetime | None = pc.min(rows[column].cast(pa.timestamp("us", "UTC"))).as_py()
    return moment


def newest_of(stream: Stream, rows: pa.Table) -> datetime | None:
    """The newest event time of the good rows that counts for the stream's watermark (UTC)."""
    if stream.watermark is None:
        return None
    return stream.watermark(split_validated(rows)[0], datetime.now(timezone.utc))


def latest(*moments: datetime | None) -> datetime | None:
    """The latest of some times; None without any."""
    return max((m for m in moments if m), default=None)
