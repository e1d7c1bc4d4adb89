"""A customer leaves the files, snapshots, tags and manifests of a table of the lake (S2)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conf.settings import load_settings
from streaming.lake.delta.lake import DeltaLake
from streaming.lake.delta.tables import create_tables
from streaming.lake.iceberg.catalog import KnowingCatalog
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.tables import BRONZE_ORDER_EVENTS, SILVER_ORDERS
from streaming.privacy import delta
from streaming.privacy.person import Person
from streaming.privacy.tables import bounds_with, erase_table, files_with, position_of
from streaming.source import SOURCE_SCHEMA
from tests.support.builders import as_json, event_id, order_event

pytestmark = pytest.mark.requirement("S2")
ANNA = Person("anna@example.org")
TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
SILVER = pa.schema([("customer_id", pa.string()), ("total_price", pa.decimal128(18, 4)),
                    *SOURCE_SCHEMA])  # fmt: skip


def rows(first: int, *customers: str) -> pa.Table:
    """One message of each customer, at positions from the first one on."""
    return pa.Table.from_pylist(
        [
            {
                "customer_id": customer, "total_price": n, "key": b"O", "topic": "t",
                "partition": 0, "position": f"{n:020d}", "timestamp": TEN,
                "value": as_json(order_event(customer_id=customer, event_id=event_id(n))),
            }
            for n, customer in enumerate(customers, first)
        ],
        SILVER,
    )  # fmt: skip


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[IcebergLake]:
    settings = load_settings(var_dir=tmp_path)
    place = {"uri": f"sqlite:///{tmp_path}/c.db", "warehouse": settings.warehouse}
    catalog = KnowingCatalog("test", **place)
    for table, schema in ((SILVER_ORDERS, SILVER), (BRONZE_ORDER_EVENTS, SOURCE_SCHEMA)):
        catalog.create_namespace(table.name.split(".")[0])
        catalog.create_table(table.name, schema)
    yield IcebergLake(settings, catalog)
    catalog.close()


def stored(lake: IcebergLake) -> str:
    """Everything in the data files below the tables, whether a snapshot names them or not."""
    folder = Path(lake.settings.warehouse.removeprefix("file://"))
    return "".join(str(pq.read_table(f).to_pylist()) for f in folder.rglob("*.parquet"))


def test_rows_snapshots_tags_and_bounds_lose_the_customer(lake: IcebergLake) -> None:
    lake.append(SILVER_ORDERS, rows(0, ANNA.id, "bert@example.org"), 1)
    first = lake.load(SILVER_ORDERS).current_snapshot()
    assert first
    lake.tag(SILVER_ORDERS.name, first.snapshot_id, "hour-2026-01-01T00")
    lake.append(SILVER_ORDERS, rows(2, "clara@example.org"), 2)
    newest = lake.load(SILVER_ORDERS).current_snapshot()
    assert newest
    lake.tag(SILVER_ORDERS.name, newest.snapshot_id, "validated")
    progress = lake.progress(SILVER_ORDERS)

    assert erase_table(lake, SILVER_ORDERS, ANNA, frozenset()) == 1

    after = lake.load(SILVER_ORDERS)
    assert ANNA.id not in stored(lake)
    assert [*files_with(after, ANNA)] == []
    assert not bounds_with(after, ANNA)
    assert after.metadata.refs.keys() == {"main", "validated"}
    assert lake.progress(SILVER_ORDERS) == progress
    kept = lake.read(SILVER_ORDERS.name).sort_by("position").to_pylist()
    names = [row["customer_id"] for row in kept]
    assert names == ["erased", "bert@example.org", "clara@example.org"]
    assert [int(row["total_price"]) for row in kept] == [0, 1, 2]
    state = lake.state(SILVER_ORDERS.name)
    assert state
    assert state.added_since(newest.sequence_number or 0).rows == 0  # not validated again
    assert erase_table(lake, SILVER_ORDERS, ANNA, frozenset()) == 0
    assert lake.load(SILVER_ORDERS).current_snapshot() == after.current_snapshot()


def test_a_rejected_message_keeps_no_body(lake: IcebergLake) -> None:
    source = rows(0, ANNA.id, ANNA.id).select(SOURCE_SCHEMA.names)
    rejected = position_of(source.to_pylist()[1])
    assert rejected
    lake.append(BRONZE_ORDER_EVENTS, source, 1)
    erase_table(lake, BRONZE_ORDER_EVENTS, ANNA, frozenset({rejected}))
    values = lake.read(BRONZE_ORDER_EVENTS.name)["value"].to_pylist()
    assert b'"customer_id":"erased"' in values[0]
    assert values[1] is None
    assert ANNA.id not in stored(lake)


def test_delta_keeps_bounds_in_its_log_for_an_hour_and_nothing_else(tmp_path: Path) -> None:
    place = {"format": "delta", "warehouse": f"file://{tmp_path}/warehouse"}
    settings = load_settings(var_dir=tmp_path, catalog=place)
    create_tables(settings, [BRONZE_ORDER_EVENTS])
    with DeltaLake(settings) as lake:
        source = rows(0, ANNA.id, "bert@example.org").select(SOURCE_SCHEMA.names)
        lake.append(BRONZE_ORDER_EVENTS, source, 1)
        progress = lake.progress(BRONZE_ORDER_EVENTS)
        changed, _ = delta.erase_table(lake, BRONZE_ORDER_EVENTS, ANNA, frozenset())
        values = lake.read(BRONZE_ORDER_EVENTS.name)["value"].to_pylist()
        assert changed == 1
        assert sorted(b"erased" in value for value in values) == [False, True]
        assert lake.progress(BRONZE_ORDER_EVENTS) == progress
        folder = tmp_path / "warehouse"
        found = [p for p in folder.rglob("*.parquet") if "_delta_log" not in p.parts]
        assert ANNA.id not in "".join(str(pq.read_table(p).to_pylist()) for p in found)
        assert delta.erase_table(lake, BRONZE_ORDER_EVENTS, ANNA, frozenset())[0] == 0
