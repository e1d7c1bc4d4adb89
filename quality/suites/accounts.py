"""Nothing is dropped silently: what came in is accepted, quarantined or counted as late.

Streams run beside the account, so it ends, partition by partition, at the position that every sink
has passed: no message after it is looked at (docs/adr/0016). The streams that split messages write
what they reject before what they accept, so the positions of silver hold for both. Positions are
read before rows are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, Or

from conf.settings import Settings
from quality.context import AuditContext
from quality.facts import MINUTE, UTC_TIME, hours_of, rows_of, within
from quality.reconciliation import (
    DETECTIONS,
    LATE_ORDERS,
    ORDERS,
    POSITION,
    Split,
    position_ids,
    positions_of,
    split,
    without,
)
from quality.suite import FactSuite, Suite, at_most, equal
from streaming.lake.protocol import Where
from streaming.lake.tables import Table
from streaming.progress import Progress

OVERLAP = 2 * MINUTE
"""So far before the first new message an account begins: sinks commit one after the other."""
FEWEST = 100
"""Of fewer messages no share is made: one in a hundred of ten is no news."""

ACCOUNT = {
    "topic": pa.string(),
    "partition": pa.int32(),
    "hour": UTC_TIME,
    "received": pa.int64(),
    "accounted": pa.int64(),
    "handled": pa.int64(),
    "late": pa.int64(),
    "late_accepted": pa.int64(),
    "quarantined_share": pa.float64(),
    "late_share": pa.float64(),
    "example": pa.string(),
}
"""Of a topic's partition: messages in bronze, how many of them are good or quarantined, all good or
quarantined ones, late ones, how many of them are good. Of an hour of arrival: shares."""


def account_suites(settings: Settings) -> list[Suite]:
    """All suites of this module."""
    limits = settings.quality
    accounted = equal(
        "accounted_for",
        "A message in bronze is neither in silver nor in quarantine.",
        "received",
        "accounted",
        "each message is in silver or in quarantine",
        unit="messages",
    )
    quarantined = at_most(
        "quarantined_share",
        "More messages of an hour are rejected than usual: a producer sends something new.",
        "quarantined_share",
        limits.quarantined_share,
        f"at most {limits.quarantined_share:.0%} of the messages of an hour are quarantined",
        unit="hours",
    )
    orders = (
        accounted,
        equal(
            "received",
            "Silver or quarantine holds a message that bronze has not.",
            "handled",
            "accounted",
            "each message in silver or quarantine is in bronze",
            unit="messages",
        ),
        equal(
            "late_accepted",
            "An event was set aside as late that silver.orders has not accepted.",
            "late",
            "late_accepted",
            "each late event is in silver.orders",
            unit="late events",
        ),
        quarantined,
        at_most(
            "late_share",
            "More events of an hour come too late than usual: a till was cut off, or its clock is "
            "wrong.",
            "late_share",
            limits.late_share,
            f"at most {limits.late_share:.0%} of the events of an hour are late",
            unit="hours",
        ),
    )
    frames = (accounted, quarantined)
    return [
        FactSuite(ORDERS.received.name, "account", ACCOUNT, load_orders, orders, "hours"),
        FactSuite(DETECTIONS.received.name, "account", ACCOUNT, load_detections, frames, "hours"),
    ]


def start_of(context: AuditContext, reach: timedelta, *tables: Table) -> datetime | None:
    """From which time of arrival on messages are accounted for; None without new ones."""
    spans = [span for table in tables if (span := context.touched(table.name))]
    if not spans:
        return None
    earliest, latest = min(s[0] for s in spans), max(s[1] for s in spans)
    return max(earliest - OVERLAP, latest - reach)


def up_to(rows: pa.Table, bound: Progress) -> pa.Table:
    """The rows up to a position, of the partitions that have one."""
    at = pc.binary_join_element_wise(rows["topic"], rows["partition"].cast(pa.string()), "/")
    names = pa.array([f"{topic}/{number}" for topic, number in bound], pa.string())
    ends = pa.array(list(bound.values()), pa.string())
    end = ends.take(pc.index_in(at, names).cast(pa.int64()))
    return rows.filter(pc.fill_null(pc.less_equal(rows["position"], end), False))


def common(*places: Progress) -> dict[tuple[str, int], str]:
    """How far all of them are; a partition that one has not begun is left out."""
    shared = reduce(set.intersection, (set(place) for place in places))
    return {at: min(place[at] for place in places) for at in shared}


def _received(parts: Split) -> dict[str, dict[tuple[str, int], int]]:
    return {
        "received": _per_partition(parts.received),
        "accounted": _per_partition(without(parts.received, parts.unaccounted)),
    }


def _per_partition(ids: pa.Array) -> dict[tuple[str, int], int]:
    counts = positions_of(ids).group_by(["topic", "partition"]).aggregate([([], "count_all")])
    return {(r["topic"], r["partition"]): r["count_all"] for r in counts.to_pylist()}


def _examples(*tables: pa.Table) -> dict[tuple[str, int], str]:
    rows = pa.concat_tables([t.select(list(POSITION)) for t in tables])
    first = rows.group_by(["topic", "partition"]).aggregate([("position", "min")])
    return {(r["topic"], r["partition"]): r["position_min"] for r in first.to_pylist()}


def load_orders(context: AuditContext) -> Iterator[dict[str, Any]]:
    """The account of the order topics, by partition; and shares, by hour of arrival."""
    tables = (ORDERS.good, ORDERS.received, ORDERS.quarantined, LATE_ORDERS)
    start = start_of(context, context.settings.quality.reach, *tables)
    if start is None:
        return
    bound = common(*(context.progress(table.name) for table in tables[:2]))
    silver, bronze, rejected, late = (
        up_to(rows_of(context, t, (*POSITION, "timestamp"), within(t, start)), bound)
        for t in tables
    )
    parts = split(*(position_ids(rows) for rows in (bronze, silver, rejected, late)))
    counts = {
        **_received(parts),
        "handled": _per_partition(parts.handled),
        "late": _per_partition(parts.late),
        "late_accepted": _per_partition(without(parts.late, parts.late_rejected)),
    }
    wrong = (parts.unaccounted, parts.unreceived, parts.late_rejected)
    examples = _examples(*(positions_of(ids) for ids in wrong))
    yield from _partitions(bound, counts, examples)
    yield from _shares(received_at=bronze, rejected=rejected, late=late, accepted=silver)


def _partitions(
    bound: Progress, counts: Mapping[str, Mapping[Any, int]], examples: Mapping[Any, str]
) -> Iterator[dict[str, Any]]:
    for at in sorted(bound):
        found = {name: of.get(at, 0) for name, of in counts.items()}
        yield {"topic": at[0], "partition": at[1], **found, "example": examples.get(at)}


def _shares(
    received_at: pa.Table, rejected: pa.Table, late: pa.Table, accepted: pa.Table | None
) -> Iterator[dict[str, Any]]:
    """Per hour of arrival what is rejected of all, and late of what is accepted."""
    all_, bad, slow = (_per_hour(rows) for rows in (received_at, rejected, late))
    good = {} if accepted is None else _per_hour(accepted)
    for hour, count in sorted(all_.items()):
        yield {
            "hour": hour,
            "quarantined_share": bad.get(hour, 0) / count if count >= FEWEST else None,
            "late_share": slow.get(hour, 0) / good[hour] if good.get(hour, 0) >= FEWEST else None,
        }


def _per_hour(rows: pa.Table) -> dict[datetime, int]:
    hours = pa.table({"hour": hours_of(rows["timestamp"])}).filter(pc.is_valid(pc.field("hour")))
    counts = hours.group_by("hour").aggregate([([], "count_all")]).to_pylist()
    return {row["hour"]: row["count_all"] for row in counts}


def load_detections(context: AuditContext) -> Iterator[dict[str, Any]]:
    """The account of the detections topics: a frame without people has no row in silver."""
    tables = (DETECTIONS.good, DETECTIONS.received, DETECTIONS.quarantined)
    start = start_of(context, context.settings.quality.lookback, *tables[1:])
    if start is None:
        return
    bound = common(*(context.progress(table.name) for table in tables[:2]))
    columns = (*POSITION, "timestamp")
    bronze = rows_of(context, tables[1], (*columns, "value"), within(tables[1], start))
    bronze = up_to(bronze, bound)
    if not bronze.num_rows:
        return
    rejected = rows_of(context, tables[2], columns, within(tables[2], start))
    rejected = up_to(rejected, bound)
    silver = rows_of(context, tables[0], POSITION, _from(bronze))
    empty = bronze.filter(pc.match_substring_regex(bronze["value"], rb'"detections"\s*:\s*\[\s*\]'))
    good = pa.concat_tables([silver, empty.select(list(POSITION))])
    parts = split(*(position_ids(rows) for rows in (bronze, good, rejected)))
    examples = _examples(positions_of(parts.unaccounted))
    yield from _partitions(bound, _received(parts), examples)
    none = rejected.slice(0, 0)
    yield from _shares(received_at=bronze, rejected=rejected, late=none, accepted=None)


def _from(rows: pa.Table) -> Where:
    """Where the first of the rows is in each partition, and all after it, as a filter."""
    firsts = _examples(rows)
    terms: list[Where] = [
        And(
            EqualTo(term="topic", value=topic),
            And(
                EqualTo(term="partition", value=number),
                GreaterThanOrEqual(term="position", value=position),
            ),
        )
        for (topic, number), position in firsts.items()
    ]
    return reduce(Or, terms)
