"""Rows of silver tables as rules validate them: nulls replaced, a row a line, exact sums."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from quality.shapes import line_rows, rule_rows
from streaming.transforms.order_columns import DECIMAL, LINE
from streaming.validation.detection_rules import DETECTION_MEANINGS, detection_rules
from streaming.validation.order_rules import MEANINGS, order_rules
from streaming.validation.rules import AnyRule, Rule

pytestmark = pytest.mark.requirement("Q1")

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
KEYS = ("order_id", "position")
ORDERS = pa.schema(
    [
        *((name, pa.string()) for name in ("order_id", "event_type", "status", "position")),
        *((name, pa.timestamp("us", "UTC")) for name in ("event_time", "created_at", "timestamp")),
        *[("total_price", DECIMAL), ("item_count", pa.int32()), ("schema_version", pa.int32())],
        ("items", pa.list_(LINE)),
    ]
)
MILK = {"product_id": "P-1", "name": "MILK", "category": "DAIRY", "quantity": 3}
TENTH = {**MILK, "unit_price": Decimal("0.10")}


def of_rows(rules: tuple[AnyRule, ...], *, each: bool = False) -> list[Rule]:
    return [rule for rule in rules if isinstance(rule, Rule) and rule.each == each]


ORDER_RULES = order_rules(["B01"], timedelta(minutes=10))
DETECTION_RULES = detection_rules([("B01", "entrance")], timedelta(minutes=10))


def validated(rows: list[dict[str, Any]], schema: pa.Schema = ORDERS) -> pa.Table:
    return rule_rows(pa.Table.from_pylist(rows, schema), of_rows(ORDER_RULES), KEYS)


def test_what_is_missing_is_a_value_that_no_rule_accepts() -> None:
    (row,) = validated([{}]).to_pylist()
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    assert (row["order_id"], row["item_count"], row["created_at"]) == ("", -1, epoch)
    assert row["total_price"] == Decimal(-99_999_999_999_999)
    assert row["created_at_until_event_time"] == -1
    assert row["total_equals_items_by"] == -1


def test_not_a_number_is_missing_too() -> None:
    schema = pa.schema([("confidence", pa.float64()), ("track_id", pa.string())])
    rows = pa.Table.from_pylist([{"confidence": math.nan, "track_id": "1"}], schema)
    shaped = rule_rows(rows, of_rows(DETECTION_RULES, each=True), ("track_id",))
    assert shaped["confidence"].to_pylist() == [-1.0]


@pytest.mark.parametrize(
    ("total", "items", "gap"),
    [
        ("0.90", [TENTH] * 3, 0.0),
        ("0.91", [TENTH] * 3, 0.01),
        ("0.88", [TENTH] * 3, 0.02),
        ("0.30", [], 0.3),
        ("0.30", None, -1.0),
        ("0.30", [TENTH, None], -1.0),
        ("0.30", [{**TENTH, "quantity": None}], -1.0),
        ("0.01", [{**TENTH, "quantity": 10**6, "unit_price": Decimal(10**12)}], 1e18),
    ],
)
def test_a_total_is_held_against_its_lines_to_the_cent(total: str, items: Any, gap: float) -> None:
    good = {"total_price": Decimal("0.30"), "items": [TENTH]}
    rows = validated([good, {"total_price": Decimal(total), "items": items}, good])
    assert rows["total_equals_items_by"].to_pylist() == [0.0, pytest.approx(gap, rel=1e-3), 0.0]


def test_times_are_held_against_each_other_to_the_microsecond() -> None:
    times = {"event_time": NOON, "created_at": NOON + timedelta(microseconds=1), "timestamp": NOON}
    (row,) = validated([times]).to_pylist()
    assert row["created_at_until_event_time"] == -1
    assert row["event_time_until_timestamp"] == 600_000_000


def test_every_line_is_a_row_and_an_order_without_a_list_is_one_too() -> None:
    orders = [
        {"order_id": "two", "items": [TENTH, {**TENTH, "name": None}]},
        {"order_id": "none", "items": []},
        {"order_id": "null", "items": None},
    ]
    rows = pa.Table.from_pylist(orders, ORDERS)
    parts = pa.concat_tables([rows.slice(0, 1), rows.slice(1)])
    lines = line_rows(parts, of_rows(ORDER_RULES, each=True), KEYS)
    found = [(line["order_id"], line["name"], line["quantity"]) for line in lines.to_pylist()]
    assert found == [("two", "MILK", 3), ("two", "", 3), ("null", "", Decimal(-99_999_999_999_999))]


def test_no_rows_have_the_columns_of_some() -> None:
    some = pa.Table.from_pylist([{"items": [TENTH]}], ORDERS)
    each = of_rows(ORDER_RULES, each=True)
    assert validated([]).schema == validated([{}]).schema
    assert line_rows(some.slice(0, 0), each, KEYS).schema == line_rows(some, each, KEYS).schema


def test_a_missing_column_is_left_to_its_expectation() -> None:
    smaller = ORDERS.remove(ORDERS.get_field_index("created_at"))
    shaped = validated([{"order_id": "O-1"}], smaller)
    assert not {"created_at", "created_at_until_event_time"}.intersection(shaped.column_names)
    assert shaped["order_id"].to_pylist() == ["O-1"]


def test_every_rule_has_a_meaning() -> None:
    for rules, meanings in ((ORDER_RULES, MEANINGS), (DETECTION_RULES, DETECTION_MEANINGS)):
        assert {rule.id: rule.description for rule in rules}.items() <= meanings.items()
        assert len({rule.id for rule in rules}) == len(rules)
