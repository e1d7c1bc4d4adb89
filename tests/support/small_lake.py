"""A lake of one test without Spark: a catalog in SQLite, a table of events and one of sales."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table as IcebergTable
from pyiceberg.transforms import DayTransform, IdentityTransform

from conf.stores import Stores
from queries.lake import Shelf
from queries.parquet import arrow_type
from streaming.lake.iceberg.catalog import KnowingCatalog
from streaming.lake.tables import (
    QUALITY_MAINTENANCE_RUNS,
    SILVER_DETECTIONS,
    TABLES,
    MaintenancePolicy,
    Table,
)
from streaming.lake.views import by_name

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
AT_ONCE = MaintenancePolicy(
    sort=("shop", "position"),
    min_files=3,
    quiet=timedelta(0),
    max_manifests=4,
    snapshot_age=timedelta(0),
    orphan_age=timedelta(0),
)
EVENTS = Table(
    name="bronze.events",
    grain="one message",
    key=("topic", "partition", "position"),
    writer="bronze_order_events",
    strategy="append",
    columns="topic string, partition int, position string, shop string, timestamp timestamp",
    policy=AT_ONCE,
)
SALES = Table(
    name="gold.sales",
    grain="one shop in one hour",
    key=("shop", "hour"),
    writer="real_time_metrics",
    strategy="upsert",
    columns="shop string, hour timestamp, sold int",
    time_column="hour",
    policy=AT_ONCE,
)
ORDERS = pa.schema([("order_id", pa.string()), ("total", pa.decimal128(12, 2))])
TIME = pa.timestamp("us", tz="UTC")
KINDS = {"string": pa.string(), "int": pa.int32(), "bigint": pa.int64(), "double": pa.float64()}


def open_lake(folder: Path) -> KnowingCatalog:
    """Close it."""
    return KnowingCatalog("test", uri=f"sqlite:///{folder}/c.db", warehouse=f"file://{folder}/lake")


@contextmanager
def empty_table(folder: Path, name: str, schema: pa.Schema) -> Iterator[IcebergTable]:
    """A table alone in a catalog of its own."""
    with closing(
        SqlCatalog("test", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}")
    ) as catalog:
        catalog.create_namespace(name.split(".", maxsplit=1)[0])
        yield catalog.create_table(name, schema)


def make_tables(catalog: KnowingCatalog) -> None:
    """Events by day, sales, and the runs of maintenance; all of them empty."""
    for table in (EVENTS, SALES, QUALITY_MAINTENANCE_RUNS):
        fields = [(c.name, KINDS.get(c.type, TIME)) for c in table.fields]
        catalog.create_namespace_if_not_exists(table.name.split(".")[0])
        made = catalog.create_table(table.name, pa.schema(fields))
        if table is EVENTS:
            with made.update_spec() as spec:
                spec.add_field("timestamp", DayTransform(), "day")


@contextmanager
def lake_for_queries(
    folder: Path, stores: Stores, patch: pytest.MonkeyPatch
) -> Iterator[KnowingCatalog]:
    """All tables of the product, empty, where DuckDB and the notebooks look for them."""
    with closing(open_lake(folder)) as catalog:
        for table in TABLES:
            fields = [(column.name, arrow_type(column.type, "spark")) for column in table.fields]
            catalog.create_namespace_if_not_exists(table.name.split(".")[0])
            catalog.create_table(table.name, pa.schema(fields))
        shelf = Shelf(catalog, by_name(stores))
        for module in ("as_of", "duckdb_engine", "failures", "show_tables"):
            patch.setattr(f"queries.{module}.open_shelf", lambda _: nullcontext(shelf))
        yield catalog


def events(*positions: int, shop: str = "A", day: int = 0) -> pa.Table:
    """Messages at these positions, as a source gives them."""
    row = {"topic": "t", "partition": 0, "shop": shop, "timestamp": NOON + timedelta(days=day)}
    rows = [row | {"position": f"{position:06}"} for position in positions]
    kinds = [("topic", pa.string()), ("partition", pa.int32()), ("shop", pa.string())]
    kinds += [("timestamp", TIME), ("position", pa.string())]
    return pa.Table.from_pylist(rows, schema=pa.schema(kinds))


def sales(sold: int, hour: int = 0, shop: str = "A") -> pa.Table:
    """One row, an hour or more after noon."""
    rows = {"shop": [shop], "hour": [NOON + timedelta(hours=hour)], "sold": [sold]}
    return pa.table(rows).cast(pa.schema([("shop", "string"), ("hour", TIME), ("sold", "int32")]))


def make_detections(catalog: Catalog) -> IcebergTable:
    """An empty `silver.detections`, partitioned as Spark makes it."""
    catalog.create_namespace_if_not_exists("silver")
    made = catalog.create_table(SILVER_DETECTIONS.name, detections().schema)
    with made.update_spec() as spec:
        spec.add_field("captured_at", DayTransform(), "day")
        spec.add_field("branch_id", IdentityTransform(), "branch")
    return made


def detections(*rows: dict[str, Any]) -> pa.Table:
    """Rows of `silver.detections`."""
    fields = [(c.name, KINDS.get(c.type, TIME)) for c in SILVER_DETECTIONS.fields]
    return pa.Table.from_pylist(list(rows), pa.schema(fields))


def detection(at: datetime, x: float, y: float, track: str = "7", **other: Any) -> dict[str, Any]:
    """A person whose feet are at (x, y), before the entrance of B01."""
    row = {
        "branch_id": "B01", "camera_id": "B01-entrance", "run_id": "run-1", "class": "person",
        "captured_at": at, "track_id": track, "x1": x - 0.05, "y1": y - 0.3, "x2": x + 0.05,
        "y2": y, "anchor_x": x, "anchor_y": y, "image_width": 1280, "image_height": 720,
    }  # fmt: skip
    return row | other
