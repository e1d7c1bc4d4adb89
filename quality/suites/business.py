"""Expectations on a business day: cameras send, streams keep up, hours have no gap.

A deployment that receives nothing is idle, and no camera in it is stale: age is measured to the
newest input from any source, never to the clock alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from great_expectations.expectations.expectation import Expectation

from conf.contracts.order_event import STATUSES
from conf.settings import Settings
from conf.stores import Branch
from quality.context import AuditContext
from quality.facts import DAY, HOUR, MINUTE, UTC_TIME, floor, named
from quality.suite import FactSuite, RowSuite, Shape, Suite, at_most, null
from streaming import registry
from streaming.lake.tables import (
    BRONZE_DETECTIONS,
    BRONZE_ORDER_EVENTS,
    GOLD_ORDER_HOURLY,
    GOLD_PRODUCT_DAILY,
    GOLD_STORE_HOURLY,
    SILVER_DETECTIONS,
    Table,
)

FEWEST = 10
"""An hour with nothing is missing where at least so many were to be expected: by chance alone, at
a steady rate, that happens once in e^10 = 22,000 hours."""
SAME_HOURS = 7
"""Of so many earlier days the same hour must be known."""
TRUSTED_COVERAGE = 0.5
"""Share of an hour's camera minutes from which on its conversion rate is looked at."""

CAMERAS_SQL = """
    SELECT camera_id, max(minute) + interval '1 minute' AS seen FROM footfall_minute
    WHERE minute >= %(start)s GROUP BY camera_id"""
NEWEST_SQL = """
    SELECT greatest((SELECT max(received_at) FROM (
            SELECT received_at FROM orders_raw ORDER BY seq DESC LIMIT 1000) AS last_written),
        (SELECT max(minute) + interval '1 minute' FROM footfall_minute WHERE minute >= %(start)s)
    ) AS newest"""
OFFSETS_SQL = """
    SELECT o.stream, o.topic, o.partition, o.position, b.committed_at
    FROM stream_offsets o LEFT JOIN LATERAL (
        SELECT committed_at FROM stream_batches n WHERE n.query_id = o.stream
        ORDER BY batch_id DESC LIMIT 1
    ) b ON true"""
HOURS_SQL = """
    SELECT branch_id, hour, coalesce(m.order_count, 0) AS orders, coalesce(f.frames, 0) AS frames
    FROM (SELECT * FROM order_metrics WHERE hour >= %(start)s
        AND metric_date >= (%(start)s AT TIME ZONE 'UTC')::date) m
    FULL JOIN (
        SELECT branch_id, date_trunc('hour', minute, 'UTC') AS hour, count(*) AS frames
        FROM footfall_minute WHERE minute >= %(start)s GROUP BY 1, 2
    ) f USING (branch_id, hour)
    ORDER BY branch_id, hour"""
"""`frames`: camera minutes."""

_MOVED_BY = ("all", "good", "people")
KEEPS = {s.name: _MOVED_BY.index(s.moved_by) for s in registry.STREAMS if s.reads}
"""Stream -> which messages move its positions: fewer with each number."""

STREAMS = {"stream": pa.string(), "topic": pa.string(), "minutes_behind": pa.float64()}
CAMERAS = {
    "branch_id": pa.string(),
    "camera_id": pa.string(),
    "seen": UTC_TIME,
    "minutes_silent": pa.float64(),
}
HOURS = {"branch_id": pa.string(), "hour": UTC_TIME, "missing": pa.string()}


def business_suites(settings: Settings) -> list[Suite]:
    """All suites of this module."""
    limits = settings.quality
    silent = at_most(
        "camera_silent",
        "A camera has sent nothing for long, while its branch is open and others send.",
        "minutes_silent",
        limits.camera_silent / MINUTE,
    )
    behind = at_most(
        "keeps_up",
        "A stream has left messages waiting that another one has long written.",
        "minutes_behind",
        limits.stream_behind / MINUTE,
    )
    gap = null(
        "no_gap",
        "An hour in which a branch is open has no orders, or no frames, where there are some "
        "before and after it, or at that hour of other days.",
        "missing",
        "warning",
    )
    conversion = at_most(
        "conversion_at_most_one",
        "More orders than visitors in an hour that cameras have seen: they miss people, or orders "
        "come from elsewhere.",
        "trusted_rate",
        1,
    )
    hour = null("adds_up", "The columns of an hour contradict each other.", "differs")
    day = null("adds_up", "The columns of a product and day contradict each other.", "differs")
    hourly = ("branch_id", "hour", "differs")
    daily = ("branch_id", "day", "product_id", "differs")
    return [
        FactSuite("postgres.footfall_minute", "cameras", CAMERAS, load_cameras, (silent,)),
        FactSuite("postgres.stream_offsets", "streams", STREAMS, load_streams, (behind,)),
        FactSuite("postgres.order_metrics", "gaps", HOURS, load_gaps, (gap,)),
        _adds_up(GOLD_ORDER_HOURLY, (hour,), hourly, order_arithmetic),
        _adds_up(GOLD_PRODUCT_DAILY, (day,), daily, product_arithmetic),
        _adds_up(
            GOLD_STORE_HOURLY, (hour, conversion), (*hourly, "trusted_rate"), store_arithmetic
        ),
    ]


