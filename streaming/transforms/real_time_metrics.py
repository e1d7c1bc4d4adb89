"""Watermark of order events, and the events that are too late for their hour."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from streaming.source import SOURCE_COLUMNS

HOUR = timedelta(hours=1)

LATE = "late"
"""The id of the rule that a late event failed."""


def is_late(
    event_time: pa.ChunkedArray, watermark: datetime | None, lateness: timedelta
) -> pa.Array:
    """True for an event whose hour ended more than `lateness` before the watermark.

    Args:
        event_time: timestamps in UTC.
        watermark: UTC; None before the first batch: no event is late.
        lateness: how long after the end of its hour an event is still applied.
    """
    hour = pc.floor_temporal(event_time, unit="hour")
    if watermark is None:
        return pc.equal(hour, None).fill_null(False)
    # hour + 1 h + lateness <= watermark, with the constants on one side.
    return pc.less_equal(hour, pa.scalar(watermark - HOUR - lateness, event_time.type))


def advance_watermark(
    watermark: datetime | None, event_time: pa.ChunkedArray, delay: timedelta
) -> datetime | None:
    """The highest event time seen, less `delay`; UTC, and never earlier than before."""
    newest: datetime | None = pc.max(event_time).as_py()
    if newest is None:
        return watermark
    return max(watermark or newest - delay, newest - delay)


def marked_late(rows: pa.Table) -> pa.Table:
    """The original messages of late events, with the rule id `LATE`: rows of `late_events`."""
    rules = pa.array([[LATE]] * rows.num_rows, pa.list_(pa.string()))
    return rows.select(list(SOURCE_COLUMNS)).append_column("rules", rules)
