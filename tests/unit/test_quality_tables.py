"""`tables.py`, validated by Great Expectations: faults are named, good rows are not."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from conf.settings import Settings
from conf.stores import Stores
from quality.facts import arrow_type, declared_types
from quality.suites.tables import VALIDATED, table_suites
from streaming.lake.tables import (
    BRONZE_ORDER_EVENTS,
    GOLD_FOOTFALL_MINUTE,
    GOLD_ORDER_HOURLY,
    GOLD_STORE_HOURLY,
    QUARANTINE_ORDER_EVENTS,
    SILVER_DETECTIONS,
    SILVER_ORDER_STATUS,
    TABLES,
    Table,
)
from streaming.source import SOURCE_SCHEMA
from streaming.transforms.order_columns import ORDER_COLUMNS
from tests.support.memory_context import MemoryContext
from tests.support.validating import Finding, rows_for, validate

pytestmark = pytest.mark.requirement("Q1")

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
VALUES: dict[str, Any] = {
    "string": "x",
    "binary": b"x",
    "boolean": False,
    "int": 1,
    "bigint": 1,
    "double": 0.5,
    "date": NOON.date(),
    "timestamp": NOON,
    "timestamp_ntz": NOON.replace(tzinfo=None),
    "array<string>": ["json_object"],
}
TEXTS: dict[str, Any] = {
    "branch_id": "B01",
    "camera_id": "B01-entrance",
    "topic": "order-created",
    "old_status": "pending",
    "new_status": "processing",
    "previous_status": "pending",
    "anomaly": None,
}
COMPLEX = {
    "headers": SOURCE_SCHEMA.field("headers").type,
    **{column.name: column.type for column in ORDER_COLUMNS if pa.types.is_list(column.type)},
}


def kind_of(table: Table, column: str) -> pa.DataType:
    return COMPLEX.get(column) or arrow_type(declared_types(table)[column])


def schema_of(table: Table) -> pa.Schema:
    return pa.schema([(c.name, kind_of(table, c.name)) for c in table.fields])


def good_row(table: Table, **overrides: Any) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, type_ in declared_types(table).items():
        row[name] = Decimal(1) if type_.startswith("decimal") else VALUES.get(type_, [])
        row[name] = TEXTS.get(name, row[name])
    if "detections" in table.name:
        row["topic"] = "detections"
    if "late" in table.name:
        row["rules"] = ["late"]
    if "kind" in row:
        row["kind"] = "browse" if "zone_id" in row else "entrance"
        row["direction"] = "entry"
    return {n: v for n, v in (row | overrides).items() if n in declared_types(table)}


def rows_in(table: Table, *rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=schema_of(table))


@pytest.fixture
def context(settings: Settings, stores: Stores) -> MemoryContext:
    """One good row in every table."""
    tables = {t.name: rows_in(t, good_row(t)) for t in VALIDATED}
    return MemoryContext(settings, stores, NOON + timedelta(minutes=5), tables=tables)


def found_in(context: MemoryContext, table: Table) -> list[Finding]:
    suites = table_suites(context.settings, context.stores)
    return validate([suite for suite in suites if suite.table == table.name], context)


def test_a_good_row_in_every_table_has_no_finding(context: MemoryContext) -> None:
    assert validate(table_suites(context.settings, context.stores), context) == []


def test_an_empty_table_and_one_that_is_not_there_have_nothing_to_expect(
    context: MemoryContext,
) -> None:
    context.tables = {t.name: schema_of(t).empty_table() for t in VALIDATED[:-1]}
    assert validate(table_suites(context.settings, context.stores), context) == []


def test_a_removed_an_added_and_a_retyped_column_are_named(context: MemoryContext) -> None:
    rows = context.tables[GOLD_ORDER_HOURLY.name]
    rows = rows.drop_columns(["cash_count"]).append_column("tax", pa.array([1.5]))
    retyped = rows.schema.get_field_index("order_count")
    rows = rows.set_column(retyped, "order_count", rows["order_count"].cast(pa.string()))
    context.tables[GOLD_ORDER_HOURLY.name] = rows

    [finding] = [f for f in found_in(context, GOLD_ORDER_HOURLY) if ".schema." in f.id]

    assert finding.id == "gold.order_hourly.schema.as_declared"
    assert [(r["column"], r["declared"], r["found"]) for r in finding.rows] == [
        ("order_count", "bigint", "string"),
        ("cash_count", "bigint", "-"),
        ("tax", "-", "double"),
    ]


def test_a_time_without_a_zone_is_another_type_and_stops_no_validation(
    context: MemoryContext,
) -> None:
    rows = context.tables[GOLD_FOOTFALL_MINUTE.name]
    at = rows.schema.get_field_index("minute")
    context.tables[GOLD_FOOTFALL_MINUTE.name] = rows.set_column(
        at, "minute", rows["minute"].cast(pa.timestamp("us"))
    )

    [finding] = found_in(context, GOLD_FOOTFALL_MINUTE)

    assert finding.rows[0]["column"] == "minute"
    assert finding.rows[0]["found"] == "timestamp_ntz"


def test_a_null_is_named_by_its_column_and_row(context: MemoryContext) -> None:
    table = BRONZE_ORDER_EVENTS
    context.tables[table.name] = rows_in(
        table, good_row(table, key=None, value=None), good_row(table, position=None, partition=7)
    )

    [finding] = found_in(context, table)

    assert finding.id == "bronze.order_events.columns.not_null"
    assert finding.severity == "critical"
    assert (finding.rows[0]["partition"], finding.rows[0]["null_in"]) == (7, "position")


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        (BRONZE_ORDER_EVENTS, "topic", "gossip"),
        (SILVER_ORDER_STATUS, "new_status", "lost"),
        (SILVER_ORDER_STATUS, "anomaly", "odd"),
        (GOLD_ORDER_HOURLY, "cash_count", -1),
        (GOLD_ORDER_HOURLY, "branch_id", "B99"),
        (GOLD_STORE_HOURLY, "camera_coverage", 1.5),
        (GOLD_STORE_HOURLY, "conversion_rate", float("nan")),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_value_outside_of_its_domain_is_named(
    context: MemoryContext, table: Table, column: str, value: Any
) -> None:
    context.tables[table.name] = rows_in(table, good_row(table, **{column: value}))

    [finding] = found_in(context, table)

    assert finding.id == f"{table.name}.columns.in_domain"
    assert finding.rows[0]["strange_in"] == f"{column}={value}"


def test_a_camera_of_another_branch_is_unknown(context: MemoryContext) -> None:
    table = GOLD_FOOTFALL_MINUTE
    context.tables[table.name] = rows_in(table, good_row(table, branch_id="B02"))

    [finding] = found_in(context, table)

    assert finding.rows[0]["strange_in"] == "branch_id/camera_id=B02/B01-entrance"


@pytest.mark.parametrize(
    ("rules", "shown"), [([], "none"), (["json_object", "nonsense"], "unknown")]
)
def test_quarantine_names_known_rules(context: MemoryContext, rules: list[str], shown: str) -> None:
    table = QUARANTINE_ORDER_EVENTS
    context.tables[table.name] = rows_in(
        table, good_row(table), good_row(table, position="2", rules=rules)
    )

    [finding] = found_in(context, table)

    assert finding.id == "quarantine.order_events.columns.rules_known"
    assert (finding.rows[0]["position"], finding.rows[0]["unknown_rules"]) == ("2", shown)


def test_a_key_that_is_there_twice_is_named_in_its_hour(context: MemoryContext) -> None:
    table = BRONZE_ORDER_EVENTS
    later = NOON + timedelta(hours=1, minutes=20)
    context.tables[table.name] = rows_in(
        table,
        good_row(table),
        good_row(table, position="7", timestamp=later),
        good_row(table, position="7", timestamp=later),
        good_row(table, position="8", timestamp=later),
    )

    [finding] = found_in(context, table)

    assert finding.id == "bronze.order_events.keys.unique"
    assert [(r["rows"], r["keys"], r["example"]) for r in finding.rows] == [
        (3, 2, "order-created/1/7")
    ]


def test_several_boxes_of_a_frame_may_have_one_id(context: MemoryContext) -> None:
    table = SILVER_DETECTIONS
    boxes = [good_row(table, track_id="-1", x1=0.1 * n, x2=0.1 * n + 0.05) for n in range(4)]
    context.tables[table.name] = rows_in(table, *boxes)
    assert "silver.detections.keys.unique" not in {f.id for f in found_in(context, table)}


def test_keys_are_compared_with_the_older_rows_of_their_time_and_no_others(
    context: MemoryContext,
) -> None:
    table = BRONZE_ORDER_EVENTS
    old, new = NOON - timedelta(days=3), NOON
    context.tables[table.name] = rows_in(
        table,
        *[good_row(table, position="1", timestamp=old)] * 2,
        *[good_row(table, position="2", timestamp=new)] * 2,
    )
    context.news[table.name] = (new, new)

    [finding] = found_in(context, table)

    assert [r["example"] for r in finding.rows] == ["order-created/1/2"]


def test_no_suite_shows_who_bought_or_who_walked(context: MemoryContext) -> None:
    for suite in table_suites(context.settings, context.stores):
        assert not {"customer_id", "track_id"} & {
            *suite.sample,
            *rows_for(suite, context).column_names,
        }


def test_null_is_only_where_the_data_show_so() -> None:
    for table in TABLES:
        assert {*table.nullable, *table.domains, table.time_column} <= {
            c.name for c in table.fields
        }
        assert not set(table.nullable) & set(table.key)
    assert pc.count(pa.array(TABLES[0].nullable)).as_py() == 4
