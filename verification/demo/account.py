"""What the demo sent against what the deployment holds, orders and frames, and rates by hour.

Everything is scoped to one run by the positions that topics and tables had before it, so a run
balances beside whatever earlier ones left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from conf.settings import Settings
from infra.local.process import wait_until
from quality.frame_observer import FrameObserver
from quality.frame_reconciliation import compare_published, reconcile_frames
from quality.order_observer import OrderObserver, RunStart, end_offsets
from quality.order_reconciliation import reconcile_orders
from quality.reconciliation import Difference
from simulator.ledger import read_ledger
from simulator.shop import BRANCH
from streaming.lake.formats import open_lake
from streaming.sinks.postgres import Database
from verification.demo.scene import Scene
from verification.deployment import Deployment
from verification.processes import Child

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
HOURS_BEHIND_SQL = """
    SELECT branch_id, hour FROM order_metrics m LEFT JOIN store_hourly s USING (branch_id, hour)
    GROUP BY branch_id, hour, s.orders, s.revenue
    HAVING s.orders IS DISTINCT FROM sum(m.order_count) OR s.revenue IS DISTINCT FROM
        coalesce(sum(m.total_revenue) FILTER (WHERE m.currency = s.currency), 0)
    UNION ALL SELECT f.branch_id, f.hour FROM (
        SELECT branch_id, date_trunc('hour', minute) AS hour, sum(entries) AS entries
        FROM footfall_minute GROUP BY 1, 2
    ) f LEFT JOIN store_hourly s USING (branch_id, hour)
    WHERE s.visitors IS DISTINCT FROM f.entries"""


@dataclass(frozen=True)
class DemoAccount:
    """The numbers of a run, and one sentence for each thing that does not hold."""

    orders: dict[str, int]
    detections: dict[str, int]
    faults: list[str]


class Auditor:
    """Reconciles one run; make it before anything is sent."""

    def __init__(self, settings: Settings, db: Database) -> None:
        self._settings, self._db, self._lake = settings, db, open_lake(settings)
        self._start = RunStart.of_all(settings, db)
        self._frames = FrameObserver(db, self._lake, self._start)
        self._orders_before = self._metric_orders()

    def _metric_orders(self) -> int:
        sql = "SELECT coalesce(sum(order_count + return_count), 0)::bigint AS n FROM order_metrics"
        return int(self._db.fetch(sql)[0]["n"])

    def _frames_in_kafka(self) -> int:
        """How many messages Kafka's topic of the detections gained since the start."""
        ends = end_offsets(self._settings, (self._settings.kafka.detections,))
        return sum(end - self._start.offsets.get(at, 0) for at, end in ends.items())

    def reconcile(
        self,
        deployment: Deployment,
        streams: Child,
        ledgers: Iterable[Path],
        published: int,
        seconds: float,
    ) -> DemoAccount:
        """Wait until every stream has caught up, then account for the run.

        Args:
            deployment: whose streams run.
            streams: the Spark application.
            ledgers: of the orders that were sent.
            published: frames that were acknowledged by their broker.
            seconds: bound of the wait; a fault when it is over.

        Raises:
            ProcessError: the streams have died.
        """
        entries = [entry for ledger in ledgers for entry in read_ledger(ledger)]
        orders = OrderObserver(self._settings, self._db, self._start, entries)

        def caught_up() -> bool:
            streams.require_alive()
            return self._has_arrived(orders, published)

        deployment.step("waiting until every stream has caught up")
        in_time = wait_until(caught_up, seconds, every=0.5)
        deployment.step("counting")
        account = self._account(orders, published)
        if not in_time:
            account.faults.append(f"the streams have not caught up in {seconds:.0f} s")
        return account

    def _has_arrived(self, orders: OrderObserver, published: int) -> bool:
        """Cheap test that every stream has caught up; `_account` proves it."""
        return (
            not orders.behind()
            and not self._frames.is_behind(published)
            and not self._db.fetch(HOURS_BEHIND_SQL)
        )

    def _account(self, orders: OrderObserver, published: int) -> DemoAccount:
        counted = self._metric_orders() - self._orders_before
        found = reconcile_orders(orders.entries, orders.read())
        numbers = {name: found.numbers[name] for name in ORDER_NUMBERS}
        frames, frame_faults = self._detections(published)
        checks = {
            "order_metrics counts every order and return once": counted
            == numbers["orders_processed"],
            "store_hourly equals its two sides": not self._db.fetch(HOURS_BEHIND_SQL),
            "every published frame is in Kafka": self._settings.inference.publisher != "kafka"
            or self._frames_in_kafka() == published,
        }
        failed = [name for name, holds in checks.items() if not holds]
        faults = [*found.faults, *failed, *map(str, frame_faults)]
        return DemoAccount({**numbers, "orders_counted": counted}, frames, faults)

    def _detections(self, published: int) -> tuple[dict[str, int], list[Difference]]:
        observed = self._frames.read()
        rejected = set(observed.quarantined)
        good = [frame for frame in observed.bronze if frame.message_id not in rejected]
        found = reconcile_frames(good, observed)
        compared = compare_published("cameras", published, observed)
        return {"frames_sent": published, **found.numbers}, [*compared, *found.differences]

    def store_hourly(self) -> list[dict[str, Any]]:
        """Every row of gold.store_hourly, as a second reader sees it."""
        rows = self._lake.read("gold.store_hourly")
        rows = rows.sort_by([("hour", "ascending"), ("branch_id", "ascending")])
        return [dict(row) for row in rows.to_pylist()]


def beside_truth(
    scene: Scene, counted: DemoAccount, db: Database, start: datetime
) -> list[dict[str, Any]] | None:
    """What was measured beside the truth; None where that is unknown."""
    truth = scene.truth()
    if truth is None:
        return None
    entries, exits = counted.detections["entries"], counted.detections["exits"]
    sold = db.fetch(
        "SELECT count(*) AS orders FROM orders_processed WHERE branch_id = %s AND created_at >= %s",
        (BRANCH, start),
    )[0]["orders"]
    dwell = db.fetch(
        "SELECT camera_id, zone_id, avg(dwell_seconds) AS seconds FROM zone_visits "
        "WHERE NOT withdrawn AND NOT is_open AND entered_at >= %s GROUP BY 1, 2",
        (start,),
    )
    means = {f"{r['camera_id']}/{r['zone_id']}": round(float(r["seconds"]), 1) for r in dwell}
    conversion = round(sold / entries, 4) if entries else None
    rows = [
        ("entries", entries, truth["entries"]),
        ("exits", exits, truth["exits"]),
        ("orders", sold, truth["buyers"]),
        ("conversion rate", conversion, truth["conversion"]),
        *(
            (f"mean dwell in {zone}, s", means.get(zone), round(found["mean_seconds"], 1))
            for zone, found in truth["zones"].items()
        ),
    ]
    return [{"what": what, "measured": got, "true": true} for what, got, true in rows]
