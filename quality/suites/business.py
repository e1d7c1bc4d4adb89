"""Expectations on a business day: cameras send, streams keep up, hours have no gap.

A deployment that receives nothing is idle, and no camera in it is stale: age is measured to the
newest input from any source, never to the clock alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from statistics import median
from typing import Any

import pyarrow as pa

from conf.settings import Settings
from conf.stores import Branch
from quality.context import AuditContext
from quality.facts import BRANCH_HOURS, DAY, HOUR, MINUTE, UTC_TIME, floor
from quality.suite import FactSuite, Suite, at_most, null
from quality.suites.arithmetic import arithmetic_suites
from streaming import registry
from streaming.lake.tables import (
    BRONZE_DETECTIONS,
    BRONZE_ORDER_EVENTS,
    SILVER_DETECTIONS,
)

FEWEST = 10
"""An hour with nothing is missing where at least so many were to be expected: by chance alone, at
a steady rate, that happens once in e^10 = 22,000 hours."""
SAME_HOURS = 7
"""Of so many earlier days the same hour must be known."""

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
    SELECT branch_id, hour, coalesce(m.orders, 0) AS orders, coalesce(f.frames, 0) AS frames
    FROM (SELECT branch_id, hour, sum(order_count)::bigint AS orders FROM order_metrics
        WHERE hour >= %(start)s AND metric_date >= (%(start)s AT TIME ZONE 'UTC')::date
        GROUP BY 1, 2) m
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
        f"the newest frame of a camera is at most {limits.camera_silent / MINUTE:g} minutes old",
    )
    behind = at_most(
        "keeps_up",
        "A stream has left messages waiting that another one has long written.",
        "minutes_behind",
        limits.stream_behind / MINUTE,
        f"position is at most {limits.stream_behind / MINUTE:g} minutes behind other streams",
    )
    gap = null(
        "no_gap",
        "An hour in which a branch is open has no orders, or no frames, where there are some "
        "before and after it, or at that hour of other days.",
        "missing",
        "order_count is not 0, and there are camera minutes, in hours that usually have some",
        "warning",
    )
    return [
        FactSuite(
            "postgres.footfall_minute", "cameras", CAMERAS, load_cameras, (silent,), "cameras"
        ),
        FactSuite(
            "postgres.stream_offsets",
            "streams",
            STREAMS,
            load_streams,
            (behind,),
            "topics of streams",
        ),
        FactSuite("postgres.order_metrics", "gaps", HOURS, load_gaps, (gap,), BRANCH_HOURS),
        *arithmetic_suites(),
    ]


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
