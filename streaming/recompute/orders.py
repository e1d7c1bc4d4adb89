"""Compute the hours of orders anew from bronze, with the transforms of the stream (L4).

Hour by hour, while the streams run: in a transaction that no batch of the stream overlaps, each
order made in the hour is forgotten and told again by all its accepted events, the late ones too;
then the hour (and for products the day) is added up from its orders. Rows carry versions, so what
the stream has learned since bronze was read stays, and what it learns afterwards finds its place.
An hour that is done twice is the same. `store_hourly` and the lake follow by the `settle` of the
streams, now or when they run next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from conf.errors import StorelakeError
from conf.settings import Settings
from conf.stores import load_stores
from streaming.feeds import to_order_events
from streaming.jobs import product_analytics, real_time_metrics
from streaming.lake.formats import open_lake, spark_table
from streaming.lake.tables import BRONZE_ORDER_EVENTS, QUARANTINE_LATE_EVENTS
from streaming.session import build_session
from streaming.sinks.postgres import Database, stage

HOUR = timedelta(hours=1)
POSITION = ("topic", "partition", "position")

_NOTE_SQL = "INSERT INTO restated_hours (hour, orders, events, late_events) VALUES (%s, %s, %s, %s)"


class RestateError(StorelakeError):
    """A window that cannot be restated; the message says why."""


@dataclass(frozen=True)
class Part:
    """What one stream keeps of the orders of an hour.

    Attributes:
        stream: whose batches wait meanwhile.
        staged: the temporary table that `statement` reads.
        columns: of that table.
        statement: computes anew; knows `%(hour)s`.
    """

    stream: str
    staged: str
    columns: Mapping[str, str]
    statement: str


PARTS = (
    Part(
        real_time_metrics.STREAM.name,
        "order_versions",
        real_time_metrics.STAGE,
        "SELECT restate_order_metrics(%(hour)s)",
    ),
    Part(
        product_analytics.STREAM.name,
        "product_versions",
        product_analytics.STAGE,
        "SELECT restate_order_items()",
    ),
)


@dataclass(frozen=True)
class Restated:
    """What was applied for one UTC hour.

    Attributes:
        hour: its start.
        orders: made in it.
        events: of these orders, accepted ones.
        late: of these events, those that the stream had set aside.
    """

    hour: datetime
    orders: int
    events: int
    late: int


def restate_orders(
    settings: Settings, start: datetime, end: datetime, tell: Callable[[str], None]
) -> list[Restated]:
    """Compute order_metrics and order_items_analytics anew for the orders of [start, end).

    Args:
        settings: of the house, whose streams may be running.
        start: the first hour, with a time zone.
        end: the hour after the last one.
        tell: hears what is going on.

    Returns:
        One entry per hour, also for an hour without an order.

    Raises:
        RestateError: the window is empty or does not begin and end on the hour.
    """
    check_hours(start, end)
    start, end = start.astimezone(timezone.utc), end.astimezone(timezone.utc)
    spark, db = build_session(settings, "storelake:restate"), Database(settings.postgres.dsn, 2)
    try:
        tell("reading bronze")
        events = _events(settings, spark, start, end).persist(StorageLevel.DISK_ONLY)
        late = _late_positions(settings)
        done = []
        for number in range(int((end - start) / HOUR)):
            hour = start + number * HOUR
            rows = events.where(F.col("order_hour") == F.lit(hour)).toArrow()
            done.append(_apply(db, hour, rows, late))
            tell(f"{hour:%Y-%m-%d %H:00}: {done[-1].orders} orders")
        return done
    finally:
        db.close()
        spark.stop()


def check_hours(start: datetime, end: datetime) -> None:
    """That a window begins and ends on the hour, with a time zone.

    Raises:
        RestateError: it does not, or is empty.
    """
    for moment in (start, end):
        if moment.tzinfo is None or moment.timestamp() % HOUR.total_seconds():
            raise RestateError(
                f"{moment.isoformat()} is not a full hour with a time zone, like "
                "2024-05-01T10:00:00Z: hours are restated whole."
            )
    if start >= end:
        raise RestateError(f"{start.isoformat()} is not before {end.isoformat()}.")


def _events(settings: Settings, spark: SparkSession, start: datetime, end: datetime) -> DataFrame:
    """Accepted events of the orders made in [start, end), with `order_hour`."""
    stores, skew = load_stores(settings.stores_file), settings.streams.max_future_skew
    # Nothing reaches the broker before it happened, but for the skew that the rules allow.
    bronze = spark_table(spark, settings, BRONZE_ORDER_EVENTS).where(
        F.col("timestamp") >= F.lit(start - skew)
    )
    good = (
        bronze.transform(to_order_events(stores, settings.streams))
        .where(F.size("rules") == 0)
        .select(*dict.fromkeys(c for part in PARTS for c in part.columns), *POSITION)
    )
    body_version = F.when(F.col("created_at").isNotNull(), F.col("version"))
    made = (
        good.groupBy("order_id")
        .agg(F.date_trunc("hour", F.max_by("created_at", body_version)).alias("order_hour"))
        .where((F.col("order_hour") >= F.lit(start)) & (F.col("order_hour") < F.lit(end)))
    )
    return good.join(made, "order_id")


def _late_positions(settings: Settings) -> set[tuple[str, int, str]]:
    with open_lake(settings) as lake:
        rows = lake.read(QUARANTINE_LATE_EVENTS.name, POSITION).select(POSITION)
    return set(zip(*(column.to_pylist() for column in rows.columns), strict=True))


def _apply(
    db: Database, hour: datetime, rows: pa.Table, late: set[tuple[str, int, str]]
) -> Restated:
    """One hour, in transactions that no batch of the streams overlaps."""
    positions = set(zip(*(rows[column].to_pylist() for column in POSITION), strict=True))
    said = Restated(
        hour, pc.count_distinct(rows["order_id"]).as_py(), rows.num_rows, len(positions & late)
    )
    for part in PARTS:
        with db.writing(part.stream) as connection:
            stage(connection, part.staged, part.columns, rows)
            connection.execute(part.statement.encode(), {"hour": hour})
    with db.transaction() as connection:
        connection.execute(_NOTE_SQL, (hour, said.orders, said.events, said.late))
    return said
