"""The output of Great Expectations as results that people and programs read."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import great_expectations.expectations as gxe
import pyarrow as pa
import pytest

from conf.settings import load_settings
from conf.stores import Stores
from quality.documents import columns_of
from quality.engines import Engines
from quality.results import Result, to_result
from quality.suite import FactSuite, RowSuite, Suite, equal, expect, null
from quality.suites import all_suites

pytestmark = pytest.mark.requirement("Q1")

SUITE = RowSuite(
    table="silver.orders",
    sample=("topic", "position"),
    expectations=(
        expect(
            "order_id_present",
            "An order has no id.",
            gxe.ExpectColumnValuesToNotBeNull,
            column="order_id",
        ),
        expect(
            "total_price_money",
            "A price is not positive.",
            gxe.ExpectColumnValuesToBeBetween,
            column="total_price",
            min_value=0,
            strict_min=True,
        ),
        expect(
            "customer_known",
            "Orders come from few customers.",
            gxe.ExpectColumnValuesToMatchRegex,
            "warning",
            column="customer_id",
            regex=r"^C\d+\Z",
        ),
    ),
)


def order(**changes: Any) -> dict[str, Any]:
    row = {
        "topic": "order-created",
        "position": "7",
        "order_id": "A-1",
        "customer_id": "C1",
        "total_price": Decimal("9.90"),
        "quantity": 3,
        "share": 0.5,
        "at": datetime(2024, 5, 1, 10, tzinfo=timezone.utc),
    }
    return row | changes


def validate(engines: Engines, suite: Suite, *rows: dict[str, Any]) -> dict[str, Result]:
    table = pa.Table.from_pylist(list(rows))
    validated = engines.validate_rows(suite, table)
    results = [to_result(suite, 42, one, table.num_rows) for one in validated.results]
    return {result.name: result for result in results}


def test_good_rows_pass_and_are_counted(engines: Engines) -> None:
    results = validate(engines, SUITE, order(), order(position="8"))
    assert {r.state for r in results.values()} == {"passed"}
    found = results["total_price_money"]
    assert (found.id, found.rows, found.unexpected, found.share) == (
        "silver.orders.rows.total_price_money",
        2,
        0,
        0.0,
    )


def test_a_bad_row_is_named_by_its_key_without_personal_data(engines: Engines) -> None:
    results = validate(
        engines,
        SUITE,
        order(),
        order(position="8", total_price=Decimal("-1.00"), customer_id="Jane Doe"),
    )
    price, customer = results["total_price_money"], results["customer_known"]
    assert (price.state, price.unexpected, price.share) == ("failed", 1, 0.5)
    assert json.loads(price.samples) == [{"topic": "order-created", "position": "8"}]
    assert (customer.state, customer.severity) == ("failed", "warning")
    assert "Jane" not in str(customer)


def test_a_batch_that_fails_as_a_whole_names_a_few_rows(engines: Engines) -> None:
    rows = [order(position=str(n), order_id=None) for n in range(500)]
    found = validate(engines, SUITE, *rows)["order_id_present"]
    assert (found.unexpected, found.share) == (500, 1.0)
    assert len(json.loads(found.samples)) == 5


def test_a_column_that_is_not_there_makes_the_result_unreadable_and_no_other(
    engines: Engines,
) -> None:
    row = order()
    del row["total_price"]
    results = validate(engines, SUITE, row)
    assert results["total_price_money"].state == "unreadable"
    assert not results["total_price_money"].success
    assert "total_price" in str(results["total_price_money"].observed)
    assert results["order_id_present"].state == "passed"


def test_whole_numbers_with_gaps_remain_exact_and_a_nan_is_no_number(engines: Engines) -> None:
    large = 2**53 + 1  # as a float it would be another number
    present = [
        expect(name, "It is missing.", gxe.ExpectColumnValuesToNotBeNull, column=name)
        for name in ("quantity", "share")
    ]
    exact = expect(
        "quantity_exact",
        "It is another number.",
        gxe.ExpectColumnValuesToBeInSet,
        column="quantity",
        value_set=[large],
    )
    suite = RowSuite("gold.store_hourly", (*present, exact), sample=("position",))
    rows = [order(quantity=large), order(position="8", quantity=None, share=float("nan"))]
    results = validate(engines, suite, *rows)
    for name in ("quantity", "share"):
        assert json.loads(results[name].samples) == [{"position": "8"}]
    assert results["quantity_exact"].state == "passed"


FACTS = FactSuite(
    "silver.orders",
    "keys",
    {"hour": pa.string(), "rows": pa.int64(), "keys": pa.int64(), "example": pa.string()},
    lambda _: (),
    (
        equal("unique", "Twice.", "rows", "keys", "order_id: in one row only", unit="rows"),
        null("no_example", "An hour has one.", "example", "there is none"),
    ),
    "hours",
)


def test_rows_are_counted_where_a_fact_sums_them_up(engines: Engines) -> None:
    hours = [
        {"hour": "10", "rows": 919, "keys": 918, "example": "A-1"},
        {"hour": "11", "rows": 81, "keys": 81, "example": None},
    ]
    results = validate(engines, FACTS, *hours)
    unique, example = results["unique"], results["no_example"]
    assert (unique.observed, unique.share) == ("1 of 1,000 rows", 0.001)
    assert example.observed == "1 of 2 hours"
    assert json.loads(example.samples) == [{"hour": "10", "rows": 919, "keys": 918, "wrong": "A-1"}]


def test_every_expectation_states_what_it_expects_of_columns_of_its_table(stores: Stores) -> None:
    for suite in all_suites(load_settings(profile="test"), stores):
        for one in suite.expectations:
            expected, columns = one.meta["expected"], columns_of(one.configuration.kwargs)
            computed = {c for c in columns if c.endswith(("_given", "_by")) or "_until_" in c}
            assert expected
            for name in {*computed, one.meta.get("wrong", "no column")}:
                assert not re.search(rf"\b{name}\b", expected), (suite.table, expected)
