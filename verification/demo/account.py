"""The account of the demo: orders as `storelake check` accounts for them, cameras, and the rate.

Everything is scoped to one run by the offsets that the topics had before it, so a run balances
beside whatever earlier ones left.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from conf.settings import Settings
from quality.account import settle
from quality.evidence import Offsets, Start, Trail, end_offsets
from simulator.ledger import read_ledger
from streaming.lake.formats import open_lake
from streaming.lake.tables import (
    BRONZE_DETECTIONS,
    QUARANTINE_DETECTIONS,
    SILVER_DETECTIONS,
    Table,
)
from streaming.progress import Progress
from streaming.sinks.postgres import Database
from streaming.source import broker_offset

ORDER_NUMBERS = (
    "sent",
    "accepted",
    "rejected",
    "poisoned",
    "in_kafka",
    "orders_raw",
    "orders_processed",
    "quarantined",
    "late",
)


@dataclass(frozen=True)
class Baseline:
    """What was there before a run, and when that was (UTC).

    `offsets` are of Kafka's topics; `bronze` is how far the detections of every broker had come.
    """

    at: datetime
    offsets: Offsets
    bronze: Progress
    metric_orders: int
    frames: int
    entries: int
    exits: int


def baseline(settings: Settings, db: Database) -> Baseline:
    """Take the baseline; call it before anything is sent."""
    topics = (*settings.kafka.order_topics, settings.kafka.detections)
    at = datetime.now(timezone.utc)
    with open_lake(settings) as lake:
        bronze = lake.progress(BRONZE_DETECTIONS)
    return Baseline(at, end_offsets(settings, topics), bronze, **_totals(db))


def _totals(db: Database) -> dict[str, int]:
    return db.fetch(
        "SELECT (SELECT coalesce(sum(order_count), 0) FROM order_metrics)::bigint AS metric_orders,"
        " coalesce(sum(frames), 0)::bigint AS frames, coalesce(sum(entries), 0)::bigint AS entries,"
        " coalesce(sum(exits), 0)::bigint AS exits FROM footfall_minute"
    )[0]


@dataclass(frozen=True)
class Account:
    """The numbers of a run and what does not add up."""

    orders: dict[str, int]
    detections: dict[str, int]
    faults: list[str]

    @property
    def balanced(self) -> bool:
        """True when nothing is missing and nothing is there twice."""
        return not self.faults


class Auditor:
    """Compares the ledger, the topics and the tables of one run."""

    def __init__(self, settings: Settings, db: Database, before: Baseline) -> None:
        self._settings, self._db, self._before = settings, db, before
        self._lake = open_lake(settings)

    def _positions(self, table: Table) -> list[tuple[str, int, str]]:
        """Of the table's rows that belong to the run; (topic, partition, position)."""
        columns = ("topic", "partition", "position")
        rows = self._lake.read(table.name, columns)
        return [
            (topic, partition, position)
            for topic, partition, position in zip(
                *(rows[name].to_pylist() for name in columns), strict=True
            )
            if self._is_new(topic, partition, position)
        ]

    def _is_new(self, topic: str, partition: int, position: str) -> bool:
        before = self._before
        if (topic, partition) in before.offsets:  # Kafka's: what waited unread is not of the run
            return broker_offset(position) >= before.offsets[topic, partition]
        return position > before.bronze.get((topic, partition), "")

    def _frames_in_kafka(self) -> int:
        """How many messages Kafka's topic of the detections gained since the baseline."""
        ends = end_offsets(self._settings, (self._settings.kafka.detections,))
        return sum(end - self._before.offsets.get(at, 0) for at, end in ends.items())

    def trail(self, *ledgers: Path) -> Trail:
        """Of the orders that the ledgers step of."""
        start = Start(self._before.offsets, self._before.at)
        entries = [entry for ledger in ledgers for entry in read_ledger(ledger)]
        return Trail(self._settings, self._db, start, entries)

    def settled(self, trail: Trail, published: int) -> bool:
        """Cheap test that every stream has caught up; `account` proves it."""
        return (
            not trail.behind()
            and len(self._positions(BRONZE_DETECTIONS)) >= published
            and _totals(self._db)["frames"]
            - self._before.frames
            + len(self._positions(QUARANTINE_DETECTIONS))
            >= published
            and not self._hours_behind()
        )

    def _hours_behind(self) -> list[dict[str, Any]]:
        """Hours of store_hourly that are not yet what both sides say."""
        return self._db.fetch(
            "SELECT m.branch_id, m.hour FROM order_metrics m LEFT JOIN store_hourly s "
            "USING (branch_id, hour) WHERE s.orders IS DISTINCT FROM m.order_count "
            "OR s.revenue IS DISTINCT FROM m.total_revenue "
            "UNION ALL SELECT f.branch_id, f.hour FROM (SELECT branch_id, "
            "date_trunc('hour', minute) AS hour, sum(entries) AS entries FROM footfall_minute "
            "GROUP BY 1, 2) f LEFT JOIN store_hourly s USING (branch_id, hour) "
            "WHERE s.visitors IS DISTINCT FROM f.entries"
        )

    def orders(self, trail: Trail) -> tuple[dict[str, int], list[str]]:
        """Order numbers and faults."""
        account = settle(trail.entries, trail.gather())
        counted = _totals(self._db)["metric_orders"] - self._before.metric_orders
        numbers = {name: account.numbers[name] for name in ORDER_NUMBERS}
        checks = {
            "order_metrics counts every order once": counted == numbers["orders_processed"],
            "store_hourly says what both sides say": not self._hours_behind(),
        }
        faults = [name for name, holds in checks.items() if not holds]
        return {**numbers, "orders_counted": counted}, [*account.faults, *faults]

    def detections(self, published: int) -> tuple[dict[str, int], list[str]]:
        """Camera numbers and faults; `published` frames were acknowledged by the broker."""
        bronze = self._positions(BRONZE_DETECTIONS)
        silver = self._positions(SILVER_DETECTIONS)
        bad = self._positions(QUARANTINE_DETECTIONS)
        totals = _totals(self._db)
        frames = totals["frames"] - self._before.frames
        numbers = {
            "frames_sent": published,
            "bronze_frames": len(bronze),
            "silver_rows": len(silver),
            "frames_counted": frames,
            "quarantined": len(bad),
            "entries": totals["entries"] - self._before.entries,
            "exits": totals["exits"] - self._before.exits,
        }
        checks = {
            "every published frame is in Kafka": self._settings.inference.publisher != "kafka"
            or self._frames_in_kafka() == published,
            "bronze holds every frame once": len(bronze) == len(set(bronze)) == published,
            "every frame is counted or quarantined": frames + len(bad) == published,
        }
        return numbers, [name for name, holds in checks.items() if not holds]

    def account(self, trail: Trail, published: int) -> Account:
        """The whole account of the run."""
        orders, order_faults = self.orders(trail)
        detections, camera_faults = self.detections(published)
        return Account(orders, detections, order_faults + camera_faults)

    def store_hourly(self) -> list[dict[str, Any]]:
        """Every row of gold.store_hourly, as a second reader sees it."""
        rows = self._lake.read("gold.store_hourly")
        rows = rows.sort_by([("hour", "ascending"), ("branch_id", "ascending")])
        return [dict(row) for row in rows.to_pylist()]
