"""What the topics and tables hold of one run: readers of their own, without Spark.

A run is scoped by the offsets that the topics had before it and by the last ones in its ledger, so
it can be followed beside any other traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property

import pyarrow as pa
from pyiceberg.expressions import GreaterThanOrEqual

from conf.kafka import client_config
from conf.settings import Settings
from quality.account import Evidence, Message, OrderRow, Position
from simulator.ledger import Entry, digest
from streaming.lake.formats import open_lake
from streaming.lake.protocol import Lake
from streaming.lake.tables import (
    BRONZE_ORDER_EVENTS,
    QUARANTINE_LATE_EVENTS,
    QUARANTINE_ORDER_EVENTS,
    SILVER_ORDERS,
    Table,
)
from streaming.progress import Progress, advance
from streaming.sinks.postgres import Database
from streaming.source import broker_offset
from streaming.sources.kafka import KafkaLog
from streaming.sources.log import Range, Subscription

Offsets = dict[tuple[str, int], int]
POSITION = ("topic", "partition", "position")
CLOCK_SLACK = timedelta(hours=1)


def end_offsets(settings: Settings, topics: Sequence[str]) -> Offsets:
    """The next offset of every partition of the topics."""
    log = _log(settings, topics)
    try:
        return {partition: high for partition, (_, high) in log.bounds().items()}
    finally:
        log.close()


def _log(settings: Settings, topics: Sequence[str]) -> KafkaLog:
    # The reader's consumer is kept open; it shall not complain when a demo stops its broker.
    client = client_config(settings.kafka, {"log_level": "0"})
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
class Start:
    """What was there before a run.

    Attributes:
        offsets: the next one of each partition of the order topics.
        at: when that was (UTC).
    """

    offsets: Offsets
    at: datetime

    @classmethod
    def now(cls, settings: Settings) -> Start:
        """Call it before anything is sent."""
        return cls(end_offsets(settings, settings.kafka.order_topics), datetime.now(timezone.utc))


@dataclass(frozen=True)
class Trail:
    """Follows the messages of one run.

    Attributes:
        settings: where everything is.
        db: the serving database.
        start: of the run.
        entries: the run's ledger.
    """

    settings: Settings
    db: Database
    start: Start
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
            ("bronze", BRONZE_ORDER_EVENTS, self._ends),
            ("quarantine", QUARANTINE_ORDER_EVENTS, poisoned),
            ("late events", QUARANTINE_LATE_EVENTS, late),
            ("silver", SILVER_ORDERS, good),
        )

    def behind(self) -> list[str]:
        """Which places do not have all of the run yet; cheap, asked again and again."""
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

    def gather(self) -> Evidence:
        """Read everything, whole."""
        ids = sorted({e.event_id for e in self.entries})
        orders = sorted({e.order_id for e in self.entries})
        raw = self.db.fetch("SELECT event_id FROM orders_raw WHERE event_id = ANY(%s)", (ids,))
        processed = self.db.fetch(
            "SELECT order_id, status, total_price FROM orders_processed WHERE order_id = ANY(%s)",
            (orders,),
        )
        counted = self.db.fetch(
            "SELECT order_id FROM order_contributions "
            "WHERE hour IS NOT NULL AND order_id = ANY(%s)",
            (orders,),
        )
        return Evidence(
            kafka=self._kafka(),
            bronze=_messages(self._scan(BRONZE_ORDER_EVENTS, "value"), self._mine),
            silver=self._positions(SILVER_ORDERS),
            quarantined=self._positions(QUARANTINE_ORDER_EVENTS),
            late=self._positions(QUARANTINE_LATE_EVENTS),
            raw=[row["event_id"] for row in raw],
            orders=[OrderRow(**row) for row in processed],
            counted=[row["order_id"] for row in counted],
        )

    def _mine(self, position: Position) -> bool:
        topic, partition, offset = position
        first = self.start.offsets.get((topic, partition), 0)
        return first <= offset <= self._ends.get((topic, partition), -1)

    def _kafka(self) -> list[Message]:
        ranges = [
            Range(topic, number, self.start.offsets.get((topic, number), 0), end + 1)
            for (topic, number), end in self._ends.items()
        ]
        log = _log(self.settings, self.settings.kafka.order_topics)
        try:
            return [
                message
                for batch in log.fetch(ranges)
                for message in _messages(pa.Table.from_batches([batch]), self._mine)
            ]
        finally:
            log.close()

    def _positions(self, table: Table) -> list[Position]:
        return [p for p in _positions(self._scan(table)) if self._mine(p)]

    def _scan(self, table: Table, *more: str) -> pa.Table:
        # The broker's time of a message prunes what was there before; offsets decide.
        since = GreaterThanOrEqual(
            term="timestamp", value=(self.start.at - CLOCK_SLACK).isoformat()
        )
        columns = (*POSITION, *more)
        return self._lake.read(table.name, columns, since)


def _positions(rows: pa.Table) -> list[Position]:
    topics, partitions, positions = (rows[name].to_pylist() for name in POSITION)
    return [
        (topic, partition, broker_offset(position))
        for topic, partition, position in zip(topics, partitions, positions, strict=True)
    ]


def _messages(rows: pa.Table, mine: Callable[[Position], bool]) -> list[Message]:
    values = rows["value"].to_pylist()
    return [
        Message(position, digest(value))
        for position, value in zip(_positions(rows), values, strict=True)
        if mine(position)
    ]
