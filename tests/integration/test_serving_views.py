"""The views of the serving database: what they count, over which days, and whose."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg import sql

from conf.contracts.currencies import PLACES
from conf.settings import Settings
from infra.postgres.migrate import MIGRATIONS
from streaming.sinks.postgres import Database
from tests.stream.sandbox import empty_tables
from tests.support.builders import order_item
from tools.docs.relations import Relation, read_relations

pytestmark = pytest.mark.requirement("O7")

Row = dict[str, Any]
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def empty(services: Settings) -> None:
    empty_tables(services)


@pytest.fixture
def today(db: Database) -> datetime:
    """Midnight (UTC) by the clock of the database, which the views go by."""
    (row,) = db.fetch("SELECT date_trunc('day', now(), 'UTC') AS midnight")
    midnight: datetime = row["midnight"]
    return midnight.astimezone(timezone.utc)


def insert(db: Database, table: str, defaults: Row, overrides: Row) -> None:
    """One row; every column of the table that has no default of its own is in `defaults`."""
    row = {**defaults, **overrides}
    assert row.keys() == defaults.keys()
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )
    with db.transaction() as connection:
        connection.execute(statement, row)


def hour_of_orders(db: Database, hour: datetime, **overrides: Any) -> None:
    """An hour of B01: two completed orders paid in cash, of 5.00 together."""
    defaults = {
        "metric_date": hour.date(),
        "hour": hour,
        "branch_id": "B01",
        "currency": "USD",
        "order_count": 2,
        "total_revenue": Decimal("5.00"),
        "net_revenue": Decimal("5.00"),
        "pending_count": 0,
        "processing_count": 0,
        "completed_count": 2,
        "cancelled_count": 0,
        "cash_count": 2,
        "online_count": 0,
        "is_final": True,
        "updated_at": hour,
    }
    insert(db, "order_metrics", defaults, overrides)


def hour_of_store(db: Database, hour: datetime, **overrides: Any) -> None:
    """An hour of B01: two orders of ten visitors, both made in the shop."""
    defaults = {
        "branch_id": "B01",
        "hour": hour,
        "local_hour": hour.replace(tzinfo=None),
        "visitors": 10,
        "orders": 2,
        "orders_in_store": 2,
        "orders_in_store_net": 2,
        "conversion_withheld": None,
        "revenue": Decimal("5.00"),
        "net_revenue": Decimal("5.00"),
        "is_final": True,
        "orders_change_id": 1,
        "footfall_change_id": 1,
        "updated_at": hour,
    }
    insert(db, "store_hourly", defaults, overrides)


def product(db: Database, day: date, **overrides: Any) -> None:
    """A product on a day of B01: four pieces in two orders, for 10.00."""
    defaults = {
        "branch_id": "B01",
        "day": day,
        "product_id": "P-1",
        "currency": "USD",
        "name": "MILK",
        "category": "DAIRY",
        "order_count": 2,
        "quantity": 4,
        "revenue": Decimal("10.00"),
        "cancelled_orders": 0,
        "cancelled_quantity": 0,
        "cancelled_revenue": Decimal("0.00"),
        "name_version": str(day),
        "updated_at": datetime(2024, 5, 1, tzinfo=timezone.utc),
    }
    insert(db, "order_items_analytics", defaults, overrides)


def order(db: Database, order_id: str, created_at: datetime | None, **overrides: Any) -> None:
    """A pending order of B01 of one line: 2 x 1.25."""
    seen = created_at or datetime(2024, 5, 1, tzinfo=timezone.utc)
    defaults = {
        "order_id": order_id,
        "branch_id": "B01",
        "status": "pending",
        "total_price": Decimal("2.50"),
        "item_count": 1,
        "items": json.dumps([order_item()]),
        "subtotal": Decimal("2.50"),
        "created_at": created_at,
        "first_event_at": seen,
        "last_event_at": seen,
        "status_version": "1",
    }
    insert(db, "orders_processed", defaults, overrides)


# v_daily_order_summary


def test_a_day_sums_the_hours_of_a_branch(db: Database, today: datetime) -> None:
    hour_of_orders(db, today)
    hour_of_orders(
        db,
        today + timedelta(hours=23),
        order_count=1,
        total_revenue=Decimal("2.25"),
        net_revenue=Decimal("0.00"),
        completed_count=0,
        cancelled_count=1,
        cash_count=0,
        online_count=1,
        is_final=False,
    )
    hour_of_orders(db, today, branch_id="B02")
    hour_of_orders(db, today - DAY)
    row = db.fetch(
        "SELECT * FROM v_daily_order_summary WHERE day = %s AND branch_id = 'B01'", (today.date(),)
    )[0]
    assert row == {
        "day": today.date(),
        "branch_id": "B01",
        "currency": "USD",
        "orders": 3,
        "total_revenue": Decimal("7.25"),
        "net_revenue": Decimal("5.00"),
        "average_order_value": Decimal("2.42"),
        "pending": 0,
        "processing": 0,
        "completed": 2,
        "cancelled": 1,
        "cancellation_rate": Decimal("0.3333"),
        "cash": 2,
        "online": 1,
        "in_store": 0,
        "returns": 0,
        "refunds": Decimal("0.00"),
        "is_final": False,
        "corrected_at": None,
        "updated_at": today + timedelta(hours=23),
    }
    assert len(db.fetch("SELECT 1 FROM v_daily_order_summary")) == 3


def test_a_day_is_final_once_an_hour_of_a_later_day_is(db: Database, today: datetime) -> None:
    def is_final() -> bool:
        day = (today - 2 * DAY).date()
        rows = db.fetch("SELECT is_final FROM v_daily_order_summary WHERE day = %s", (day,))
        return bool(rows[0]["is_final"])

    hour_of_orders(db, today - 2 * DAY)
    assert not is_final()  # a later hour of the day may still have orders
    hour_of_orders(db, today - DAY)
    assert is_final()


def test_a_day_whose_orders_all_moved_away_has_no_average(db: Database, today: datetime) -> None:
    none = dict.fromkeys(("order_count", "total_revenue", "net_revenue"), 0)
    hour_of_orders(db, today, **none, completed_count=0, cash_count=0)
    (row,) = db.fetch("SELECT * FROM v_daily_order_summary")
    assert (row["orders"], row["average_order_value"], row["cancellation_rate"]) == (0, None, None)


# v_branch_performance


def performance(db: Database) -> dict[str, Row]:
    return {r["branch_id"]: r for r in db.fetch("SELECT * FROM v_branch_performance")}


def test_a_window_ends_today_and_begins_with_its_first_whole_day(
    db: Database, today: datetime
) -> None:
    for age in (0, 6, 7, 29, 30):
        hour_of_orders(db, today - age * DAY)
        hour_of_store(db, today - age * DAY)
    row = performance(db)["B01"]
    assert (row["orders_7d"], row["orders_30d"]) == (4, 8)
    assert (row["visitors_7d"], row["visitors_30d"]) == (20, 40)


def test_a_branch_has_its_revenue_average_and_cancellation_rate(
    db: Database, today: datetime
) -> None:
    hour_of_orders(db, today, cancelled_count=1, completed_count=1, net_revenue=Decimal("2.00"))
    hour_of_orders(db, today - 10 * DAY, total_revenue=Decimal("15.00"))
    row = performance(db)["B01"]
    assert (row["revenue_7d"], row["net_revenue_7d"]) == (Decimal("5.00"), Decimal("2.00"))
    assert (row["revenue_30d"], row["net_revenue_30d"]) == (Decimal("20.00"), Decimal("7.00"))
    assert row["average_order_value_7d"] == Decimal("2.50")
    assert row["average_order_value_30d"] == Decimal("5.00")
    assert row["cancellation_rate_7d"] == Decimal("0.5000")
    assert row["cancellation_rate_30d"] == Decimal("0.2500")


def test_conversion_is_that_of_the_hours_whose_own_rate_is_not_withheld(
    db: Database, today: datetime
) -> None:
    hour_of_store(db, today - 8 * DAY, orders_in_store_net=1)
    blind = {"conversion_withheld": "coverage below 0.5"}
    hour_of_store(db, today, visitors=1, **blind)
    row = performance(db)["B01"]
    assert (row["conversion_rate_7d"], row["conversion_withheld_7d"]) == (None, *blind.values())
    assert (row["trusted_hours_7d"], row["trusted_hours_30d"]) == (0, 1)
    assert row["conversion_rate_30d"] == Decimal("0.2000")
    assert row["conversion_rate_net_30d"] == Decimal("0.1000")
    assert (row["visitors_30d"], row["conversion_withheld_30d"]) == (11, None)


def test_the_money_of_two_currencies_is_never_one_sum(db: Database, today: datetime) -> None:
    hour_of_orders(db, today)
    hour_of_orders(
        db, today, currency="JPY", total_revenue=Decimal(1001), net_revenue=Decimal(1001)
    )
    product(db, today.date())
    product(db, today.date(), currency="JPY", quantity=1)
    days = db.fetch("SELECT * FROM v_daily_order_summary ORDER BY currency")
    branches = db.fetch("SELECT * FROM v_branch_performance ORDER BY currency")
    assert [(str(d["total_revenue"]), str(d["average_order_value"])) for d in days] == [
        ("1001", "501"),
        ("5.00", "2.50"),
    ]
    assert [str(b["revenue_7d"]) for b in branches] == ["1001", "5.00"]
    for currency in ("JPY", "USD"):
        assert popularity(db, currency)["B01", "P-1"]["rank_by_quantity"] == 1


def test_the_database_rounds_to_the_decimals_of_iso_4217(db: Database) -> None:
    codes = [*PLACES, "XXX"]
    rows = db.fetch(
        "SELECT c AS code, currency_places(c) AS places FROM unnest(%s::text[]) c", (codes,)
    )
    assert {r["code"]: r["places"] for r in rows} == {**PLACES, "XXX": 2}


def test_a_branch_without_cameras_or_without_orders_is_there_all_the_same(
    db: Database, today: datetime
) -> None:
    hour_of_orders(db, today, branch_id="B02")
    hour_of_store(db, today, branch_id="B03", orders=0, orders_in_store=0)
    rows = performance(db)
    assert (rows["B02"]["visitors_7d"], rows["B02"]["conversion_rate_7d"]) == (None, None)
    assert (rows["B03"]["orders_7d"], rows["B03"]["average_order_value_7d"]) == (0, None)
    assert rows["B03"]["conversion_rate_7d"] == 0


# v_product_popularity


def popularity(db: Database, currency: str = "USD") -> dict[tuple[str, str], Row]:
    rows = db.fetch("SELECT * FROM v_product_popularity WHERE currency = %s", (currency,))
    return {(r["branch_id"], r["product_id"]): r for r in rows}


def test_products_are_ranked_in_their_branch_by_quantity_and_by_revenue(
    db: Database, today: datetime
) -> None:
    product(db, today.date(), product_id="P-1", quantity=9, revenue=Decimal("9.00"))
    product(db, today.date(), product_id="P-2", quantity=3, revenue=Decimal("30.00"))
    product(db, today.date(), product_id="P-3", quantity=3, revenue=Decimal("1.00"))
    product(db, today.date(), product_id="P-3", branch_id="B02", quantity=2)
    ranks = {
        key: (row["rank_by_quantity"], row["rank_by_revenue"])
        for key, row in popularity(db).items()
    }
    assert ranks == {
        ("B01", "P-1"): (1, 2),
        ("B01", "P-2"): (2, 1),
        ("B01", "P-3"): (2, 3),
        ("B02", "P-3"): (1, 1),
    }


def test_popularity_sums_thirty_days_under_the_newest_name(db: Database, today: datetime) -> None:
    product(db, today.date(), name="WHOLE MILK", category="DRINKS")
    product(db, (today - 29 * DAY).date())
    product(db, (today - 30 * DAY).date(), quantity=100, name="OLD")
    row = popularity(db)["B01", "P-1"]
    assert (row["name"], row["category"]) == ("WHOLE MILK", "DRINKS")
    assert (row["orders"], row["net_quantity"], row["net_revenue"]) == (4, 8, Decimal("20.00"))


def test_cancelled_orders_make_nothing_popular(db: Database, today: datetime) -> None:
    gone = {"cancelled_orders": 1, "cancelled_quantity": 3, "cancelled_revenue": Decimal("7.50")}
    product(db, today.date(), **gone)
    product(db, today.date(), product_id="P-2", cancelled_orders=2, cancelled_quantity=4)
    rows = popularity(db)
    assert rows.keys() == {("B01", "P-1")}
    row = rows["B01", "P-1"]
    assert (row["orders"], row["net_quantity"], row["net_revenue"]) == (1, 1, Decimal("2.50"))


# v_recent_orders


def test_recent_orders_come_newest_first_with_lines_status_and_age(
    db: Database, today: datetime
) -> None:
    order(db, "O-1", today - 2 * DAY)
    order(db, "O-2", today - DAY, last_event_at=today, status="completed")
    order(db, "O-3", None)  # only a status change has arrived
    with db.transaction() as connection:
        rows = connection.execute(
            "SELECT order_id, status, item_count, subtotal, now() - age, now() - idle "
            "FROM v_recent_orders"
        ).fetchall()
    half = Decimal("2.50")
    assert rows == [
        ("O-2", "completed", 1, half, today - DAY, today),
        ("O-1", "pending", 1, half, today - 2 * DAY, today - 2 * DAY),
    ]


@pytest.mark.parametrize("overrides", [{"total_price": 0}, {"item_count": 0}, {"status": "lost"}])
def test_an_order_that_cannot_be_is_refused(db: Database, today: datetime, overrides: Row) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        order(db, "O-1", today, **overrides)


# The page that describes them


def test_the_page_names_the_tables_views_and_keys_that_the_database_has(db: Database) -> None:
    # The tables of yoyo and of the Iceberg catalog are not ours.
    found = db.fetch(
        "SELECT c.relname, c.relkind = 'v' AS is_view, array(SELECT a.attname::text "
        "    FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, at) "
        "    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum ORDER BY at) AS key "
        "FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary "
        "WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v') "
        "AND c.relname !~ '^_?yoyo|^iceberg_'"
    )
    relations = read_relations(MIGRATIONS)
    assert {(r["relname"], r["is_view"]) for r in found} == {
        (r.name, r.kind == "view") for r in relations
    }
    keys = {r["relname"]: tuple(r["key"]) for r in found if not r["is_view"]}
    assert keys == {r.name: r.key for r in relations if r.kind == "table"}


@pytest.mark.parametrize("view", [r for r in read_relations(MIGRATIONS) if r.kind == "view"],
                         ids=lambda r: r.name)  # fmt: skip
def test_the_key_of_a_view_is_made_of_its_own_columns(db: Database, view: Relation) -> None:
    with db.transaction() as connection:
        description = connection.execute(f"SELECT * FROM {view.name}").description or []  # noqa: S608
    assert set(view.key) <= {column.name for column in description}
