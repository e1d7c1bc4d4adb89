"""The account: sent = good + quarantined + late, to the event, by ids and by source positions.

Everything is scoped to one run by the offsets that the topics had before it, so a run balances
beside whatever earlier ones left.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from confluent_kafka import Consumer, TopicPartition

from conf.settings import Settings
from streaming.connectors.iceberg import open_catalog
from streaming.connectors.postgres import Database
from streaming.tables import (
    BRONZE_DETECTIONS,
    BRONZE_ORDER_EVENTS,
    QUARANTINE_DETECTIONS,
    QUARANTINE_LATE_EVENTS,
    QUARANTINE_ORDER_EVENTS,
    SILVER_DETECTIONS,
    SILVER_ORDERS,
    Table,
)

Position = tuple[str, int, int]
Offsets = dict[tuple[str, int], int]


def end_offsets(settings: Settings) -> Offsets:
    """The next offset of every partition of the input topics."""
    consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap, "group.id": "account"})
    try:
        offsets: Offsets = {}
        for topic in (*settings.kafka.order_topics, settings.kafka.detections):
            for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                _, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=10)
                offsets[topic, number] = high
        return offsets
    finally:
        consumer.close()


@dataclass(frozen=True)
class Baseline:
    """What was there before a run."""

    offsets: Offsets
    metric_orders: int
    frames: int
    entries: int
    exits: int


def baseline(settings: Settings, db: Database) -> Baseline:
    """Take the baseline; call it before anything is sent."""
    return Baseline(end_offsets(settings), **_totals(db))


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

    def _positions(self, table: Table, extra: str | None = None) -> list[tuple[Any, ...]]:
        """(topic, partition, offset[, extra]) of the table's rows that belong to the run."""
        columns = ("topic", "partition", "position", *([extra] if extra else []))
        lowest = f"{min(self._before.offsets.values()):020d}"
        rows = self._catalog.load_table(table.name).scan(selected_fields=columns).to_arrow()
        rows = rows.filter(pc.greater_equal(rows["position"], lowest)).select(columns)
        found = []
        for row in zip(*(c.to_pylist() for c in rows.columns), strict=True):
            topic, partition, offset = row[0], row[1], int(row[2])
            if offset >= self._before.offsets.get((topic, partition), 0):
                found.append((topic, partition, offset, *row[3:]))
        return found

    def sent_positions(self, *topics: str) -> set[Position]:
        """Every position that the topics gained since the baseline."""
        return {
            (t, p, o)
            for (t, p), end in end_offsets(self._settings).items()
            if t in topics
            for o in range(self._before.offsets.get((t, p), 0), end)
        }

    def settled(self) -> bool:
        """Cheap test that every stream has caught up; `account` proves it."""
        kafka = self._settings.kafka
        orders = self.sent_positions(*kafka.order_topics)
        frames = self.sent_positions(kafka.detections)
        return (
            len(self._positions(BRONZE_ORDER_EVENTS)) >= len(orders)
            and len(self._positions(SILVER_ORDERS)) + len(self._positions(QUARANTINE_ORDER_EVENTS))
            >= len(orders)
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

    def orders(self, ledger: Path) -> tuple[dict[str, int], list[str]]:
        """Order numbers and faults."""
        lines = [json.loads(x) for x in ledger.read_text(encoding="utf-8").splitlines()]
        by = {
            o: [x for x in lines if x["outcome"] == o] for o in ("accepted", "rejected", "poisoned")
        }
        sent = self.sent_positions(*self._settings.kafka.order_topics)
        bronze = [p[:3] for p in self._positions(BRONZE_ORDER_EVENTS)]
        good = self._positions(SILVER_ORDERS, "order_id")
        bad = self._positions(QUARANTINE_ORDER_EVENTS)
        late = self._positions(QUARANTINE_LATE_EVENTS)
        ids = {x["event_id"] for x in by["accepted"]}
        raw = {
            r["event_id"]
            for r in self._db.fetch(
                "SELECT event_id FROM orders_raw WHERE event_id = ANY(%s)", (sorted(ids),)
            )
        }
        order_ids = {p[3] for p in good}
        processed = self._db.fetch(
            "SELECT count(*) AS n FROM orders_processed WHERE order_id = ANY(%s)",
            (sorted(order_ids),),
        )[0]["n"]
        counted = _totals(self._db)["metric_orders"] - self._before.metric_orders
        numbers = {
            "sent": len(lines),
            "accepted": len(by["accepted"]),
            "rejected": len(by["rejected"]),
            "poisoned": len(by["poisoned"]),
            "in_kafka": len(sent),
            "orders_raw": len(raw),
            "orders_processed": processed,
            "quarantined": len(bad),
            "late": len(late),
            "orders_counted": counted,
        }
        checks = {
            "every accepted or poisoned message is in Kafka": len(sent)
            >= len(by["accepted"]) + len(by["poisoned"]),
            "bronze holds every message once": sorted(bronze) == sorted(sent),
            "every message is good or quarantined, once": sorted(
                [p[:3] for p in good] + [p[:3] for p in bad]
            )
            == sorted(sent),
            "every accepted event is in orders_raw": raw == ids,
            "every order is in orders_processed": processed == len(order_ids),
            "order_metrics counts every order once": bool(late) or counted == len(order_ids),
            "sent = good + quarantined + rejected": len(lines)
            == len(raw) + len(bad) + len(by["rejected"]),
            "store_hourly says what both sides say": not self._hours_behind(),
        }
        return numbers, [name for name, holds in checks.items() if not holds]

    def detections(self, published: int) -> tuple[dict[str, int], list[str]]:
        """Camera numbers and faults; `published` frames were acknowledged by the broker."""
        sent = self.sent_positions(self._settings.kafka.detections)
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

    def account(self, ledger: Path, published: int) -> Account:
        """The whole account of the run."""
        orders, order_faults = self.orders(ledger)
        detections, camera_faults = self.detections(published)
        return Account(orders, detections, order_faults + camera_faults)

    def store_hourly(self) -> list[dict[str, Any]]:
        """Every row of gold.store_hourly, as a second reader sees it."""
        rows = self._catalog.load_table("gold.store_hourly").scan().to_arrow()
        rows = rows.sort_by([("hour", "ascending"), ("branch_id", "ascending")])
        return [dict(row) for row in rows.to_pylist()]
