"""Order versions for the hourly metrics, and which of them are too late."""

from __future__ import annotations

from datetime import datetime, timedelta

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

METRIC_COLUMNS = (
    "order_id",
    "branch_id",
    "created_at",
    "total_price",
    "payment_method",
    "status",
    "version",
    "event_time",
)


def is_late(event_time: Column, watermark: datetime | None, lateness: timedelta) -> Column:
    """True for an event whose hour ended more than `lateness` before the watermark (UTC)."""
    if watermark is None:
        return F.lit(False)
    hour_end = F.date_trunc("hour", event_time) + F.expr("INTERVAL 1 HOUR")
    seconds = int(lateness.total_seconds())
    return hour_end + F.expr(f"INTERVAL {seconds} SECONDS") <= F.lit(watermark)


def to_versions(orders: DataFrame, late: Column) -> DataFrame:
    """`silver.orders` rows -> the columns that metrics need, and `late` (boolean)."""
    return orders.select(*METRIC_COLUMNS, late.alias("late"))
