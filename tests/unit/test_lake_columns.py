"""A table of the lake that a newer release has given a column which this one does not know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from conf.settings import load_settings
from streaming.connectors.iceberg import Lake
from streaming.tables import Table

pytestmark = pytest.mark.requirement("L1")

SALES = Table(
    name="gold.sales",
    grain="one shop on one day",
    key=("shop", "day"),
    writer="product_analytics",
    strategy="upsert",
    columns="shop string, day date, sold int",
)
EVENTS = replace(
    SALES,
    name="silver.events",
    strategy="append",
    columns="topic string, partition int, position string, sold int",
)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    """Both tables as the newer release made them: with a note."""
    with SqlCatalog("test", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}") as c:
        note = pa.field("note", pa.string())
        shop, day = pa.field("shop", pa.string()), pa.field("day", pa.date32())
        sold = pa.field("sold", pa.int32())
        place = [("topic", pa.string()), ("partition", pa.int32()), ("position", pa.string())]
        for table, schema in ((SALES, [shop, day, sold, note]), (EVENTS, [*place, sold, note])):
            c.create_namespace(table.name.split(".")[0])
            c.create_table(table.name, pa.schema(schema))
        yield Lake(load_settings(), c)


def rows_of(lake: Lake, table: Table) -> list[dict[str, Any]]:
    return sorted(lake.load(table).scan().to_arrow().to_pylist(), key=repr)


def sales(*rows: tuple[str, int]) -> pa.Table:
    """What shops sold on one day."""
    shops, sold = zip(*rows, strict=True)
    return pa.table({"shop": shops, "day": [date(2024, 5, 1)] * len(rows), "sold": sold})


def test_an_append_leaves_it_null(lake: Lake) -> None:
    event = {"topic": ["t"], "partition": [0], "position": ["1"], "sold": [3]}
    lake.append(EVENTS, pa.table(event), 1)

    (row,) = rows_of(lake, EVENTS)
    assert (row["sold"], row["note"]) == (3, None)


def test_an_upsert_leaves_it_null_and_keeps_that_of_other_rows(lake: Lake) -> None:
    newer = sales(("A", 1), ("B", 1)).append_column("note", [["noted", "noted"]])
    lake.upsert(SALES, newer, "day")
    lake.upsert(SALES, sales(("A", 2)), "day")

    found = {r["shop"]: (r["sold"], r["note"]) for r in rows_of(lake, SALES)}
    assert found == {"A": (2, None), "B": (1, "noted")}


def test_a_column_that_is_declared_is_never_left_out_in_silence(lake: Lake) -> None:
    with pytest.raises(KeyError, match="sold"):
        lake.upsert(SALES, sales(("A", 1)).drop_columns(["sold"]), "day")
    assert rows_of(lake, SALES) == []


def test_only_what_a_table_lacks_is_added_to_it() -> None:
    table = replace(SALES, columns="shop string, sold int COMMENT 'pieces, net', note string")
    assert table.add_sql("lake", {"sold", "note"}) == (
        "ALTER TABLE lake.gold.sales ADD COLUMNS (sold int COMMENT 'pieces, net', note string)"
    )