def _adds_up(
    table: Table, expectations: tuple[Expectation, ...], sample: tuple[str, ...], shape: Shape
) -> RowSuite:
    return RowSuite(table.name, expectations, sample, "arithmetic", shape)


# Rows that contradict themselves.


def _total(rows: pa.Table, columns: Sequence[str]) -> Any:
    total = rows[columns[0]]
    for name in columns[1:]:
        total = pc.add(total, rows[name])
    return total


def _off(left: Any, right: Any, by: float) -> Any:
    """Whether two columns differ by more than half a unit of the last place."""
    distance = pc.abs(pc.subtract(left.cast(pa.float64()), right.cast(pa.float64())))
    return pc.greater(distance, by)


def _arithmetic(rows: pa.Table, keys: Sequence[str], needs: Sequence[str], tests: Any) -> pa.Table:
    """The keys, and in `differs` the names of the tests that fail; of missing columns nothing."""
    kept = {name: rows[name] for name in keys if name in rows.column_names}
    whole = rows.num_rows and {*keys, *needs} <= set(rows.column_names)
    return pa.table(
        {**kept, "differs": named(tests(rows)) if whole else pa.nulls(len(rows), pa.string())}
    )


def order_arithmetic(rows: pa.Table) -> pa.Table:
    """Rows of `gold.order_hourly`: statuses, payments and money of an hour."""
    statuses = [f"{status}_count" for status in STATUSES]
    payments = ["cash_count", "online_count"]
    money = ["order_count", "total_revenue", "net_revenue", "average_order_value"]

    def tests(rows: pa.Table) -> dict[str, Any]:
        count, revenue = rows["order_count"], rows["total_revenue"].cast(pa.float64())
        average = pc.divide(revenue, pc.if_else(pc.equal(count, 0), None, count))
        return {
            "statuses": pc.not_equal(_total(rows, statuses), count),
            "payments": pc.not_equal(_total(rows, payments), count),
            "net_revenue": pc.greater(rows["net_revenue"], rows["total_revenue"]),
            "average_order_value": _off(rows["average_order_value"], average, 0.0051),
        }

    return _arithmetic(rows, ("branch_id", "hour"), [*statuses, *payments, *money], tests)


def product_arithmetic(rows: pa.Table) -> pa.Table:
    """Rows of `gold.product_daily`: net is all less cancelled."""

    def tests(rows: pa.Table) -> dict[str, Any]:
        return {
            "cancelled_orders": pc.greater(rows["cancelled_orders"], rows["order_count"]),
            **{
                f"net_{name}": pc.not_equal(
                    rows[f"net_{name}"], pc.subtract(rows[name], rows[f"cancelled_{name}"])
                )
                for name in ("quantity", "revenue")
            },
        }

    needs = [f"{a}{b}" for a in ("", "net_", "cancelled_") for b in ("quantity", "revenue")]
    needs += ["cancelled_orders", "order_count"]
    return _arithmetic(rows, ("branch_id", "day", "product_id"), needs, tests)


def store_arithmetic(rows: pa.Table) -> pa.Table:
    """Rows of `gold.store_hourly`: the rates, and the conversion rate of hours to be trusted."""
    needs = ("visitors", "orders", "revenue", "conversion_rate", "revenue_per_visitor")

    def tests(rows: pa.Table) -> dict[str, Any]:
        visitors = pc.if_else(pc.equal(rows["visitors"], 0), None, rows["visitors"])
        visitors = visitors.cast(pa.float64())
        rate = pc.divide(rows["orders"].cast(pa.float64()), visitors)
        each = pc.divide(rows["revenue"].cast(pa.float64()), visitors)
        return {
            "conversion_rate": _off(rows["conversion_rate"], rate, 1e-9),
            "revenue_per_visitor": _off(rows["revenue_per_visitor"], each, 0.0051),
        }

    shaped = _arithmetic(rows, ("branch_id", "hour"), needs, tests)
    if {"camera_coverage", "conversion_rate"} <= set(rows.column_names) and rows.num_rows:
        trusted = pc.greater_equal(rows["camera_coverage"], TRUSTED_COVERAGE)
        rate = pc.if_else(trusted, rows["conversion_rate"], None).cast(pa.float64())
    else:
        rate = pa.nulls(len(rows), pa.float64())
    return shaped.append_column("trusted_rate", rate)


