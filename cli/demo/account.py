"""The account of the demo: orders as `storelake check` accounts for them, cameras, and the rate.

Everything is scoped to one run by the offsets that the topics had before it, so a run balances
beside whatever earlier ones left.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from cli.check.account import Position, settle
from cli.check.evidence import Offsets, Start, Trail, end_offsets
from conf.settings import Settings
from simulator.ledger import read_ledger
from streaming.connectors.iceberg import open_catalog
from streaming.connectors.postgres import Database
from streaming.tables import (
    BRONZE_DETECTIONS,
    QUARANTINE_DETECTIONS,
    SILVER_DETECTIONS,
    Table,
)

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
    """What was there before a run, and when that was (UTC)."""

    at: datetime
    offsets: Offsets
    metric_orders: int
    frames: int
    entries: int
    exits: int


def baseline(settings: Settings, db: Database) -> Baseline:
    """Take the baseline; call it before anything is sent."""
    topics = (*settings.kafka.order_topics, settings.kafka.detections)
    at = datetime.now(timezone.utc)
    return Baseline(at, end_offsets(settings, topics), **_totals(db))


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
        self._catalog = open_catalog(settings)

    def _positions(self, table: Table) -> list[Position]:
        """Of the table's rows that belong to the run."""
        columns = ("topic", "partition", "position")
        lowest = f"{min(self._before.offsets.values()):020d}"
        rows = self._catalog.load_table(table.name).scan(selected_fields=columns).to_arrow()
        rows = rows.filter(pc.greater_equal(rows["position"], lowest)).select(columns)
        found = []
        for row in zip(*(c.to_pylist() for c in rows.columns), strict=True):
            topic, partition, offset = row[0], row[1], int(row[2])
            if offset >= self._before.offsets.get((topic, partition), 0):
                found.append((topic, partition, offset))
        return found

    def _frames_sent(self) -> set[Position]:
        """Every position that the topic of the detections gained since the baseline."""
        topic = self._settings.kafka.detections
        return {
            (topic, p, o)
            for (_, p), end in end_offsets(self._settings, (topic,)).items()
            for o in range(self._before.offsets.get((topic, p), 0), end)
        }

    def trail(self, ledger: Path) -> Trail:
        """Of the orders that the ledger tells of."""
        start = Start(self._before.offsets, self._before.at)
        return Trail(self._settings, self._db, start, read_ledger(ledger))

    def settled(self, trail: Trail) -> bool:
        """Cheap test that every stream has caught up; `account` proves it."""
        frames = self._frames_sent()
        return (
            not trail.behind()
            and len(self._positions(BRONZE_DETECTIONS)) >= len(frames)
            and _totals(self._db)["frames"]
            - self._before.frames
            + len(self._positions(QUARANTINE_DETECTIONS))
            >= len(frames)
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
        sent = self._frames_sent()
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
            "every published frame is in Kafka": len(sent) == published,
            "bronze holds every frame once": sorted(bronze) == sorted(sent),
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
        rows = self._catalog.load_table("gold.store_hourly").scan().to_arrow()
        rows = rows.sort_by([("hour", "ascending"), ("branch_id", "ascending")])
        return [dict(row) for row in rows.to_pylist()]
