"""Ids in against ids out: what was sent, and what Kafka, the lake and Postgres hold of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime, timezone
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from infra.local.process import wait_until
from quality.frame_observer import FrameObserver
from quality.frame_reconciliation import FootfallMinute, FrameEvent, reconcile_frames, sum_minutes
from quality.order_observer import OrderObserver, broker_positions, message_id
from quality.order_reconciliation import reconcile_orders
from quality.reconciliation import (
    DETECTIONS,
    NO_IDS,
    ORDERS,
    POSITION,
    Difference,
    Flow,
    Place,
    PlaceIds,
    Reconciliation,
    reconcile,
    split,
    split_differences,
)
from simulator.ledger import digest, read_ledger
from streaming.lake.formats import open_lake
from streaming.lake.protocol import Lake
from streaming.sinks.postgres import Database
from verification.faults.load import Load
from verification.faults.messages import Sent
from verification.faults.walkers import CAMERA_ID, Crossings, expected

ARRIVAL_SECONDS = 180.0

Hour = tuple[str, datetime]


def balance(load: Load) -> Reconciliation:
    """Wait until everything has arrived, then compare all of it."""
    with closing(Database(load.settings.postgres.dsn, 2)) as db, open_lake(load.settings) as lake:
        return _balance(load, db, lake)


def _balance(load: Load, db: Database, lake: Lake) -> Reconciliation:
    orders = OrderObserver(load.settings, db, load.start, read_ledger(load.ledger))
    cameras, wanted = FrameObserver(db, lake), expected(load.frames)
    behind: list[str] = []

    def arrived() -> bool:
        waits = cameras.is_behind(len(load.frames), CAMERA_ID) or crossed() < wanted
        behind[:] = [*orders.behind(), *(["footfall"] if waits else [])]
        return not behind

    def crossed() -> tuple[int, int]:
        total = sum_minutes(cameras.minutes())  # another camera of the load shows nobody
        return total.entries, total.exits

    wait_until(arrived, ARRIVAL_SECONDS, every=1.0)
    observed, frames = orders.read(), cameras.read().of(CAMERA_ID)
    sent_frames = msgspec.convert(load.frames, list[FrameEvent])
    sent = {e.digest for e in orders.entries} | {digest(one.value) for one in load.odd}
    strangers = [m.id for m in observed.kafka if m.digest not in sent]
    ledger = [json.loads(line) for line in load.ledger.read_text().splitlines()]
    return reconcile_orders(orders.entries, observed).plus(
        Difference("missing", f"not arrived after {ARRIVAL_SECONDS:.0f} s", behind),
        Difference("unexpected", "messages in Kafka that nobody sent", strangers),
        *compare_hours(hours_of(ledger), metrics_of(db)),
        *reconcile_frames(sent_frames, frames).differences,
        *compare_crossings(wanted, sum_minutes(frames.minutes), cameras.crossings(CAMERA_ID)),
        *compare_odd(load.odd, lake),
        retries=load.sent.retries,
        frames=len(load.frames),
        entries=wanted.entries,
        exits=wanted.exits,
        odd=len(load.odd),
    )


# -- order metrics ---------------------------------------------------------------------------------

Sums = dict[str, Any]
"""Columns of `order_metrics` for a branch and hour; money in the currency of the branch."""

COLUMNS = (
    *("order_count", "total_revenue", "net_revenue", "pending_count", "processing_count"),
    *("completed_count", "cancelled_count", "cash_count", "online_count"),
)
# A late or broken event does not count; the newest event with a total decides hour and payment.
HOURS_SQL = """
    SELECT branch_id, date_trunc('hour', created_at::timestamp) AS hour, count(*) AS order_count,
        sum(total) AS total_revenue,
        coalesce(sum(total) FILTER (status <> 'cancelled'), 0) AS net_revenue,
        count(*) FILTER (status = 'pending') AS pending_count,
        count(*) FILTER (status = 'processing') AS processing_count,
        count(*) FILTER (status = 'completed') AS completed_count,
        count(*) FILTER (status = 'cancelled') AS cancelled_count,
        count(*) FILTER (payment_method = 'cash') AS cash_count,
        count(*) FILTER (payment_method = 'online') AS online_count
    FROM (
        SELECT DISTINCT ON (order_id) branch_id, created_at, payment_method,
            total_price::decimal(18, 2) AS total, newest AS status
        FROM (
            SELECT *, list_position(['order.created', 'order.updated', 'order.status_changed',
                'order.cancelled'], event_type) AS rank, first_value(status) OVER (
                PARTITION BY order_id ORDER BY event_time DESC, rank DESC, topic DESC,
                "partition" DESC, "offset" DESC) AS newest
            FROM ledger WHERE outcome = 'accepted' AND NOT late
        ) WHERE created_at IS NOT NULL
        ORDER BY order_id, event_time DESC, rank DESC, topic DESC, "partition" DESC, "offset" DESC
    ) GROUP BY 1, 2 ORDER BY 1, 2"""


def hours_of(lines: Sequence[Mapping[str, Any]]) -> dict[Hour, Sums]:
    """Recompute the metrics from the lines of a ledger, without any code of the streams.

    An order counts once, in the hour of its `created_at`, with its newest total, payment and
    status; late events do not count, broken ones neither.
    """
    with closing(duckdb.connect()) as connection:
        connection.register("ledger", pa.Table.from_pylist(list(lines)))
        rows = connection.execute(HOURS_SQL).fetchall()
    return {
        (branch, hour.replace(tzinfo=timezone.utc)): dict(zip(COLUMNS, sums, strict=True))
        for branch, hour, *sums in rows
    }


def metrics_of(db: Database) -> dict[Hour, Sums]:
    """The rows of `order_metrics`."""
    return {
        (row["branch_id"], row["hour"].astimezone(timezone.utc)): {c: row[c] for c in COLUMNS}
        for row in db.fetch("SELECT * FROM order_metrics WHERE order_count > 0")
    }


def compare_hours(wanted: Mapping[Hour, Sums], found: Mapping[Hour, Sums]) -> list[Difference]:
    """One difference for each branch and hour."""
    return [
        Difference(
            "unexpected",
            f"order_metrics of {key[0]} at {key[1]:%Y-%m-%d %H}:00: recomputed "
            f"{wanted.get(key)}, found {found.get(key)}",
        )
        for key in sorted({*wanted, *found})
        if wanted.get(key) != found.get(key)
    ]


# -- cameras ---------------------------------------------------------------------------------------


def compare_crossings(
    wanted: Crossings, footfall: FootfallMinute, crossings: Mapping[str, int]
) -> list[Difference]:
    """Entries and exits in footfall_minute and line_crossings against those of the walkers.

    Args:
        wanted: of the frames that were sent.
        footfall: the sum of all minutes.
        crossings: direction -> rows of line_crossings.
    """
    found = {
        "footfall_minute": Crossings(footfall.entries, footfall.exits),
        "crossings": Crossings(crossings.get("entry", 0), crossings.get("exit", 0)),
    }
    return [
        Difference(
            "unexpected",
            f"{where}: {there.entries} entries and {there.exits} exits, the frames show "
            f"{wanted.entries} and {wanted.exits}",
        )
        for where, there in found.items()
        if there != wanted
    ]


# -- odd messages ----------------------------------------------------------------------------------


def compare_odd(sent: Sequence[Sent], lake: Lake) -> tuple[Difference, ...]:
    """Each odd message is in bronze once, and either good or quarantined, once."""
    orders = [one for one in sent if one.position[0] != "detections"]
    frames = [one for one in sent if one.position[0] == "detections"]
    return (*_compare_odd(ORDERS, orders, lake), *_compare_odd(DETECTIONS, frames, lake))


def _compare_odd(flow: Flow, sent: Sequence[Sent], lake: Lake) -> tuple[Difference, ...]:
    names = {message_id(one.position): f"{one.kind} at {one.position}" for one in sent}

    def held(table: str) -> list[str]:
        there = map(message_id, broker_positions(lake.read(table, POSITION)))
        return [names[message] for message in there if message in names]

    bronze, good, bad = (held(table.name) for table in flow)
    parts = split(*(pa.array(ids, pa.string()) for ids in (bronze, good, bad)))
    if flow is DETECTIONS:  # a good frame without anybody has no row in silver
        parts = parts._replace(unaccounted=NO_IDS)
    places = (
        PlaceIds(Place("odd", flow.received.name, "odd messages"), names.values(), bronze),
        PlaceIds(Place("quarantined", flow.quarantined.name, "odd messages"), (), bad),
    )
    return reconcile(places).plus(*split_differences(parts)).differences
