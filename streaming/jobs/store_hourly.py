"""gold.order_hourly + gold.footfall_minute -> store_hourly (Postgres) and gold.store_hourly.

Key (branch_id, hour). Once a second: which hours changed on either side since the newest changes
that gold.store_hourly itself names? They are computed anew from both tables and written by key, so
late data on either side corrects the hour, and running twice changes nothing.
"""

from typing import Any

import psycopg
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from streaming.connectors.iceberg import Lake
from streaming.connectors.postgres import stage
from streaming.mirror import newest_change
from streaming.runner import Batch, Context, Stream, submit
from streaming.tables import GOLD_FOOTFALL_MINUTE, GOLD_ORDER_HOURLY, GOLD_STORE_HOURLY, Table
from streaming.transforms.store_hourly import store_hourly

NAME = "store_hourly"
SIDES = {"orders_change_id": GOLD_ORDER_HOURLY, "footfall_change_id": GOLD_FOOTFALL_MINUTE}
STAGE_DDL = """branch_id text, hour timestamptz, local_hour timestamp, visitors bigint,
    orders bigint, conversion_rate double precision, revenue numeric(18, 2),
    net_revenue numeric(18, 2), revenue_per_visitor numeric(18, 2),
    camera_coverage double precision, is_final boolean, orders_change_id bigint,
    footfall_change_id bigint"""


def build(context: Context) -> DataFrame:
    """A tick a second; what is new is asked from the tables."""
    return context.spark.readStream.format("rate").option("rowsPerSecond", 1).load()


def write(batch: Batch) -> None:
    """Compute the changed hours anew and write them by key."""
    snapshots = {s: batch.lake.load(t).metadata.current_snapshot_id for s, t in SIDES.items()}
    if batch.memory.get("snapshots") == snapshots:
        return
    cursors = batch.memory.get("cursors") or _cursors(batch.lake)
    hours = _changed_hours(batch.lake, cursors)
    if hours:
        orders, footfall = batch.lake.read(GOLD_ORDER_HOURLY), batch.lake.read(GOLD_FOOTFALL_MINUTE)
        rows = store_hourly(
            orders.where(F.col("hour").isin(hours)),
            footfall.where(F.date_trunc("hour", "minute").isin(hours)),
            batch.context.stores,
        ).toArrow()
        with batch.db.transaction() as connection:
            _upsert(connection, rows)
        batch.lake.upsert(GOLD_STORE_HOURLY, rows, time_key="hour")
        cursors = {s: max(c, newest_change(rows, s)) for s, c in cursors.items()}
    batch.memory.update(snapshots=snapshots, cursors=cursors)


def _cursors(lake: Lake) -> dict[str, int]:
    done = lake.load(GOLD_STORE_HOURLY).scan(selected_fields=tuple(SIDES)).to_arrow()
    return {side: newest_change(done, side) for side in SIDES}


def _changed_hours(lake: Lake, cursors: dict[str, int]) -> list[Any]:
    hours: set[Any] = set()
    for side, table in SIDES.items():
        hours |= _hours_after(lake, table, cursors[side])
    return sorted(hours)


def _hours_after(lake: Lake, table: Table, cursor: int) -> set[Any]:
    time_key = table.key[-1]
    rows = lake.load(table).scan(f"change_id > {cursor}", (time_key,)).to_arrow()
    return {t.replace(minute=0) for t in rows[time_key].to_pylist()}


def _upsert(connection: psycopg.Connection[Any], rows: pa.Table) -> None:
    columns = [part.split()[0] for part in STAGE_DDL.replace("(18, 2)", "").split(",")]
    stage(connection, "store_hours", STAGE_DDL, rows.select(columns))
    names = ", ".join(columns)
    changes = ", ".join(f"{c} = EXCLUDED.{c}" for c in columns[2:])
    # S608: built from the constants above only.
    connection.execute(
        f"INSERT INTO store_hourly ({names}) SELECT {names} FROM pg_temp.store_hours "  # noqa: S608
        f"ON CONFLICT (branch_id, hour) DO UPDATE SET {changes}, updated_at = now()".encode()
    )


STREAM = Stream(NAME, build, write)

if __name__ == "__main__":
    submit(STREAM)
