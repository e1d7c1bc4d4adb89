"""Readers of what brokers, lake and Postgres hold of a run, without Spark.

A run is scoped by the positions that topics and tables had before it, and one of orders by the last
offsets in its ledger, too, so it can be followed beside any other traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property

import pyarrow as pa
from pyiceberg.expressions import GreaterThanOrEqual

from conf.kafka import client_config
from conf.settings import Settings
from quality.frame_reconciliation import FootfallMinute
from quality.order_reconciliation import ObservedOrders, OrderRow, StoredMessage
from quality.order_sums import stored_sums, sums_of
from quality.reconciliation import DETECTIONS, LATE_ORDERS, ORDERS, POSITION
from simulator.ledger import Entry, digest
from streaming.lake.formats import open_lake
from streaming.lake.protocol import Lake, Where
from streaming.lake.tables import Table
from streaming.progress import Progress, advance
from streaming.sinks.postgres import Database
from streaming.source import broker_offset
from streaming.sources.kafka import KafkaLog
from streaming.sources.log import Range
from streaming.sources.options import Subscription

Offsets = dict[tuple[str, int], int]
Position = tuple[str, int, int]
"""Topic, partition, offset."""
Minutes = Mapping[tuple[str, datetime], FootfallMinute]
CLOCK_SLACK = timedelta(hours=1)
PROCESSED_SQL = """
    SELECT order_id, status, total_price FROM orders_processed WHERE order_id = ANY(%s)"""
COUNTED_SQL = """
    SELECT order_id FROM order_contributions WHERE hour IS NOT NULL AND order_id = ANY(%s)"""


def end_offsets(settings: Settings, topics: Sequence[str]) -> Offsets:
    """The next offset of every partition of the topics."""
    with closing(open_log(settings, topics)) as log:
        return {partition: high for partition, (_, high) in log.bounds().items()}


def open_log(settings: Settings, topics: Sequence[str]) -> KafkaLog:
    """A reader of topics; close it."""
    # The reader's consumer is kept open; it must not log errors when a demo stops its broker.
    client = client_config(settings.kafka, "reader", {"log_level": "0"})
    return KafkaLog(Subscription(tuple(topics)), client, "storelake-check")


def last_positions(entries: Iterable[Entry]) -> Offsets:
    """The highest offset of each partition among the messages that a broker has."""
    last: Offsets = {}
    for entry in entries:
        if entry.position is not None:
            topic, partition, offset = entry.position
            last[topic, partition] = max(last.get((topic, partition), -1), offset)
    return last


@dataclass(frozen=True)
class RunStart:
    """What was there before a run.

    Attributes:
        at: when that was (UTC).
        offsets: the next one of each partition of Kafka's topics.
        detections: the newest positions of bronze.detections, of every broker.
        minutes: the newest rows of footfall_minute.
    """

    at: datetime
    offsets: Offsets
    detections: Progress = field(default_factory=dict)
    minutes: Minutes = field(default_factory=dict)

    @classmethod
    def of_orders(cls, settings: Settings) -> RunStart:
        """Call it before any order is sent."""
        at = datetime.now(timezone.utc)
        return cls(at, end_offsets(settings, settings.kafka.order_topics))

    @classmethod
    def of_all(cls, settings: Settings, db: Database) -> RunStart:
        """Call it before any order or frame is sent; the tables must be there."""
        topics = (*settings.kafka.order_topics, settings.kafka.detections)
        at = datetime.now(timezone.utc)
        with open_lake(settings) as lake:
            detections = lake.progress(DETECTIONS.received)
        return cls(
            at, end_offsets(settings, topics), detections, footfall_minutes(db, at - CLOCK_SLACK)
        )

    def is_before(self, topic: str, partition: int, position: str) -> bool:
        """Whether a message of the detections was sent before the run."""
        if (topic, partition) in self.offsets:  # a message of Kafka that waited unread is older
            return broker_offset(position) < self.offsets[topic, partition]
        return position <= self.detections.get((topic, partition), "")


@dataclass(frozen=True)
class OrderObserver:
    """Follows the order messages of one run."""

    settings: Settings
    db: Database
    start: RunStart
    entries: Sequence[Entry]

    @cached_property
    def _lake(self) -> Lake:
        return open_lake(self.settings)

    @cached_property
    def _ends(self) -> Offsets:
        return last_positions(self.entries)

    @cached_property
    def _wanted(self) -> tuple[tuple[str, Table | str, Offsets], ...]:
        """(name, table or stream, how far it must have come). Positions arrive in order."""
        accepted = [e for e in self.entries if e.outcome == "accepted"]
        good = last_positions(accepted)
        poisoned = last_positions(e for e in self.entries if e.outcome == "poisoned")
        late = last_positions(e for e in accepted if e.late)
        return (
            ("Postgres", "order_event_processor", good),
            ("metrics", "real_time_metrics", good),
            ("bronze", ORDERS.received, self._ends),
            ("quarantine", ORDERS.quarantined, poisoned),
            ("late events", LATE_ORDERS, late),
            ("silver", ORDERS.good, good),
        )

    def behind(self) -> list[str]:
        """The places that do not have all of the run yet; cheap enough to poll."""
        return [name for name, place, ends in self._wanted if not self._has(place, ends)]

    def _has(self, place: Table | str, ends: Offsets) -> bool:
        if not ends:
            return True
        done = self._done(place)
        return all(int(done.get(partition, -1)) >= end for partition, end in ends.items())

    def _done(self, place: Table | str) -> Progress:
        """The newest positions that a table, or a stream in Postgres, has.

        A table of the strategy `upsert` keeps none beside its rows.
        """
        if isinstance(place, str):
            return self.db.progress(place)[0]
        if place.strategy == "append":
            return self._lake.progress(place)
        return advance({}, self._lake.read(place.name, POSITION))

    def read(self) -> ObservedOrders:
        """Read everything, whole."""
        ids = sorted({e.event_id for e in self.entries})
        orders = sorted({e.order_id for e in self.entries})
        raw = self.db.fetch("SELECT event_id FROM orders_raw WHERE event_id = ANY(%s)", (ids,))
        processed = self.db.fetch(PROCESSED_SQL, (orders,))
        counted = self.db.fetch(COUNTED_SQL, (orders,))
        return ObservedOrders(
            kafka=self._kafka(),
            bronze=list(_messages(self._scan(ORDERS.received, "value"), self._is_ours)),
            silver=self._ids(ORDERS.good),
            quarantined=self._ids(ORDERS.quarantined),
            late=self._ids(LATE_ORDERS),
            raw=[row["event_id"] for row in raw],
            orders=[OrderRow(**row) for row in processed],
            counted=[row["order_id"] for row in counted],
            sums=stored_sums(self.db, {key.hour for key in sums_of(self.entries)}, orders),
        )

    def _is_ours(self, position: Position) -> bool:
        topic, partition, offset = position
        first = self.start.offsets.get((topic, partition), 0)
        return first <= offset <= self._ends.get((topic, partition), -1)

    def _kafka(self) -> list[StoredMessage]:
        ranges = [
            Range(topic, number, self.start.offsets.get((topic, number), 0), end + 1)
            for (topic, number), end in self._ends.items()
        ]
        with closing(open_log(self.settings, self.settings.kafka.order_topics)) as log:
            return [
                message
                for batch in log.fetch(ranges)
                for message in _messages(pa.Table.from_batches([batch]), self._is_ours)
            ]

    def _ids(self, table: Table) -> list[str]:
        return [message_id(p) for p in broker_positions(self._scan(table)) if self._is_ours(p)]

    def _scan(self, table: Table, *more: str) -> pa.Table:
        return self._lake.read(table.name, (*POSITION, *more), since(self.start))


def since(start: RunStart) -> Where:
    """Messages that are not much older than a run: prunes files, positions decide."""
    return GreaterThanOrEqual(term="timestamp", value=(start.at - CLOCK_SLACK).isoformat())


def message_id(position: Position) -> str:
    """The id of a message as reconciliations name it."""
    return "/".join(map(str, position))


def broker_positions(rows: pa.Table) -> list[Position]:
    """Topic, partition and offset at the broker of each row's message."""
    topics, partitions, positions = (rows[name].to_pylist() for name in POSITION)
    return [
        (topic, partition, broker_offset(position))
        for topic, partition, position in zip(topics, partitions, positions, strict=True)
    ]


def _messages(rows: pa.Table, is_ours: Callable[[Position], bool]) -> Iterator[StoredMessage]:
    for position, value in zip(broker_positions(rows), rows["value"].to_pylist(), strict=True):
        if is_ours(position):
            yield StoredMessage(message_id(position), digest(value))


def footfall_minutes(db: Database, first: datetime) -> dict[tuple[str, datetime], FootfallMinute]:
    """(camera, minute in UTC) -> what footfall_minute counts, of the minutes since then."""
    rows = db.fetch(
        "SELECT camera_id, minute, frames, late_frames, entries, exits FROM footfall_minute "
        "WHERE minute >= %s",
        (first,),
    )
    return {
        (row.pop("camera_id"), row.pop("minute").astimezone(timezone.utc)): FootfallMinute(**row)
        for row in rows
    }