# Age.


def load_cameras(context: AuditContext) -> Iterator[dict[str, Any]]:
    """Cameras that have sent lately: for how long they have been silent, while it was open."""
    since = {"start": context.now - context.settings.quality.history}
    newest = next((row["newest"] for row in context.query(NEWEST_SQL, since)), None)
    if newest is None:
        return
    until = min(newest, context.now)
    seen = {row["camera_id"]: row["seen"] for row in context.query(CAMERAS_SQL, since)}
    for branch in context.stores.branches:
        for camera in branch.cameras:
            if at := seen.get(camera.camera_id):
                yield {
                    "branch_id": branch.branch_id,
                    "camera_id": camera.camera_id,
                    "seen": at,
                    "minutes_silent": _open_minutes(branch, at, until),
                }


def _open_minutes(branch: Branch, seen: datetime, until: datetime) -> float:
    """Minutes up to the end, since the branch opened or the camera fell silent; 0 when closed."""
    minutes = 0
    while until - MINUTE * minutes > seen and branch.is_open(until - MINUTE * minutes):
        minutes += 1
        if MINUTE * minutes >= DAY:
            break
    return float(minutes)


def load_streams(context: AuditContext) -> Iterator[dict[str, Any]]:
    """Per stream and topic: for how long it has been behind, by what others have written.

    A stream that keeps only good messages does not move for a bad one, so it is held against those
    that keep no more than itself.
    """
    rows = [
        (r["stream"], r["topic"], r["partition"], r["position"], r["committed_at"])
        for r in context.query(OFFSETS_SQL)
        if r["stream"] in KEEPS
    ]
    for table in (BRONZE_ORDER_EVENTS, BRONZE_DETECTIONS, SILVER_DETECTIONS):
        at = context.committed_at(table.name)
        places = context.progress(table.name).items()
        rows += [(table.writer, topic, number, p, at) for (topic, number), p in places]
    behind: dict[tuple[str, str], float] = {}
    for stream, topic, number, position, at in rows:
        furthest = max(
            p for s, t, n, p, _ in rows if (t, n) == (topic, number) and KEEPS[s] >= KEEPS[stream]
        )
        if at is not None:
            waits = (context.now - at) / MINUTE if position < furthest else 0.0
            behind[stream, topic] = max(waits, behind.get((stream, topic), 0.0))
    for (stream, topic), minutes in sorted(behind.items()):
        yield {"stream": stream, "topic": topic, "minutes_behind": minutes}


# Hours without anything.


def load_gaps(context: AuditContext) -> Iterator[dict[str, Any]]:
    """Per branch and hour of the last days that is over: what it has nothing of, and should."""
    start = floor(context.now - (SAME_HOURS + 1) * DAY, HOUR)
    rows = context.query(HOURS_SQL, {"start": start})
    over = max((row["hour"] for row in rows), default=start)
    series: dict[str, dict[str, dict[datetime, int]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        for what in ("orders", "frames"):
            series[row["branch_id"]][what][row["hour"]] = row[what]
    for branch in context.stores.branches:
        of = series.get(branch.branch_id, {})
        for hour in _hours(of, over):
            missing = ", ".join(what for what, s in of.items() if _is_gap(branch, s, hour)) or None
            yield {"branch_id": branch.branch_id, "hour": hour, "missing": missing}


def _hours(of: Mapping[str, Mapping[datetime, int]], over: datetime) -> Iterator[datetime]:
    hours = [hour for counts in of.values() for hour in counts]
    hour = min(hours, default=over)
    while hour < over:
        yield hour
        hour += HOUR


def _is_gap(branch: Branch, counts: Mapping[datetime, int], hour: datetime) -> bool:
    """Whether an hour has nothing, where chance alone would not leave it so."""
    if counts.get(hour) or not all(branch.is_open(hour + n * HOUR / 4) for n in range(4)):
        return False
    around = min(counts.get(hour - HOUR, 0), counts.get(hour + HOUR, 0))
    earlier = [counts[at] for n in range(1, SAME_HOURS + 1) if (at := hour - n * DAY) in counts]
    usual = median(earlier) if len(earlier) == SAME_HOURS else 0
    return max(around, usual) >= FEWEST
