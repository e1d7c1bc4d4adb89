"""A deployment for the console only: a real Postgres with the tables of the streams, and no JVM.

Its branches are where it is afternoon now, so that the day has hours whenever the tests run.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from socket import gethostname
from typing import Any
from zoneinfo import ZoneInfo

import httpx
from psycopg import sql

from conf.settings import CONF_DIR, Settings, load_settings
from conf.stores import Stores, load_stores
from dashboard.quality import report_folder
from infra.local import reset
from infra.local.passwords import with_secrets
from infra.local.postgres import PostgresService
from infra.local.process import wait_until
from infra.postgres.migrate import migrate
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.tables import SILVER_DETECTIONS
from streaming.sinks.postgres import Database
from tests.conftest import free_ports
from tests.support.builders import as_json, order_event
from tests.support.postgres_local import start
from tests.support.small_lake import detection, detections, make_detections

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
FRAME = timedelta(seconds=0.2)
STREAMS = (
    *("order_event_processor", "real_time_metrics", "order_status_tracker"),
    *("product_analytics", "footfall"),
)
ZONES = (
    *("Pacific/Auckland", "Asia/Tokyo", "Asia/Kolkata", "Asia/Dubai", "Europe/Berlin"),
    *("Atlantic/Azores", "America/New_York", "America/Los_Angeles", "Pacific/Honolulu"),
)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Sandbox:
    """A database and a console; neither runs until it is started."""

    settings: Settings
    stores: Stores
    environment: Mapping[str, str]

    @property
    def postgres(self) -> PostgresService:
        return PostgresService(self.settings)

    @property
    def url(self) -> str:
        return self.settings.console.url

    def start_database(self) -> None:
        start(self.postgres)

    @contextmanager
    def console(self) -> Iterator[subprocess.Popen[bytes]]:
        """`storelake console`, until the end of the block."""
        log = self.settings.var_dir / "console.log"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "console"],
                env=dict(self.environment),
                stdout=out,
                stderr=out,
            )
        try:
            up = wait_until(lambda: process.poll() is not None or answers(self.url), 90)
            assert up, log.read_text()
            assert process.poll() is None, log.read_text()
            yield process
        finally:
            process.terminate()
            process.wait(20)


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def sandbox(folder: Path) -> Iterator[Sandbox]:
    """A deployment in an empty folder with a migrated database; its data are gone afterwards."""
    kafka, postgres, port = free_ports(3)
    stores_file = folder / "stores.toml"
    stores_file.write_text(afternoon(datetime.now(timezone.utc)), encoding="utf-8")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("STORELAKE_")},
        "STORELAKE_PROFILE": "test",
        "STORELAKE_VAR_DIR": str(folder),
        "STORELAKE_STORES_FILE": str(stores_file),
        "STORELAKE_KAFKA__PORT": str(kafka),
        "STORELAKE_POSTGRES__PORT": str(postgres),
        "STORELAKE_CONSOLE__PORT": str(port),
        "STORELAKE_CONSOLE__REFRESH_SECONDS": "0.5",
    }
    default = load_settings(profile="test", var_dir=folder, stores_file=stores_file)
    settings = with_secrets(
        default.model_copy(
            update={
                "kafka": default.kafka.model_copy(update={"port": kafka}),
                "postgres": default.postgres.model_copy(update={"port": postgres}),
                "console": default.console.model_copy(update={"port": port}),
            }
        )
    )
    made = Sandbox(settings, load_stores(stores_file), environment)
    try:
        made.start_database()
        migrate(settings)
        yield made
    finally:
        reset(settings)


def afternoon(now: datetime) -> str:
    """The chain of the demo, moved to where it is between noon and eight in the evening."""
    zones = [zone for zone in ZONES if 12 <= now.astimezone(ZoneInfo(zone)).hour < 20]
    text = (CONF_DIR / "stores" / "demo.toml").read_text(encoding="utf-8")
    for number, zone in enumerate(("Europe/Berlin", "America/New_York", "Asia/Kolkata")):
        text = text.replace(f'"{zone}"', f'"@{zones[number % len(zones)]}"')
    return text.replace('"@', '"')


def insert(db: Database, table: str, rows: Sequence[Row]) -> None:
    """Rows with the same columns."""
    if not rows:
        return
    names = list(rows[0])
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, names)),
        sql.SQL(", ").join(map(sql.Placeholder, names)),
    )
    with db.transaction() as connection, connection.cursor() as cursor:
        cursor.executemany(statement, rows)


def fill(db: Database, sandbox: Sandbox, now: datetime) -> None:
    """Insert a normal day of three branches."""
    for number, branch in enumerate(sandbox.stores.branches):
        zone = ZoneInfo(branch.timezone)
        for days in (0, 7):
            hours = [hour(branch.branch_id, zone, at, number, days) for at in span(now, zone, days)]
            insert(db, "store_hourly", [h for h, _ in hours])
            insert(db, "order_metrics", [m for _, m in hours])
        minutes = [now.replace(second=0, microsecond=0) - n * MINUTE for n in range(60)]
        for camera in branch.cameras:
            seen = [
                footfall(branch.branch_id, camera.camera_id, minute, number + minute.minute)
                for minute in minutes
            ]
            insert(db, "footfall_minute", seen)
            for place, zone_ in enumerate(camera.zones):
                where = {
                    "branch_id": branch.branch_id,
                    "camera_id": camera.camera_id,
                    "zone_id": zone_.zone_id,
                }
                insert(db, "zone_dwell_hourly", [dwell(where, now, 12 + 31 * place + 9 * number)])
                if zone_.kind == "queue":
                    insert(db, "queue_minute", [queue(where, minutes[0], 2 + number)])
        sold = [
            order(f"O-{branch.branch_id}-{n}", branch.branch_id, now - n * 2 * MINUTE)
            for n in range(25 - 6 * number)
        ]
        insert(db, "orders_processed", sold)
        insert(db, "product_orders", [product_order(one) for one in sold])
        insert(db, "order_items", [line for one in sold for line in lines(one)])
    fill_pipeline(db, now)


def fill_weeks(db: Database, sandbox: Sandbox, now: datetime) -> None:
    """Insert the four weeks before, with more visitors towards the end of a week."""
    for number, branch in enumerate(sandbox.stores.branches):
        zone = ZoneInfo(branch.timezone)
        rows = []
        night = now.astimezone(zone).replace(hour=23, minute=30)
        for days in range(1, 29):
            for at in span(night, zone, days):
                store, _ = hour(branch.branch_id, zone, at, number, days)
                weekday = store["local_hour"].weekday()
                rows.append({**store, "visitors": store["visitors"] * (6 + weekday) // 6})
        insert(db, "store_hourly", rows)


def fill_trouble(db: Database, now: datetime) -> None:
    """Insert stuck orders and dead letters."""
    old = now - timedelta(hours=30)
    insert(
        db,
        "orders_processed",
        [order(f"O-stuck-{n}", "B02", old - n * HOUR, status="processing") for n in range(3)],
    )
    insert(
        db,
        "dead_letters",
        [
            {
                "topic": "order-created",
                "partition": 0,
                "position": f"{n:020d}",
                "rules": rules,
                "order_id": "O-1",
                "value": as_json(order_event(total_price=-1)),
                "received_at": now - n * MINUTE,
                "rejected_at": now - n * MINUTE,
            }
            for n, rules in enumerate(
                (["total_price_money"], ["total_price_money", "branch_known"])
            )
        ],
    )


def span(now: datetime, zone: ZoneInfo, days: int) -> list[datetime]:
    """The hours (UTC) of the local day so far, that many days ago, with the current hour."""
    local = now.astimezone(zone)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    start = midnight.astimezone(timezone.utc).replace(minute=0)
    if start < midnight:
        start += HOUR
    count = int((now - start) / HOUR) + 1
    return [start + n * HOUR - timedelta(days=days) for n in range(count)]


def hour(
    branch_id: str, zone: ZoneInfo, at: datetime, number: int, days: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """An hour of a branch in `store_hourly` and `order_metrics`: busiest at five, none at night."""
    local = at.astimezone(zone)
    shape = max(0, 9 - abs(local.hour - 17)) if local.hour >= 8 else 0
    visitors = shape * (11 - 2 * number) - (shape * days // 7)
    orders = visitors * (3 + number) // 10
    revenue = Decimal(orders) * (Decimal("14.35") - number)
    both = {
        "branch_id": branch_id,
        "currency": "USD",
        "hour": at,
        "updated_at": at + HOUR,
        "is_final": True,
    }
    cancelled, pending = orders // 9, orders // 7
    store = {
        **both,
        "local_hour": local.replace(tzinfo=None),
        "visitors": visitors,
        "orders": orders,
        "orders_in_store": orders,
        "conversion_withheld": None if visitors else "no visitors counted",
        "revenue": revenue,
        "net_revenue": revenue,
        "revenue_in_store": revenue,
        "passers_by": 3 * visitors,
        "capture_rate": 0.25 if visitors else None,
        "occupancy_peak": visitors // 3,
        "camera_coverage": 0.985,
        "orders_change_id": 1,
        "footfall_change_id": 1,
    }
    metrics = {
        **both,
        "metric_date": at.date(),
        "order_count": orders,
        "total_revenue": revenue,
        "net_revenue": revenue - Decimal(cancelled) * 10,
        "pending_count": pending,
        "processing_count": 0,
        "completed_count": orders - cancelled - pending,
        "cancelled_count": cancelled,
        "cash_count": orders,
        "online_count": 0,
    }
    return store, metrics


def footfall(branch_id: str, camera_id: str, minute: datetime, seed: int) -> dict[str, Any]:
    """A minute of a camera; only entrances count people."""
    entries = (seed * 7) % 5 if camera_id.endswith("entrance") else 0
    return {
        "branch_id": branch_id,
        "camera_id": camera_id,
        "minute": minute,
        "entries": entries,
        "exits": entries // 2,
        "frames": 300,
        "people_peak": 3 + seed % 4,
        "updated_at": minute,
    }


def dwell(where: Row, now: datetime, seconds: int) -> dict[str, Any]:
    """An hour of a zone."""
    return {
        **where,
        "hour": now.replace(minute=0, second=0, microsecond=0),
        "visits": 40 + seconds,
        "dwell_mean": float(seconds),
        "dwell_p50": seconds * 0.8,
        "dwell_p95": seconds * 2.5,
        "visits_change_id": 1,
        "updated_at": now,
    }


def queue(where: Row, minute: datetime, length: int) -> dict[str, Any]:
    """A minute of a queue: so many people in each of 100 frames."""
    return {
        **where,
        "minute": minute,
        "frames": 100,
        "people": 100 * length,
        "length_max": length + 1,
        "waits": 4,
        "wait_p50": 35.0,
        "wait_p95": 80.0,
        "updated_at": minute,
    }


def add_people(sandbox: Sandbox, now: datetime, seconds: int) -> None:
    """Write to the lake that for so long until now somebody stood at each camera and one walked."""
    frames = [now - n * FRAME for n in reversed(range(int(timedelta(seconds=seconds) / FRAME)))]
    cameras = [(b.branch_id, c.camera_id) for b in sandbox.stores.branches for c in b.cameras]
    rows = []
    for branch_id, camera_id in cameras:
        where = {"branch_id": branch_id, "camera_id": camera_id}
        for n, at in enumerate(frames):
            angle = n / 40
            walked = (0.5 + 0.35 * math.sin(angle), 0.65 + 0.25 * math.cos(angle))
            rows += [detection(at, 0.45, 0.5, **where), detection(at, *walked, "8", **where)]
    with closing(open_catalog(sandbox.settings)) as catalog:
        known = catalog.table_exists(SILVER_DETECTIONS.name)
        table = catalog.load_table(SILVER_DETECTIONS.name) if known else make_detections(catalog)
        table.append(detections(*rows))


def order(
    order_id: str, branch_id: str, created_at: datetime, status: str = "completed"
) -> dict[str, Any]:
    """An order of 12.50 USD, written 0.6 s after it happened."""
    return {
        "order_id": order_id,
        "customer_id": "C-secret",
        "branch_id": branch_id,
        "status": status,
        "payment_method": "cash",
        "currency": "USD",
        "total_price": Decimal("12.50"),
        "created_at": created_at,
        "first_event_at": created_at,
        "last_event_at": created_at,
        "status_version": order_id,
        "updated_at": created_at + timedelta(seconds=0.6),
    }


def product_order(of: Row) -> dict[str, Any]:
    """The order as product_analytics counts it."""
    return {
        "order_id": of["order_id"],
        "branch_id": of["branch_id"],
        "day": of["created_at"].date(),
        "status": of["status"],
        "body_version": "1",
        "status_version": "1",
    }


def lines(of: Row) -> list[dict[str, Any]]:
    """Two pieces, and something by weight: three units."""
    goods = ("MILK", Decimal(2)), ("CHEESE", Decimal("0.35"))
    return [
        {
            "order_id": of["order_id"],
            "line_no": number,
            "product_id": name,
            "name": name,
            "quantity": quantity,
            "unit_price": Decimal("1.25"),
            "currency": "USD",
        }
        for number, (name, quantity) in enumerate(goods, 1)
    ]


def fill_pipeline(db: Database, now: datetime) -> None:
    """The ledger of the streams that write Postgres: a batch every two seconds."""
    for number, stream in enumerate(STREAMS):
        insert(
            db,
            "stream_batches",
            [
                {
                    "query_id": stream,
                    "batch_id": batch,
                    "rows_in": 30 + number,
                    "rows_new": 30 + number,
                    "committed_at": now - (60 - batch) * timedelta(seconds=2),
                }
                for batch in range(60)
            ],
        )
        insert(
            db,
            "stream_offsets",
            [{"stream": stream, "topic": "order-created", "partition": 0, "position": "0" * 20}],
        )


def report_streams_run(sandbox: Sandbox, **states: Mapping[str, Any]) -> None:
    """Write the status file of the streams, with the pid of this process."""
    from streaming.registry import STREAMS as ALL  # noqa: PLC0415 - its name is taken here

    status = {"ready": True, "finished_batches": 60, "finished_rows": 1800, "failures": 0}
    reported = {stream.name: {**status, **states.get(stream.name, {})} for stream in ALL}
    file = sandbox.settings.var_dir / "run" / "streams.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    who = {"host": gethostname(), "pid": os.getpid(), "at": time.time()}
    file.write_text(json.dumps({**who, "streams": reported}), encoding="utf-8")


def expectation(**overrides: Any) -> dict[str, Any]:
    """A result of one expectation of silver.orders, passed by default."""
    row = {
        "run_id": "run-1",
        "ran_at": datetime.now(timezone.utc) - 2 * MINUTE,
        "layer": "silver",
        "table_name": "silver.orders",
        "suite": "rows",
        "expectation": "order_id_present",
        "kind": "expect_column_values_to_not_be_null",
        "severity": "critical",
        "state": "passed",
        "row_count": 1200,
        "unexpected_count": 0,
        "observed": None,
        "samples": "[]",
        "says": "An order has no id.",
    }
    assert overrides.keys() <= row.keys()
    return {**row, **overrides}


def validated(db: Database, sandbox: Sandbox) -> None:
    """Insert a quality run over four layers with one failure, and write its pages."""
    rows = [
        expectation(layer=layer, table_name=table, expectation=f"rule_{n}")
        for layer, table in (
            ("bronze", "bronze.order_events"),
            ("silver", "silver.orders"),
            ("gold", "gold.store_hourly"),
            ("postgres", "postgres.orders_processed"),
        )
        for n in range(12)
    ]
    failed = expectation(
        expectation="branch_known",
        state="failed",
        unexpected_count=3,
        observed="3 of 1,200 rows",
        says="An order is of a branch that is not in the store file.",
    )
    insert(db, "quality_results", [*rows, failed])
    folder = report_folder(sandbox.settings.var_dir)
    (folder / "data-docs").mkdir(parents=True, exist_ok=True)
    (folder / "data-docs" / "silver.orders.rows.html").write_text(
        "<h1>silver.orders.rows</h1><script>document.title = 'ran'</script>", encoding="utf-8"
    )
    (folder / "index.html").write_text("<h1>Quality of every layer</h1>", encoding="utf-8")


__all__ = ["Sandbox", "fill", "replace", "sandbox"]
