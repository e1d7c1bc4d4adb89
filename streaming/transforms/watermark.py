"""The watermark of event time, and the events that are too late for their hour.

The rule for all streams: the watermark is the newest event time seen less `streams.watermark`, and
an event counts towards it only up to its broker's time and the present. So a producer whose clock
is ahead makes nobody else late, also where the broker's time is the producer's own (CreateTime).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from streaming.source import HISTORY_HEADER, SOURCE_COLUMNS

HOUR = timedelta(hours=1)

LATE = "late"
"""The id of the rule that a late event failed."""

CLOCK_AHEAD = timedelta(seconds=30)
"""A producer's clock is ahead where its event is later than the broker's time, or than the present,
by more than this."""


def newest_event_time(rows: pa.Table, now: datetime) -> datetime | None:
    """The newest event time (UTC), each at most the broker's time of the event, and the present.

    Args:
        rows: event_time, timestamp and headers; imported ones do not count.
        now: UTC; also in place of a broker's time that cannot be one.

    Returns:
        None without rows that count.
    """
    rows = rows.select(["event_time", "timestamp"]).filter(pc.invert(is_history(rows)))
    arrived = pc.coalesce(rows["timestamp"], pa.scalar(now, rows["timestamp"].type))
    bounded = pc.if_else(pc.less(rows["event_time"], arrived), rows["event_time"], arrived)
    newest: datetime | None = pc.max(bounded).as_py()
    return newest and min(newest, now)


def advance_watermark(
    watermark: datetime | None, newest: datetime | None, delay: timedelta
) -> datetime | None:
    """The newest event time less `delay`; UTC, and never earlier than before."""
    if newest is None:
        return watermark
    return max(watermark or newest - delay, newest - delay)


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


def is_history(rows: pa.Table) -> pa.Array:
    """True for an event with `HISTORY_HEADER`: it comes from an import, and is not late.

    Args:
        rows: headers.
    """
    headers = rows["headers"].combine_chunks()
    names = pc.struct_field(pc.list_flatten(headers), "key")
    found = pc.list_parent_indices(headers).filter(pc.equal(names, HISTORY_HEADER))
    return pc.is_in(pa.array(range(rows.num_rows), pa.int64()), found.cast(pa.int64()))


def marked_late(rows: pa.Table) -> pa.Table:
    """The original messages of late events, with the rule id `LATE`: rows of `late_events`."""
    rules = pa.array([[LATE]] * rows.num_rows, pa.list_(pa.string()))
    return rows.select(list(SOURCE_COLUMNS)).append_column("rules", rules)


def clocks_ahead(rows: pa.Table, now: datetime) -> Mapping[str, int]:
    """Branch -> number of its events that are `CLOCK_AHEAD` of the broker's time or of `now` (UTC).

    Args:
        rows: branch_id, event_time and timestamp; also rejected ones.
        now: the present.
    """
    event_time = rows["event_time"]
    of_broker = pc.greater(pc.subtract(event_time, rows["timestamp"]), CLOCK_AHEAD)
    of_now = pc.greater(event_time, pa.scalar(now + CLOCK_AHEAD, event_time.type))
    return _by_branch(rows, pc.or_kleene(of_broker, of_now))


def clocks_unreadable(rows: pa.Table) -> Mapping[str, int]:
    """Branch -> number of its messages whose broker's time cannot be one: the same columns."""
    return _by_branch(rows, pc.is_null(rows["timestamp"]))


def _by_branch(rows: pa.Table, where: pa.ChunkedArray) -> Mapping[str, int]:
    counted = pc.value_counts(rows["branch_id"].filter(where).drop_null())
    return {one["values"]: one["counts"] for one in counted.to_pylist()}
