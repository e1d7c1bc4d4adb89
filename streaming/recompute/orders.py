"""Recompute hours of orders from bronze, with the transforms of the stream.

Hour by hour, while the streams run: a transaction that no batch of the stream overlaps deletes each
order created in the hour and applies all its accepted events again, late ones included; then the
hour (and for products the day) is summed from its orders. Rows have versions, so newer events that
the stream has applied since bronze was read are kept. Recomputing an hour twice changes nothing.
`store_hourly` and the lake follow with the interval tasks of the streams.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
from pyspark import StorageLevel
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from conf.settings import Settings
from conf.stores import load_stores
from streaming.jobs import product_analytics, real_time_metrics
from streaming.lake.formats import open_lake, spark_table
from streaming.lake.tables import BRONZE_ORDER_EVENTS, QUARANTINE_LATE_EVENTS
from streaming.recompute.window import HOUR, spark_and_database, whole_hours
from streaming.sinks.order_ids import TOLERANCE
from streaming.sinks.orders import READ, stage_orders
from streaming.sinks.postgres import Database
from streaming.steps import RECALL_ORDERS, VALIDATE_ORDERS, in_tasks

POSITION = ("topic", "partition", "position")

_NOTE_SQL = "INSERT INTO restated_hours (hour, orders, events, late_events) VALUES (%s, %s, %s, %s)"


@dataclass(frozen=True)
class RestatedTables:
    """The tables of one stream that are computed from the orders of an hour.

    Attributes:
        stream: its batches wait during the recomputation.
        statement: recomputes them from staged orders; may use `%(hour)s`.
    """

    stream: str
    statement: str


PARTS = (
    RestatedTables(
        real_time_metrics.STREAM.name,
        "SELECT restate_order_metrics(%(hour)s)",
    ),
    RestatedTables(
        product_analytics.STREAM.name,
        "SELECT restate_order_items()",
    ),
)


@dataclass(frozen=True)
class Restated:
    """Counts of one recomputed UTC hour.

    Attributes:
        hour: its start.
        orders: created in it.
        events: accepted events of these orders.
        late: those of the events that the stream had set aside.
    """

    hour: datetime
    orders: int
    events: int
    late: int


def restate_orders(
    settings: Settings, start: datetime, end: datetime, notify: Callable[[str], None]
) -> list[Restated]:
    """Recompute order_metrics and order_items_analytics for the orders of [start, end).

    Args:
        settings: of the deployment, whose streams may be running.
        start: the first hour, with a time zone.
        end: the hour after the last one.
        notify: called with each step, for the user.

    Returns:
        One entry per hour, also for an hour without an order.

    Raises:
        RestateError: the window is empty or does not begin and end on the hour.
    """
    start, end = whole_hours(start, end)
    done = []
    with spark_and_database(settings) as (spark, db):
        notify("reading bronze")
        events = _events(settings, spark, start, end).persist(StorageLevel.DISK_ONLY)
        late = _late_positions(settings)
        for number in range(int((end - start) / HOUR)):
            hour = start + number * HOUR
            rows = events.where(F.col("order_hour") == F.lit(hour)).toArrow()
            done.append(_apply(db, hour, rows, late))
            notify(f"{hour:%Y-%m-%d %H:00}: {done[-1].orders} orders")
    return done


def _events(settings: Settings, spark: SparkSession, start: datetime, end: datetime) -> DataFrame:
    """Accepted events of the orders made in [start, end), with `order_hour`."""
    stores, skew = load_stores(settings.stores_file), settings.streams.max_future_skew
    # The oldest body is the sale, which decides the hour; a later body in the window may be of a
    # sale made up to the tolerance earlier. No sale is made after its event, and the broker's time
    # is at most the allowed skew before the event time.
    bronze = spark_table(spark, settings, BRONZE_ORDER_EVENTS).where(
        F.col("timestamp") >= F.lit(start - TOLERANCE - skew)
    )
    good = (
        bronze.transform(in_tasks((VALIDATE_ORDERS, RECALL_ORDERS), settings, stores))
        .where(F.size("rules") == 0)
        .select(*dict.fromkeys((*READ, *POSITION)))
    )
    body_version = F.when(F.col("created_at").isNotNull(), F.col("version"))
    made = (
        good.groupBy("order_id")
        .agg(F.date_trunc("hour", F.min_by("created_at", body_version)).alias("order_hour"))
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
    """Recompute one hour, in transactions that no batch of the streams overlaps."""
    positions = set(zip(*(rows[column].to_pylist() for column in POSITION), strict=True))
    restated = Restated(
        hour, pc.count_distinct(rows["order_id"]).as_py(), rows.num_rows, len(positions & late)
    )
    for part in PARTS:
        with db.writing(part.stream) as connection:
            stage_orders(connection, rows)
            connection.execute(part.statement.encode(), {"hour": hour})
    with db.transaction() as connection:
        connection.execute(_NOTE_SQL, (hour, restated.orders, restated.events, restated.late))
    return restated
