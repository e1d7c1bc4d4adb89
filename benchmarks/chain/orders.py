"""Order events in the shape of silver.orders, and what the tracker says of their status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.chain.columns import (
    PARTITIONS,
    TIME,
    Offsets,
    amounts,
    numbered,
    times,
    uuids,
    words,
)
from benchmarks.chain.plan import Floats, Longs, Slice, microseconds
from conf.stores import Stores
from streaming.order_columns import LINE
from streaming.transforms.order_event_processor import order_version

SECOND = 1_000_000
CREATED, UPDATED, STARTED, DONE, CANCELLED, RECALLED, STUCK = range(7)
"""What happens to an order; STUCK is no event, but the alarm of the tracker."""
TYPES = ("created", "updated", "status_changed", "status_changed", "cancelled", "status_changed")
STATUS = ("pending", "pending", "processing", "completed", "cancelled", "cancelled", "processing")
BEFORE = (None, None, "pending", "processing", None, "processing", "processing")
TOPIC = (0, 1, 3, 3, 2, 3, 3)
TOPICS = ("order-created", "order-updated", "order-cancelled", "order-events")
LAG_S = np.array([0, 600, 480, 1800, 1200, 900, 86_400])
"""Mean seconds since what came before; of an alarm, exactly."""

LIVES = np.array(
    [
        [CREATED, STARTED, DONE, -1],
        [CREATED, UPDATED, STARTED, DONE],
        [CREATED, CANCELLED, -1, -1],
        [CREATED, STARTED, RECALLED, -1],
        [CREATED, STARTED, -1, -1],
        [CREATED, STARTED, STUCK, -1],
        [CREATED, -1, -1, -1],  # and accepted hours too late
    ]
)
LIKELY = np.array([0.8, 0.1, 0.05, 0.02, 0.026, 0.002, 0.002])
LATE = len(LIVES) - 1
ARRIVES_AFTER = SECOND // 5
PRODUCTS, CATEGORIES = 500, ("bakery", "dairy", "drinks", "fruit", "household", "meat", "snacks")
CUSTOMERS = 200  # of each branch and thousand orders


@dataclass
class OrderDesk:
    """Makes the order events of one slice after the other; what is due later waits.

    Attributes:
        stores: the branches that sell.
        total: order events of the whole plan, which the number of customers follows.
    """

    stores: Stores
    total: int
    offsets: Offsets = field(default_factory=Offsets)
    _waiting: list[pa.Table] = field(default_factory=list)
    _orders: int = 0
    _changes: int = 0

    def rows(
        self, rng: np.random.Generator, of: Slice, *, last: bool
    ) -> tuple[Mapping[str, pa.Table], pa.Table]:
        """Rows by table, and the orders that begin: branch, created_at, cents, cancelled.

        Args:
            rng: of this slice.
            of: the slice.
            last: what is still due comes now.
        """
        made, summary = self._make(rng, of)
        known = pa.concat_tables([*self._waiting, made]).sort_by("due")
        due = pc.less(known["due"], microseconds(of.end))
        if last:  # but for alarms: nobody was stuck for a day yet
            due = pc.or_(due, pc.not_equal(known["kind"], STUCK))
        self._waiting = [known.filter(pc.invert(due))]
        return self._tables(rng, known.filter(due)), summary

    def _make(self, rng: np.random.Generator, of: Slice) -> tuple[pa.Table, pa.Table]:
        life = rng.choice(len(LIVES), of.orders, p=LIKELY)
        kinds = LIVES[life]
        flat = (kinds >= 0).ravel()
        counted = np.cumsum(((kinds >= 0) & (kinds != STUCK)).ravel())
        flat &= np.arange(flat.size) <= np.searchsorted(counted, of.orders)
        events = np.flatnonzero(flat)
        order, step = np.divmod(events, LIVES.shape[1])
        count = int(order[-1]) + 1 if len(order) else 0
        life, kinds = life[:count], kinds[:count]
        branch, begin, end = of.draw(rng, count)
        created = (begin + rng.random(count) * (end - begin)).astype(np.int64) // 1000 * 1000
        happened = _life_times(rng, kinds, created)
        bodies, cents = self._bodies(rng, branch, created)
        kind, at = kinds[order, step], happened[order, step]
        late = np.where(life == LATE, rng.integers(7_200, 93_600, count) * SECOND, 0)
        before = happened[order, np.maximum(step - 1, 0)]
        with_body = (kind == CREATED) | (kind == UPDATED) | (kind == CANCELLED)
        always = bodies.select(["order_id", "branch_id", "region"]).take(pa.array(order))
        body = bodies.drop_columns(["order_id", "branch_id", "region"])
        body = body.take(pa.array(order, mask=~with_body))
        columns = {
            **dict(zip(always.column_names, always.columns, strict=True)),
            **dict(zip(body.column_names, body.columns, strict=True)),
            "kind": pa.array(kind),
            "due": pa.array(at + late[order]),
            "late": pa.array(life[order] == LATE),
            "at": pa.array(at),
            "before": pa.array(before),
            "number": pa.array(self._orders + order),
        }
        self._orders += count
        cancelled = ((kinds == CANCELLED) | (kinds == RECALLED)).any(axis=1)
        summary = {
            "branch": branch,
            "created_at": created,
            "cents": cents,
            "cancelled": cancelled,
        }
        return pa.table(columns), pa.table(summary)

    def _bodies(
        self, rng: np.random.Generator, branch: Longs, created: Longs
    ) -> tuple[pa.Table, Longs]:
        """What a till says of each order, and its total in cents."""
        count = len(branch)
        lines = np.minimum(1 + rng.poisson(1.8, count), 12)
        upto = np.concatenate([[0], np.cumsum(lines)])
        product = np.searchsorted(_popularity(), rng.random(upto[-1]), side="right")
        quantity = 1 + (rng.random(upto[-1]) < 0.2) * rng.integers(1, 4, upto[-1])
        cents = 49 + product * 37 % 2400
        total = np.add.reduceat(quantity * cents, upto[:-1]) if count else np.zeros(0, np.int64)
        items = _items(upto, product, quantity, cents)
        branches = self.stores.branches
        size = max(1, self.total * CUSTOMERS // 1000 // len(branches))
        customer = branch * size + np.minimum(rng.zipf(1.3, count), size) - 1
        local = self._local(branch, created)
        bodies = pa.table(
            {
                "order_id": numbered("O-", self._orders + np.arange(count), 10),
                "branch_id": words([b.branch_id for b in branches], branch),
                "region": words([b.region for b in branches], branch),
                "customer_id": pc.if_else(
                    rng.random(count) < 0.6, numbered("C-", customer, 9), pa.scalar(None, "string")
                ),
                "payment_method": words(["cash", "online"], (rng.random(count) < 0.4).astype(int)),
                "currency": words([b.currency for b in branches], branch),
                "total_price": amounts(total, 12, 2),
                "created_at": times(created),
                "channel": words(
                    ["store", "web", "app"], rng.choice(3, count, p=[0.8, 0.15, 0.05])
                ),
                "local_date": local.cast(pa.date32()),
                "local_hour": pc.hour(local).cast(pa.int32()),
                "item_count": pa.array(lines, pa.int32()),
                "items": items,
            }
        )
        return bodies, total

    def _local(self, branch: Longs, created: Longs) -> pa.Array:
        """The clock in each branch; a zone is the same for all of its branches."""
        zones = [b.timezone for b in self.stores.branches]
        plain = pa.array(created).cast(TIME)
        local = plain.cast(pa.timestamp("us"))
        for zone in sorted(set(zones)):
            mine = pa.array(np.isin(branch, [n for n, z in enumerate(zones) if z == zone]))
            there = pc.local_timestamp(plain.cast(pa.timestamp("us", tz=zone)))
            local = pc.if_else(mine, there, local)
        return local

    def _tables(self, rng: np.random.Generator, due: pa.Table) -> dict[str, pa.Table]:
        """Rows that are due, in the order in which they come."""
        kind, at = due["kind"].to_numpy(), due["at"].to_numpy()
        rows = due.append_column("event_id", uuids(rng, len(due)))
        rows = rows.append_column("event_time", times(at))
        rows = rows.append_column("status", words(STATUS, kind))
        rows = rows.append_column("timestamp", times(due["due"].to_numpy() + ARRIVES_AFTER))
        rows = self._placed(rows, kind, due["number"].to_numpy() % PARTITIONS)
        events = rows.filter(pa.array(kind != STUCK))
        names = pc.binary_join_element_wise("order", words((*TYPES, None), kind), ".")
        events = events.append_column("event_type", names.filter(pa.array(kind != STUCK)))
        source = pc.binary_join_element_wise("pos", events["branch_id"].cast(pa.string()), "-")
        events = events.append_column("source", source)
        late = events.filter(events["late"]).select(["topic", "partition", "position", "timestamp"])
        return {
            "silver.orders": events,
            "silver.order_status": self._status(rows.filter(pa.array(_is_change(kind)))),
            "quarantine.late_events": refused(late, [["too_late"]] * len(late)).append_column(
                "change_id", pa.array(range(1, len(late) + 1), pa.int64())
            ),
            "quarantine.order_events": self._broken(rng, events["timestamp"]),
        }

    def _placed(self, rows: pa.Table, kind: Longs, partition: Longs) -> pa.Table:
        """With a place in a topic each, and the version that follows from it."""
        topic, position = np.array(TOPIC)[kind], np.zeros(len(kind), dtype=np.int64)
        for number, name in enumerate(TOPICS):
            here = np.flatnonzero((topic == number) & (kind != STUCK))
            position[here] = self.offsets.take(name, partition[here])
        rows = rows.append_column("topic", words(TOPICS, topic))
        rows = rows.append_column("partition", pa.array(partition, pa.int32()))
        rows = rows.append_column("position", numbered("", position, 20))
        version = order_version(rows["event_time"].combine_chunks(), rows)
        return rows.append_column("version", version)

    def _status(self, changes: pa.Table) -> pa.Table:
        kind = changes["kind"].to_numpy()
        followed = kind != STARTED  # the first change has no other one before it
        at, before = changes["at"].to_numpy(), changes["before"].to_numpy()
        spent = amounts(np.maximum(at - before, 0) // 1000, 16, 3)
        self._changes += len(changes)
        session = pc.binary_join_element_wise(changes["order_id"].cast(pa.string()), "1", "/")
        columns = {
            **{n: changes[n] for n in ("event_id", "order_id", "branch_id", "version")},
            "old_status": words(BEFORE, kind),
            "new_status": changes["status"],
            "changed_at": changes["event_time"],
            "previous_status": pc.if_else(followed, words(BEFORE, kind), pa.scalar(None, "string")),
            "previous_changed_at": times(before, followed),
            "processing_time_seconds": pc.if_else(followed, spent, pa.scalar(None, spent.type)),
            "anomaly": words([None, "stuck"], (kind == STUCK).astype(int)),
            "session_id": session,
            "overtaken": pa.array(np.zeros(len(changes), dtype=bool)),
            "change_id": pa.array(self._changes - len(changes) + 1 + np.arange(len(changes))),
        }
        return pa.table(columns)

    def _broken(self, rng: np.random.Generator, arrived: pa.ChunkedArray) -> pa.Table:
        """One message in a thousand, beside those that were accepted."""
        at = arrived.filter(pa.array(rng.random(len(arrived)) < 0.001))
        partition = rng.integers(0, PARTITIONS, len(at))
        rules = [["total_equals_items"], ["branch_known"], ["json_object", "types_match"]]
        columns = {
            "topic": words(TOPICS[:1], np.zeros(len(at), dtype=int)),
            "partition": pa.array(partition, pa.int32()),
            "position": numbered("", self.offsets.take(TOPICS[0], partition), 20),
            "timestamp": at,
        }
        return refused(
            pa.table(columns), [rules[n] for n in rng.choice(3, len(at), p=[0.6, 0.3, 0.1])]
        )


def refused(messages: pa.Table, rules: list[list[str]]) -> pa.Table:
    """Rows of a table of the quarantine: the place of a message, and why it is there."""
    whole = pa.array([b'{"order": {"order_id": "?"}}'] * len(messages), pa.binary())
    headers = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))
    return (
        messages.append_column("key", pa.nulls(len(messages), pa.binary()))
        .append_column("value", whole)
        .append_column("headers", pa.nulls(len(messages), headers))
        .append_column("rules", pa.array(rules, pa.list_(pa.string())))
    )


def _life_times(rng: np.random.Generator, kinds: Longs, created: Longs) -> Longs:
    """When each step of each life happens, in microseconds; in milliseconds as tills tell it."""
    mean = LAG_S[kinds]
    lag = np.where(kinds == STUCK, mean, 1 + rng.exponential(1.0, kinds.shape) * mean)
    lag[:, 0] = 0
    return created[:, None] + (np.cumsum(lag, axis=1) * 1000).astype(np.int64) * 1000


def _is_change(kind: Longs) -> npt.NDArray[np.bool_]:
    return np.isin(kind, [STARTED, DONE, RECALLED, STUCK])


def _popularity() -> Floats:
    """Zipf's law, summed up."""
    share = np.cumsum(1 / np.arange(1, PRODUCTS + 1))
    return np.asarray(share / share[-1] - 1e-12)


def _items(upto: Longs, product: Longs, quantity: Longs, cents: Longs) -> pa.Array:
    names = [f"Product {n}" for n in range(PRODUCTS)]
    categories = [CATEGORIES[n % len(CATEGORIES)] for n in range(PRODUCTS)]
    columns = [
        numbered("P-", np.arange(PRODUCTS), 4).take(pa.array(product)),
        words(names, product),
        words(categories, product),
        pa.array(quantity, pa.int32()),
        amounts(cents, 12, 2),
    ]
    lines = pa.StructArray.from_arrays(columns, fields=list(LINE))
    return pa.ListArray.from_arrays(pa.array(upto, pa.int32()), lines)
