"""What is validated next: the rows that were committed since, wherever snapshots have gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table as IcebergTable

from streaming.lake.iceberg.state import IcebergIncrement, added_since

pytestmark = pytest.mark.requirement("Q1")

ORDERS = pa.schema([("order_id", pa.string()), ("total", pa.decimal128(12, 2))])


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[IcebergTable]:
    catalog = SqlCatalog(
        "test", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}"
    )
    catalog.create_namespace("silver")
    yield catalog.create_table("silver.orders", ORDERS)
    catalog.close()


def add(table: IcebergTable, *order_ids: str) -> int:
    """A commit; returns its sequence number."""
    rows = [{"order_id": order_id, "total": None} for order_id in order_ids]
    table.append(pa.Table.from_pylist(rows, schema=ORDERS))
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.sequence_number is not None
    return snapshot.sequence_number


def ids(increment: IcebergIncrement) -> list[str]:
    found = sorted(increment.to_arrow()["order_id"].to_pylist())
    assert increment.rows == len(found)
    return found


def test_a_table_that_nobody_has_written_to_has_nothing_to_validate(orders: IcebergTable) -> None:
    increment = added_since(orders, 0)
    assert increment.snapshot is None
    assert ids(increment) == []


def test_only_what_was_committed_since_is_validated(orders: IcebergTable) -> None:
    first = add(orders, "a", "b")
    second = add(orders, "c")
    assert ids(added_since(orders, 0)) == ["a", "b", "c"]
    assert ids(added_since(orders, first)) == ["c"]
    assert ids(added_since(orders, second)) == []


def test_rows_of_a_snapshot_that_expired_before_validation_are_validated(
    orders: IcebergTable,
) -> None:
    add(orders, "a")
    add(orders, "b")
    add(orders, "c")
    later = datetime.now(timezone.utc) + timedelta(minutes=1)
    orders.maintenance.expire_snapshots().older_than(later).commit()
    assert len(orders.metadata.snapshots) == 1
    assert ids(added_since(orders, 0)) == ["a", "b", "c"]


def test_a_row_that_was_rewritten_is_validated_again_and_a_deleted_one_is_not(
    orders: IcebergTable,
) -> None:
    validated = add(orders, "a", "b", "c")
    orders.delete("order_id == 'c'")
    assert ids(added_since(orders, validated)) == ["a", "b"]
    assert ids(added_since(orders, 0)) == ["a", "b"]


def test_what_merged_manifests_carry_along_is_not_new(orders: IcebergTable) -> None:
    with orders.transaction() as change:
        change.set_properties(
            {"commit.manifest-merge.enabled": "true", "commit.manifest.min-count-to-merge": "2"}
        )
    for name in "abcd":
        validated = add(orders, name)
    add(orders, "e")
    snapshot = orders.current_snapshot()
    assert snapshot is not None
    assert len(snapshot.manifests(orders.io)) < 5
    assert ids(added_since(orders, validated)) == ["e"]


def test_only_the_columns_asked_for_are_read(orders: IcebergTable) -> None:
    add(orders, "a")
    assert added_since(orders, 0).to_arrow(("total",)).column_names == ["total"]


def test_the_span_of_what_is_new_is_that_of_its_files(tmp_path: Path) -> None:
    catalog = SqlCatalog(
        "test", uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}"
    )
    catalog.create_namespace("gold")
    columns = [("at", pa.timestamp("us", tz="UTC")), ("day", pa.date32()), ("name", pa.string())]
    table = catalog.create_table("gold.days", pa.schema(columns))
    noon = datetime(2024, 5, 1, 12, 0, 0, 7, tzinfo=timezone.utc)
    midnight = noon.replace(hour=0, microsecond=0)
    first: int | None = None
    for day in (0, 1, 3):
        at = noon + timedelta(days=day)
        table.append(pa.table([[at], [at.date()], ["x"]], schema=pa.schema(columns)))
        first = first or table.current_snapshot().sequence_number

    new = added_since(table, first or 0)

    assert new.span("at") == (noon + timedelta(days=1), noon + timedelta(days=3))
    assert new.span("day") == (midnight + timedelta(days=1), midnight + timedelta(days=3))
    assert new.span("name") is None
    assert new.span("gone") is None
    assert added_since(table, first + 2).span("at") is None
    catalog.close()
