"""The ledger of a run of orders against what topics, lake and Postgres hold of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import pyarrow as pa

from quality.order_sums import HourSums, compare_sums, newest_last, sums_of
from quality.reconciliation import (
    LATE_ORDERS,
    ORDERS,
    Difference,
    Place,
    PlaceIds,
    Reconciliation,
    reconcile,
    split,
    split_differences,
)
from simulator.ledger import Entry

AS_SENT = "messages as they were sent"
PLACES = (
    Place("in_kafka", "Kafka", AS_SENT),
    Place("bronze", ORDERS.received.name, AS_SENT),
    Place("silver", ORDERS.good.name, "accepted events", "broken, yet in silver.orders"),
    Place("quarantined", ORDERS.quarantined.name, "broken messages", "accepted, yet quarantined"),
    Place("late", LATE_ORDERS.name, "late events", "on time, yet set aside as late"),
    Place("orders_raw", "orders_raw", "accepted events", "broken, yet in orders_raw"),
    Place("orders_processed", "orders_processed", "orders", "not the newest version of the order"),
    Place("orders_counted", "order_metrics", "orders", "late, yet counted by order_metrics"),
)
OUTCOMES = ("accepted", "rejected", "poisoned", "failed")


class StoredMessage(NamedTuple):
    """A message somewhere: its id (`topic/partition/offset`) and `ledger.digest` of its value."""

    id: str
    digest: str | None


class OrderRow(NamedTuple):
    """A row of orders_processed."""

    order_id: str
    status: str
    total_price: Decimal | None


@dataclass(frozen=True)
class ObservedOrders:
    """What was found of a run. Every field is as it lies there: repeated rows are repeated here.

    Attributes:
        kafka, bronze: messages of the run's span.
        silver, quarantined, late: ids of messages in those tables, of the run's span.
        raw: event ids in orders_raw, of the ledger's.
        orders: rows of orders_processed, of the ledger's orders.
        counted: order ids that order_metrics counts, of the ledger's orders.
        sums: of the ledger's orders in order_metrics and payments_hourly.
    """

    kafka: Sequence[StoredMessage]
    bronze: Sequence[StoredMessage]
    silver: Sequence[str]
    quarantined: Sequence[str]
    late: Sequence[str]
    raw: Sequence[str]
    orders: Sequence[OrderRow]
    counted: Sequence[str]
    sums: HourSums


def reconcile_orders(entries: Sequence[Entry], observed: ObservedOrders) -> Reconciliation:
    """Compare the ledger of a run with what was found of it.

    Kafka and bronze hold every message; silver.orders, and by its event id orders_raw, an accepted
    one; the quarantine a broken one. A repeat is a message of its own in the lake, and no second
    row of orders_raw. `numbers` also has `missing`, the messages that are not at every place where
    they belong, `duplicated`, the ids that are somewhere twice, and `hours`: of branches, each in
    one currency, whose sums were compared.
    """
    taken = [e for e in entries if e.position is not None]
    bronze = [m.id for m in observed.bronze]
    tables = (bronze, observed.silver, observed.quarantined, observed.late)
    parts = split(*(pa.array(ids, pa.string()) for ids in tables))
    lost = {e.event_id for e in entries if e.outcome in ("rejected", "failed")}
    found = reconcile(_places(taken, observed)).plus(
        Difference("unexpected", "not delivered", lost), *split_differences(parts)
    )
    missing, sums = found.ids("missing"), sums_of(entries)
    different = [Difference("unexpected", what) for what in compare_sums(sums, observed.sums)]
    return found.plus(
        *different,
        sent=len(entries),
        **{name: sum(e.outcome == name for e in entries) for name in OUTCOMES},
        duplicates=sum(e.duplicate_of is not None for e in taken if e.outcome == "accepted"),
        missing=sum(bool({_position(e), e.event_id, e.order_id} & missing) for e in taken),
        duplicated=len(found.ids("doubled")),
        hours=len(sums),
    )


def _position(entry: Entry) -> str:
    return "/".join(map(str, entry.position or ()))


def _places(taken: Sequence[Entry], observed: ObservedOrders) -> Iterator[PlaceIds]:
    accepted = [e for e in taken if e.outcome == "accepted"]
    broken = [e for e in taken if e.outcome == "poisoned"]
    good, bad = {_position(e) for e in accepted}, {_position(e) for e in broken}
    late = {_position(e) for e in accepted if e.late}
    events, orders = {e.event_id for e in accepted}, {e.order_id for e in accepted}
    on_time = {e.order_id for e in accepted if not e.late}
    rows = [row.order_id for row in observed.orders]
    sent = {_position(e): e.digest for e in taken}
    for place, messages in zip(PLACES, (observed.kafka, observed.bronze), strict=False):
        altered = {m.id for m in messages if sent.get(m.id) != m.digest}
        yield PlaceIds(place, sent, [m.id for m in messages], altered=altered)
    tables = (
        (good, observed.silver, bad),
        (bad, observed.quarantined, good),
        (late, observed.late, good - late),
        (events, observed.raw, {e.event_id for e in broken} - events),
        (orders, rows, _outdated(accepted, observed.orders)),
        (on_time, observed.counted, orders - on_time),
    )
    for place, ids in zip(PLACES[2:], tables, strict=True):
        yield PlaceIds(place, *ids)


def _outdated(accepted: Sequence[Entry], rows: Sequence[OrderRow]) -> set[str]:
    """Orders whose row differs from their newest events."""
    status: dict[str, str] = {}
    total: dict[str, Decimal] = {}
    for entry in sorted(accepted, key=newest_last):
        status[entry.order_id] = entry.status
        if entry.total_price is not None:
            total[entry.order_id] = entry.total_price
    return {
        row.order_id
        for row in rows
        if (row.status, row.total_price) != (status.get(row.order_id), total.get(row.order_id))
    }
