"""What was sold, product by product: the same rows whatever the order, the batches, repetitions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pandas as pd
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming.sinks.orders import stage_orders
from streaming.sinks.postgres import Database
from tests.support import order_rows
from tests.support.builders import order_item
from tests.support.order_rows import table
from tests.support.postgres_local import delete_rows

pytestmark = pytest.mark.requirement("O6")

Row = dict[str, Any]

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
MINUTE = timedelta(minutes=1)
KEY = ["branch_id", "day", "product_id", "currency"]
SUMS = ["order_count", "quantity", "revenue", "cancelled_orders", "cancelled_quantity"]
SUMS += ["cancelled_revenue", "net_quantity", "net_revenue"]


@pytest.fixture(autouse=True)
def empty(db: Database) -> None:
    clear(db)


def clear(db: Database) -> None:
    delete_rows(db, "product_orders, order_items, order_items_analytics")


def order(number: int, *items: Row, **overrides: Any) -> Row:
    """A version of order O-1 with these lines: a higher `number` is a newer version."""
    row = {
        "order_id": "O-1",
        "branch_id": "B01",
        "currency": "USD",
        "created_at": TEN,
        "items": items or (order_item(),),
        "status": "pending",
        "version": f"{number:03d}",
    }
    return {**row, **overrides}


def change(number: int, status: str, **overrides: Any) -> Row:
    """A status change: it carries no body."""
    return order(number, **{"created_at": None, "items": None, "status": status, **overrides})


def apply(db: Database, rows: Sequence[Row]) -> None:
    with db.transaction() as connection:
        stage_orders(connection, table([_event(row) for row in rows]))
        connection.execute("SELECT upsert_order_items()")


def _event(row: Row) -> Row:
    """The event of a version."""
    place = {"position": row["version"], "event_id": f"{row['order_id']}/{row['version']}"}
    lines = {"items_json": row["items"] and json.dumps(row["items"])}
    rest = {name: value for name, value in row.items() if name != "items"}
    return order_rows.order(0) | rest | place | lines


def analytics(db: Database) -> list[Row]:
    """Every row, without what counts the writing."""
    rows = db.fetch(f"SELECT * FROM order_items_analytics ORDER BY {', '.join(KEY)}")  # noqa: S608
    return [{n: r[n] for n in (*KEY, "name", "category", *SUMS)} for r in rows]


def expected(versions: Sequence[Row]) -> list[Row]:
    """The rows that count something, by plain recomputation from all versions at once."""
    seen = pd.DataFrame(versions).sort_values("version")
    bodies = seen[seen["items"].notna()].copy()
    if bodies.empty:
        return []
    sale = bodies.groupby("order_id")[["branch_id", "created_at"]].first()
    for column in sale:
        bodies[column] = bodies["order_id"].map(sale[column])
    lines = bodies.explode("items").reset_index(drop=True)
    items = pd.DataFrame(lines["items"].tolist())
    lines = pd.concat([lines[["order_id", "branch_id", "currency", "version"]], items], axis=1)
    lines["day"] = [t.date() for t in bodies.explode("items")["created_at"]]
    lines["revenue"] = [
        q * Decimal(str(p)) for q, p in zip(lines["quantity"], lines["unit_price"], strict=True)
    ]
    names = lines.groupby(KEY)[["name", "category"]].last()
    status = seen.groupby("order_id")["status"].last()
    newest = bodies.groupby("order_id")["version"].last()
    counted = lines[lines["version"] == lines["order_id"].map(newest)].copy()
    counted["cancelled"] = counted["order_id"].map(status) == "cancelled"
    found = []
    for key, name in names.iterrows():
        here = counted[(counted[KEY] == list(key)).all(axis=1)]
        if here.empty:
            continue
        gone, kept = here[here["cancelled"]], here[~here["cancelled"]]
        sums = [*_sums(here), *_sums(gone), *_sums(kept)[1:]]
        values = [*key, *name, *sums]
        found.append(dict(zip([*KEY, "name", "category", *SUMS], values, strict=True)))
    return found


def _sums(lines: pd.DataFrame) -> tuple[int, int, Decimal]:
    revenue = sum(lines["revenue"], Decimal(0))
    return lines["order_id"].nunique(), int(lines["quantity"].sum()), revenue


PRODUCTS = (
    {"product_id": "P-1", "name": "MILK", "category": "DAIRY"},
    {"product_id": "P-2", "name": "BREAD", "category": "BAKERY"},
)
items = st.builds(
    lambda product, **rest: order_item(**product, **rest),
    st.sampled_from(PRODUCTS),
    quantity=st.integers(1, 9),
    unit_price=st.decimals("0.01", "99.99", places=2).map(float),
)
version = st.fixed_dictionaries(
    {
        "order_id": st.sampled_from(["O-1", "O-2", "O-3"]),
        "branch_id": st.sampled_from(["B01", "B02"]),
        "created_at": st.sampled_from([TEN, TEN + timedelta(hours=13, minutes=59, seconds=59),
                                       TEN + timedelta(hours=14)]),
        "items": st.none() | st.lists(items, min_size=1, max_size=3),
        "status": st.sampled_from(["pending", "completed", "cancelled"]),
        "currency": st.sampled_from(["USD", "EUR"]),
    }
)  # fmt: skip
"""Any version of three orders: with a body, or a status change without one."""


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Row], list[list[Row]]]:
    """Versions, and how they come: each at least once, in any order, cut into batches anywhere."""
    drawn = draw(st.lists(version, min_size=1, max_size=10))
    versions = [
        {**v, "version": f"{n:03d}", "created_at": v["items"] and v["created_at"]}
        for n, v in enumerate(drawn)
    ]
    again = draw(st.lists(st.sampled_from(versions), max_size=4))
    queue = draw(st.permutations([*versions, *again]))
    cuts = sorted(draw(st.sets(st.integers(1, len(queue)), max_size=4)))
    return versions, [queue[a:b] for a, b in zip([0, *cuts], [*cuts, len(queue)], strict=True)]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(delivery=deliveries())
def test_products_do_not_depend_on_how_the_versions_of_orders_arrive(
    db: Database, delivery: tuple[list[Row], list[list[Row]]]
) -> None:
    clear(db)
    versions, batches = delivery
    for batch in batches:
        apply(db, batch)
    assert [row for row in analytics(db) if row["order_count"]] == expected(versions)


def test_an_order_counts_once_per_product_whatever_the_number_of_its_lines(db: Database) -> None:
    apply(db, [order(1, order_item(quantity=2), order_item(quantity=3, unit_price=0.1))])
    (row,) = analytics(db)
    assert (row["order_count"], row["quantity"], row["revenue"]) == (1, 5, Decimal("2.80"))


def test_a_quantity_of_two_may_be_written_with_a_fraction(db: Database) -> None:
    apply(db, [order(1, order_item(quantity=2.0))])
    assert [row["quantity"] for row in analytics(db)] == [2]


def test_a_newer_body_replaces_the_lines_of_the_older_one(db: Database) -> None:
    apply(db, [order(1, order_item(product_id="P-1"), order_item(product_id="P-2"))])
    apply(db, [order(2, order_item(product_id="P-2", quantity=7))])
    assert [(r["product_id"], r["quantity"]) for r in analytics(db)] == [("P-1", 0), ("P-2", 7)]
    lines = db.fetch("SELECT order_id, line_no, product_id, quantity, line_total FROM order_items")
    assert [tuple(r.values()) for r in lines] == [("O-1", 1, "P-2", 7, Decimal("8.75"))]


def test_a_body_that_comes_after_a_newer_one_changes_no_line(db: Database) -> None:
    apply(db, [order(2, order_item(quantity=7))])
    apply(db, [order(1, order_item(quantity=1))])
    assert [r["quantity"] for r in analytics(db)] == [7]


def test_a_cancelled_order_remains_in_gross_and_leaves_net_until_it_is_not(db: Database) -> None:
    def sums() -> tuple[Any, ...]:
        (row,) = analytics(db)
        return tuple(row[n] for n in SUMS)

    apply(db, [order(1), order(2, order_id="O-2")])
    apply(db, [change(3, "cancelled")])
    half, whole = Decimal("2.50"), Decimal("5.00")
    assert sums() == (2, 4, whole, 1, 2, half, 2, half)
    apply(db, [change(4, "processing")])
    assert sums() == (2, 4, whole, 0, 0, 0, 4, whole)


def test_goods_that_come_back_count_on_the_day_of_the_return(db: Database) -> None:
    back = order_item(quantity=-1.5, extra={"discount": -0.25})
    sent = {"order_id": "R-1", "is_return": True, "created_at": TEN + timedelta(days=1)}
    apply(db, [order(1), order(2, back, **sent, schema_version=3)])
    sold, returned = db.fetch("SELECT * FROM order_items_analytics ORDER BY day")
    names = ("order_count", "quantity", "returned_quantity", "returned_revenue", "net_revenue")
    assert [sold[n] for n in names] == [1, 2, 0, 0, Decimal("2.50")]
    lost = Decimal("1.63")  # 1.875, rounded as on the receipt, less the discount
    assert [returned[n] for n in names] == [0, 0, Decimal("1.5"), lost, -lost]


def test_a_cancellation_that_overtakes_its_order_counts_once_the_order_is_there(
    db: Database,
) -> None:
    apply(db, [change(2, "cancelled")])
    assert analytics(db) == []
    apply(db, [order(1)])
    assert [(r["quantity"], r["net_quantity"]) for r in analytics(db)] == [(2, 0)]


def test_an_order_with_an_update_by_another_branch_counts_where_and_when_it_was_sold(
    db: Database,
) -> None:
    there = {"branch_id": "B02", "created_at": TEN - timedelta(days=1)}
    apply(db, [order(2, order_item(product_id="P-2", name="BREAD"), **there)])
    apply(db, [order(1)])
    apply(db, [order(3, order_item(product_id="P-3"), **there)])
    counted = {tuple(r[n] for n in KEY): r["quantity"] for r in analytics(db) if r["order_count"]}
    assert counted == {("B01", TEN.date(), "P-3", "USD"): 2}


def test_the_day_is_the_one_in_utc_wherever_the_connection_is(db: Database) -> None:
    with db.transaction() as connection:
        connection.execute("SET LOCAL timezone = 'Asia/Tokyo'")
        last = TEN.replace(hour=23, minute=59)
        stage_orders(connection, table([_event(order(1, created_at=last))]))
        connection.execute("SELECT upsert_order_items()")
    assert [r["day"] for r in analytics(db)] == [last.date()]


def test_a_name_that_comes_after_a_newer_one_does_not_replace_it(db: Database) -> None:
    for number, name in [(1, "MILK"), (3, "WHOLE MILK"), (2, "BUTTER")]:
        apply(db, [order(number, order_item(name=name, category=name))])
    assert [(r["name"], r["category"]) for r in analytics(db)] == [("WHOLE MILK", "WHOLE MILK")]


def test_a_status_that_changes_no_number_leaves_the_row_as_it_is(db: Database) -> None:
    apply(db, [order(1)])
    before = db.fetch("SELECT * FROM order_items_analytics")
    apply(db, [change(2, "completed")])
    assert db.fetch("SELECT * FROM order_items_analytics") == before


def test_every_change_of_a_row_has_a_change_id_of_its_own(db: Database) -> None:
    def seen() -> tuple[int, int]:
        (row,) = db.fetch("SELECT revision, change_id FROM order_items_analytics")
        return row["revision"], row["change_id"]

    apply(db, [order(1)])
    first, first_change = seen()
    apply(db, [order(2, order_id="O-2")])
    second, second_change = seen()
    assert (first, second) == (1, 2)
    assert second_change > first_change


def test_an_empty_batch_changes_nothing(db: Database) -> None:
    apply(db, [order(1)])
    before = db.fetch("SELECT * FROM order_items_analytics")
    apply(db, [])
    assert db.fetch("SELECT * FROM order_items_analytics") == before


def test_text_of_any_kind_is_kept_as_it_is(db: Database) -> None:
    name = "a \"b\"\n\\.\n\\N, 'c'; 🛒"
    apply(db, [order(1, order_item(product_id=name, name=name, category=name))])
    (row,) = analytics(db)
    assert (row["product_id"], row["name"], row["category"]) == (name, name, name)


# What the tables themselves refuse

LINE = "INSERT INTO order_items VALUES ('O-1', %s, 'P-9', 'MILK', 'DAIRY', %s, %s)"


def test_a_line_without_a_number_is_refused(db: Database) -> None:
    apply(db, [order(1)])
    with pytest.raises(psycopg.errors.CheckViolation), db.transaction() as connection:
        connection.execute(LINE, (0, 1, 1))


def test_a_line_without_its_order_is_refused(db: Database) -> None:
    with pytest.raises(psycopg.errors.ForeignKeyViolation), db.transaction() as connection:
        connection.execute(LINE, (1, 1, 1))


def test_the_lines_of_an_order_go_with_it(db: Database) -> None:
    apply(db, [order(1), order(2, order_id="O-2")])
    with db.transaction() as connection:
        connection.execute("DELETE FROM product_orders WHERE order_id = 'O-1'")
    assert db.fetch("SELECT order_id FROM order_items") == [{"order_id": "O-2"}]


@pytest.mark.parametrize("change_of_row", ["order_count = -1", "cancelled_orders = 9"])
def test_numbers_that_cannot_be_are_refused(db: Database, change_of_row: str) -> None:
    apply(db, [order(1)])
    with pytest.raises(psycopg.errors.CheckViolation), db.transaction() as connection:
        connection.execute(f"UPDATE order_items_analytics SET {change_of_row}")  # noqa: S608
