"""Queries of the console to Postgres: every statement, and the row that it returns.

Grain and key of the tables: docs/TABLES.md. All times are UTC, unless a name contains `local`. The
parameter `branches` is JSON: [{"branch_id", "timezone"}]. A day has the hours that begin on it by
the clock of the branch.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True)
class Query(Generic[Row]):
    """One question.

    Attributes:
        name: in messages and in the log.
        row: what each row is made into; its fields are the columns.
        sql: the statement, which only reads.
        every: seconds for which its answer is good enough; 0: asked at every look.
        per_branch: whether it reads `branch`: branch_id, timezone, and the date that it is there.
    """

    name: str
    row: type[Row]
    sql: str
    every: float = 0.0
    per_branch: bool = False

    @property
    def statement(self) -> str:
        """All of it."""
        return _BRANCHES + self.sql if self.per_branch else self.sql


_BRANCHES = """
    WITH branch AS (
        SELECT branch_id, timezone, (now() AT TIME ZONE timezone)::date AS today
        FROM jsonb_to_recordset(%(branches)s::jsonb) AS b (branch_id text, timezone text)
    )"""


@dataclass(frozen=True)
class StoreHour:
    """One branch in one hour. Key: branch_id, hour.

    Attributes:
        local_hour: where the branch is, without a zone.
        visitors: None where no camera saw the entrance.
        revenue: in the currency of the branch.
        camera_coverage: share of the camera minutes of the whole hour with a frame, 0..1.
    """

    branch_id: str
    hour: datetime
    local_hour: datetime
    visitors: int | None
    orders: int
    revenue: Decimal
    camera_coverage: float | None
    updated_at: datetime


HOURS = Query(
    "store_hourly",
    StoreHour,
    """
    SELECT s.branch_id, s.hour, s.local_hour, s.visitors, s.orders, s.revenue, s.camera_coverage,
        s.updated_at
    FROM branch b JOIN store_hourly s ON s.branch_id = b.branch_id
        AND s.hour > now() - interval '9 days'
        AND s.local_hour::date IN (b.today, b.today - 1, b.today - 7)
    ORDER BY s.branch_id, s.hour""",
    per_branch=True,
)
"""Today, the day before, and the same day a week before."""


@dataclass(frozen=True)
class BranchMinute:
    """What happened in one branch in one of the last 60 minutes. Key: branch_id, minute."""

    branch_id: str
    minute: datetime
    entries: int
    orders: int


MINUTES = Query(
    "footfall and orders by the minute",
    BranchMinute,
    """
    SELECT b.branch_id, m.minute, sum(m.entries)::bigint AS entries, sum(m.orders)::bigint AS orders
    FROM branch b CROSS JOIN LATERAL (
        SELECT f.minute, f.entries, 0 AS orders FROM footfall_minute f
        WHERE f.branch_id = b.branch_id
            AND f.minute >= date_trunc('minute', now()) - interval '59 minutes'
        UNION ALL
        SELECT date_trunc('minute', o.created_at), 0, 1 FROM orders_processed o
        WHERE o.branch_id = b.branch_id AND o.created_at <= now()
            AND o.created_at >= date_trunc('minute', now()) - interval '59 minutes'
    ) m GROUP BY 1, 2 ORDER BY 1, 2""",
    per_branch=True,
)


@dataclass(frozen=True)
class CameraSeen:
    """The newest minute in which a camera delivered a frame. Key: camera_id."""

    camera_id: str
    minute: datetime
    people_peak: int


CAMERAS = Query(
    "cameras",
    CameraSeen,
    """
    SELECT c.camera_id, f.minute, f.people_peak
    FROM jsonb_to_recordset(%(cameras)s::jsonb) AS c (branch_id text, camera_id text)
    CROSS JOIN LATERAL (
        SELECT minute, people_peak FROM footfall_minute f
        WHERE f.branch_id = c.branch_id AND f.camera_id = c.camera_id AND f.frames > 0
        ORDER BY minute DESC LIMIT 1
    ) f""",
)


@dataclass(frozen=True)
class ZoneDwell:
    """Finished visits of one zone today. Key: camera_id, zone_id.

    Attributes:
        dwell_mean: of all of them, in seconds.
        dwell_p95: the highest of the hours' 95th percentiles, in seconds.
    """

    camera_id: str
    zone_id: str
    visits: int
    dwell_mean: float | None
    dwell_p95: float | None


DWELL = Query(
    "zone_dwell_hourly",
    ZoneDwell,
    """
    SELECT d.camera_id, d.zone_id, sum(d.visits)::bigint AS visits,
        sum(d.visits * d.dwell_mean) / nullif(sum(d.visits), 0) AS dwell_mean,
        max(d.dwell_p95) AS dwell_p95
    FROM branch b JOIN zone_dwell_hourly d ON d.branch_id = b.branch_id
        AND d.hour >= b.today::timestamp AT TIME ZONE b.timezone
    GROUP BY d.camera_id, d.zone_id""",
    per_branch=True,
)


@dataclass(frozen=True)
class QueueNow:
    """The newest minute of one queue. Key: camera_id, zone_id.

    Attributes:
        length_mean: people over the frames of that minute; None: the minute was taken back.
        waits: visits that ended in the last 15 minutes.
        wait_p95: the highest of their minutes' 95th percentiles, in seconds.
    """

    camera_id: str
    zone_id: str
    minute: datetime
    length_mean: float | None
    length_max: int
    waits: int
    wait_p95: float | None


QUEUES = Query(
    "queue_minute",
    QueueNow,
    """
    SELECT z.camera_id, z.zone_id, q.minute, q.length_mean, q.length_max,
        coalesce(w.waits, 0)::bigint AS waits, w.wait_p95
    FROM jsonb_to_recordset(%(queues)s::jsonb)
        AS z (branch_id text, camera_id text, zone_id text)
    CROSS JOIN LATERAL (
        SELECT * FROM queue_minute q
        WHERE q.branch_id = z.branch_id AND q.camera_id = z.camera_id AND q.zone_id = z.zone_id
        ORDER BY q.minute DESC LIMIT 1
    ) q CROSS JOIN LATERAL (
        SELECT sum(waits) AS waits, max(wait_p95) AS wait_p95 FROM queue_minute n
        WHERE n.branch_id = z.branch_id AND n.camera_id = z.camera_id AND n.zone_id = z.zone_id
            AND n.minute > now() - interval '15 minutes'
    ) w""",
)


@dataclass(frozen=True)
class BranchOrders:
    """Orders of today by the status that they have now. Key: branch_id."""

    branch_id: str
    orders: int
    pending: int
    processing: int
    completed: int
    cancelled: int
    revenue: Decimal
    net_revenue: Decimal


ORDERS = Query(
    "order_metrics",
    BranchOrders,
    """
    SELECT m.branch_id, sum(m.order_count)::bigint AS orders,
        sum(m.pending_count)::bigint AS pending, sum(m.processing_count)::bigint AS processing,
        sum(m.completed_count)::bigint AS completed, sum(m.cancelled_count)::bigint AS cancelled,
        sum(m.total_revenue) AS revenue, sum(m.net_revenue) AS net_revenue
    FROM branch b JOIN order_metrics m ON m.branch_id = b.branch_id
        AND m.hour >= b.today::timestamp AT TIME ZONE b.timezone
    GROUP BY m.branch_id""",
    per_branch=True,
)


@dataclass(frozen=True)
class StuckOrder:
    """An open order that nobody has touched for long. Key: order_id.

    Attributes:
        alarm_at: of order_status_tracker; None: it has not raised one (yet).
        of_all: how many such orders there are, of which the oldest are given.
    """

    order_id: str
    branch_id: str
    status: str
    currency: str | None
    total_price: Decimal | None
    untouched_since: datetime
    alarm_at: datetime | None
    of_all: int


STUCK = Query(
    "stuck orders",
    StuckOrder,
    """
    SELECT o.order_id, o.branch_id, o.status, o.currency, o.total_price,
        o.last_event_at AS untouched_since, h.changed_at AS alarm_at, o.of_all
    FROM (
        SELECT *, count(*) OVER () AS of_all FROM (
            SELECT order_id, branch_id, status, currency, total_price, last_event_at
            FROM orders_processed
            WHERE status IN ('pending', 'processing')
                AND last_event_at <= now() - %(stuck_after)s::interval
        ) untouched ORDER BY last_event_at, order_id LIMIT 20
    ) o LEFT JOIN LATERAL (
        SELECT max(changed_at) AS changed_at FROM order_status_history h
        WHERE h.order_id = o.order_id AND h.anomaly = 'stuck'
    ) h ON true
    ORDER BY o.last_event_at, o.order_id""",
    every=10,
)


@dataclass(frozen=True)
class BatchLedger:
    """What a stream has committed to Postgres. Key: stream.

    Attributes:
        rows_minute: new rows of its last 200 batches, as far as they are of the last minute.
        skipped: rows of these batches that had come before.
    """

    stream: str
    batch_id: int
    rows_in: int
    committed_at: datetime
    watermark: datetime | None
    rows_minute: int
    skipped: int


LEDGER = Query(
    "stream_batches",
    BatchLedger,
    """
    SELECT s.stream, n.batch_id, n.rows_in, n.committed_at, n.watermark, n.rows_minute, n.skipped
    FROM unnest(%(streams)s::text[]) AS s (stream) CROSS JOIN LATERAL (
        SELECT max(batch_id) AS batch_id, max(committed_at) AS committed_at,
            max(watermark) AS watermark, (array_agg(rows_in ORDER BY batch_id DESC))[1] AS rows_in,
            coalesce(sum(rows_new) FILTER (WHERE committed_at > now() - interval '1 minute'), 0)
                ::bigint AS rows_minute,
            sum(rows_in - rows_new)::bigint AS skipped
        FROM (
            SELECT * FROM stream_batches b WHERE b.query_id = s.stream
            ORDER BY b.batch_id DESC LIMIT 200
        ) newest
    ) n WHERE n.batch_id IS NOT NULL""",
)


@dataclass(frozen=True)
class Offset:
    """The newest position that a stream has written. Key: stream, topic, partition."""

    stream: str
    topic: str
    partition: int
    position: str


OFFSETS = Query(
    "stream_offsets", Offset, "SELECT stream, topic, partition, position FROM stream_offsets"
)


@dataclass(frozen=True)
class Latency:
    """Seconds from the event to its row in Postgres, of the newest 200. Key: stream."""

    stream: str
    p50: float
    p95: float
    newest: datetime


LATENCY = Query(
    "latency",
    Latency,
    """
    SELECT stream, percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) AS p50,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95, max(at) AS newest
    FROM (
        (SELECT 'order_event_processor' AS stream, updated_at AS at,
            extract(epoch FROM updated_at - last_event_at)::double precision AS seconds
        FROM orders_processed ORDER BY created_at DESC NULLS LAST LIMIT 200)
        UNION ALL
        (SELECT 'order_status_tracker', recorded_at,
            extract(epoch FROM recorded_at - changed_at)::double precision
        FROM (
            SELECT recorded_at, changed_at, anomaly FROM order_status_history
            ORDER BY change_id DESC LIMIT 200
        ) h WHERE anomaly IS DISTINCT FROM 'stuck')
        UNION ALL
        (SELECT 'footfall', updated_at,
            extract(epoch FROM updated_at - exited_at)::double precision
        FROM zone_visits WHERE is_open ORDER BY updated_at DESC LIMIT 200)
    ) newest GROUP BY stream""",
    every=4,
)
"""Of the others Postgres has no time of the event beside the time of writing."""


@dataclass(frozen=True)
class DeadLetters:
    """Rejected order messages that nobody has sent back, by rule. Key: rule.

    Attributes:
        last_hour: those of them that were rejected in the last hour.
        of_all: open ones of any rule; a message may fail several.
    """

    rule: str
    open: int
    last_hour: int
    of_all: int


DEAD_LETTERS = Query(
    "dead_letters",
    DeadLetters,
    """
    SELECT rule, count(*) AS open,
        count(*) FILTER (WHERE rejected_at > now() - interval '1 hour') AS last_hour,
        (SELECT count(*) FROM dead_letters WHERE status = 'open') AS of_all
    FROM dead_letters, unnest(rules) AS rule WHERE status = 'open'
    GROUP BY rule ORDER BY open DESC, rule LIMIT 10""",
    every=4,
)


@dataclass(frozen=True)
class Expectation:
    """One expectation in the newest run of its suite. Key: table_name, suite, expectation."""

    table_name: str
    suite: str
    expectation: str
    layer: str
    severity: str
    state: str
    ran_at: datetime
    row_count: int
    unexpected_count: int | None
    observed: str | None
    says: str


QUALITY = Query(
    "quality_results",
    Expectation,
    """
    SELECT r.table_name, r.suite, r.expectation, r.layer, r.severity, r.state, r.ran_at,
        r.row_count, r.unexpected_count, r.observed, r.says
    FROM quality_results r JOIN (
        SELECT DISTINCT ON (table_name, suite) table_name, suite, run_id
        FROM quality_results ORDER BY table_name, suite, ran_at DESC
    ) newest USING (table_name, suite, run_id)
    ORDER BY r.severity, r.table_name, r.suite, r.expectation""",
    every=10,
)

QUERIES: tuple[Query[Any], ...] = (
    *(HOURS, MINUTES, CAMERAS, DWELL, QUEUES, ORDERS, STUCK),
    *(LEDGER, OFFSETS, LATENCY, DEAD_LETTERS, QUALITY),
)
"""All of them, in the order in which they are asked."""
