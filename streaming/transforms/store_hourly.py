"""Where cameras and tills meet: the conversion rate per branch and hour (J1)."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from conf.stores import Stores


def store_hourly(orders: DataFrame, footfall: DataFrame, stores: Stores) -> DataFrame:
    """`gold.order_hourly` and `gold.footfall_minute` of some hours -> `gold.store_hourly`.

    Conversion rate = orders / visitors, where visitors are the entries of all entrance cameras. It
    is null, not zero or infinite, when no visitor was seen; `camera_coverage`, the share of camera
    minutes of the whole hour in which a frame arrived, says how far to trust it.
    """
    branches = F.broadcast(
        orders.sparkSession.createDataFrame(
            [(b.branch_id, b.timezone, len(b.cameras)) for b in stores.branches],
            "branch_id string, timezone string, cameras int",
        )
    )
    seen = footfall.groupBy("branch_id", F.date_trunc("hour", "minute").alias("hour")).agg(
        F.sum("entries").alias("visitors"),
        F.count("*").alias("camera_minutes"),
        F.max("change_id").alias("footfall_change_id"),
    )
    sold = orders.select(
        "branch_id",
        "hour",
        "order_count",
        "total_revenue",
        "net_revenue",
        "is_final",
        F.col("change_id").alias("orders_change_id"),
    )
    visitors = F.col("visitors")
    return (
        sold.join(seen, ["branch_id", "hour"], "full")
        .join(branches, "branch_id")
        .select(
            "branch_id",
            "hour",
            F.expr("from_utc_timestamp(hour, timezone)").cast("timestamp_ntz").alias("local_hour"),
            "visitors",
            F.coalesce("order_count", F.lit(0)).cast("bigint").alias("orders"),
            F.when(visitors > 0, F.coalesce("order_count", F.lit(0)) / visitors).alias(
                "conversion_rate"
            ),
            _money(F.coalesce("total_revenue", F.lit(0))).alias("revenue"),
            _money(F.coalesce("net_revenue", F.lit(0))).alias("net_revenue"),
            F.when(visitors > 0, _money(F.coalesce("total_revenue", F.lit(0)) / visitors)).alias(
                "revenue_per_visitor"
            ),
            F.try_divide(F.coalesce("camera_minutes", F.lit(0)), F.col("cameras") * 60).alias(
                "camera_coverage"
            ),
            F.coalesce("is_final", F.lit(False)).alias("is_final"),
            *(
                F.coalesce(c, F.lit(0)).cast("bigint").alias(c)
                for c in ("orders_change_id", "footfall_change_id")
            ),
        )
    )


def _money(column: Column) -> Column:
    return column.cast("decimal(18,2)")
