"""Version 3 of the order event meets a deployment that runs: no stream stops for it, no row is
lost.

The earlier release has no column `silver.orders.tax_included`. Its stream writes version 1, then
version 3; the column is added while it runs; then the new release starts where it ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import pytest
from pyspark.sql import SparkSession

from streaming.jobs import bronze_order_events, order_event_processor
from streaming.lake.delta import tables as delta_tables
from streaming.lake.formats import create_tables, rewrite_tables
from streaming.lake.iceberg import tables as iceberg
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.iceberg.commits import carried_progress
from streaming.lake.protocol import LakeError
from streaming.lake.tables import SILVER_ORDERS, TABLES, Table
from streaming.stream import Batch, Stream
from tests.stream.sandbox import Rows, Sandbox
from tests.support.builders import as_json, order_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("L1")]

NAMES = ("order_event_processor", "bronze_order_events")


def with_columns(columns: str) -> tuple[Table, ...]:
    """All tables, with another declaration of silver.orders."""
    return tuple(replace(t, columns=columns) if t is SILVER_ORDERS else t for t in TABLES)


def declare(release: pytest.MonkeyPatch, tables: tuple[Table, ...]) -> None:
    """Replace the tables that a release declares, in both formats."""
    for connector in (iceberg, delta_tables):
        release.setattr(connector, "TABLES", tables)


def columns_before() -> str:
    """The columns of silver.orders before version 3."""
    declared = SILVER_ORDERS.columns.splitlines()
    before = [line for line in declared if line.split()[:1] != ["tax_included"]]
    assert len(before) == len(declared) - 1
    return "\n".join(before)


def release_before() -> list[Stream]:
    """The earlier streams, whose rows and tables have no tax_included."""

    def write(batch: Batch) -> None:
        order_event_processor.write(replace(batch, rows=batch.rows.drop_columns(["tax_included"])))

    return [replace(order_event_processor.STREAM, write=write), bronze_order_events.STREAM]


@dataclass
class Story:
    """The tables that an order event reaches, after each chapter; what was sent, in its order."""

    sandbox: Sandbox
    sent: list[bytes] = field(default_factory=list)
    tables: dict[str, dict[str, Rows]] = field(default_factory=dict)

    def send(self, order_id: str, **fields: Any) -> None:
        event = order_event(order_id=order_id, **fields)
        self.sent.append(as_json(event))
        self.sandbox.send_order(event)

    def remember(self, chapter: str) -> None:
        lake = ("bronze.order_events", "silver.orders", "quarantine.order_events")
        self.tables[chapter] = {name: self.sandbox.lake(name) for name in lake}

    def tax_included(self, chapter: str) -> dict[str, bool | str | None]:
        rows = self.tables[chapter]["silver.orders"]
        return {r["order_id"]: r.get("tax_included", "no such column") for r in rows}


@pytest.fixture(scope="module")
def story(sandbox: Sandbox) -> Story:
    recorded = Story(sandbox)

    def new_release_adds_its_columns() -> None:
        recorded.remember("before")
        declare(release, TABLES)
        create_tables(SparkSession.active(), sandbox.settings)
        recorded.send("O-3", schema_version=3, tax_included=True)
        recorded.send("O-4")

    with pytest.MonkeyPatch.context() as release:
        older = with_columns(columns_before())
        (silver,) = (t for t in older if t.name == SILVER_ORDERS.name)
        release.setattr(order_event_processor, "SILVER_ORDERS", silver)
        declare(release, older)
        recorded.send("O-1")
        recorded.send("O-2", schema_version=3, tax_included=True)
        sandbox.run_streams(
            release_before(),
            steps=[new_release_adds_its_columns],
        )
    recorded.remember("evolved")

    recorded.send("O-5")
    recorded.send("O-6", schema_version=3, tax_included=False)
    recorded.send("O-7", schema_version=3)
    recorded.send("O-8", schema_version=9)
    sandbox.lose_newest_commit(*NAMES)  # so the new release meets a batch of the older one again
    sandbox.run(*NAMES)
    recorded.remember("restarted")
    return recorded


def test_version_3_lands_where_version_1_does_before_anybody_declares_its_field(
    story: Story,
) -> None:
    assert story.tax_included("before") == {"O-1": "no such column", "O-2": "no such column"}


def test_a_stream_of_the_release_before_continues_when_a_column_appears(story: Story) -> None:
    assert story.tax_included("evolved") == dict.fromkeys(("O-1", "O-2", "O-3", "O-4"))


def test_after_the_restart_version_3_fills_the_column_and_version_1_leaves_it_null(
    story: Story,
) -> None:
    later = {"O-5": None, "O-6": False, "O-7": None}
    assert story.tax_included("restarted") == story.tax_included("evolved") | later


def test_nothing_is_quarantined_but_a_version_that_nobody_has(story: Story) -> None:
    assert story.tables["evolved"]["quarantine.order_events"] == []
    (bad,) = story.tables["restarted"]["quarantine.order_events"]
    assert (bad["key"], bad["rules"]) == (b"O-8", ["schema_version_known"])


def test_bronze_and_the_serving_table_keep_what_was_sent_whole(story: Story) -> None:
    seen = story.tables["restarted"]
    assert sorted(r["value"] for r in seen["bronze.order_events"]) == sorted(story.sent)
    raw = story.sandbox.query(
        "SELECT order_id, payload->'order'->>'tax_included' AS included FROM orders_raw"
    )
    assert {r["order_id"]: r["included"] for r in raw if r["included"]} == {
        "O-2": "true",
        "O-3": "true",
        "O-6": "false",
    }


def test_no_row_is_written_twice_when_the_new_release_repeats_a_batch(story: Story) -> None:
    for rows in story.tables["restarted"].values():
        assert len({r["position"] for r in rows}) == len(rows)
    assert len(story.tables["restarted"]["silver.orders"]) == 7


def test_a_column_never_changes_its_type_by_itself(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    wider = SILVER_ORDERS.columns.replace("total_price decimal(18,4)", "total_price decimal(20,4)")
    declare(monkeypatch, with_columns(wider))

    with pytest.raises(LakeError, match=r"total_price is decimal\(18,4\) in the lake"):
        story.sandbox.run(*NAMES)


def test_an_upgrade_rewrites_the_table_with_its_rows_and_positions(story: Story) -> None:
    settings, spark = story.sandbox.settings, SparkSession.active()
    before = story.sandbox.lake("silver.orders")
    name = f"{settings.catalog.name}.silver.orders"
    narrower = {
        "total_price": "CAST(total_price AS decimal(12,2))",
        "items": "transform(items, i -> named_struct('product_id', i.product_id, 'name', i.name,"
        " 'category', i.category, 'quantity', CAST(i.quantity AS int),"
        " 'unit_price', CAST(i.unit_price AS decimal(12,2))))",
    }
    columns = ", ".join(f"{narrower.get(c, c)} AS {c}" for c in spark.table(name).columns)
    with open_catalog(settings) as catalog:
        positions = carried_progress(catalog.load_table("silver.orders"))
        spark.sql(f"REPLACE TABLE {name} USING iceberg AS SELECT {columns} FROM {name}")  # noqa: S608
        older = catalog.load_table("silver.orders")
        older.append(older.schema().as_arrow().empty_table(), snapshot_properties=positions)
    with pytest.raises(LakeError, match="prepare --rewrite-tables"):
        create_tables(spark, settings)

    assert rewrite_tables(spark, settings) == ["silver.orders"]

    create_tables(spark, settings)
    by_position = itemgetter("position")
    assert sorted(story.sandbox.lake("silver.orders"), key=by_position) == sorted(
        before, key=by_position
    )
    story.sandbox.lose_newest_commit(*NAMES)
    story.sandbox.run(*NAMES)
    assert len(story.sandbox.lake("silver.orders")) == len(before)
