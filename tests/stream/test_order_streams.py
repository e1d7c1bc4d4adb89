"""Orders: from the topics to the lake, the serving tables, the metrics by hour and the products.

All tests share one sequence of runs: messages, more messages, then everything that may go wrong
between two runs. Each test checks what one run left in the tables.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tests.stream.sandbox import Rows, Sandbox, later
from tests.support.builders import event_id, order_event, order_item, status_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("O3")]

WITH_LEDGER = ("order_event_processor", "real_time_metrics", "product_analytics")
TOGETHER = (*WITH_LEDGER, "bronze_order_events")
T10 = "2024-05-01T10:00:00Z"
T11 = "2024-05-01T11:05:00Z"
DAY_BEFORE = "2024-04-30T23:59:59.999Z"
MILK = order_item(product_id="P-1", quantity=2, unit_price=1.25)
BREAD = order_item(product_id="P-2", name="RYE", category="BAKERY", quantity=1, unit_price=3.10)


def first_messages(sandbox: Sandbox) -> None:
    """Hour 10: two orders, a changed one, a repeated event, a broken text and a negative price."""
    first = order_event(order_id="O-1", event_id=event_id("O-1"), items=[MILK, BREAD])
    sandbox.send_order(first, order_event(order_id="O-2", payment_method="online", items=[BREAD]))
    sandbox.send_order(first)  # the till sent it twice
    sandbox.send_order(
        order_event(
            order_id="O-1",
            event_type="order.updated",
            event_time=later(T10, 60),
            items=[{**MILK, "quantity": 4}],
        ),
        topic="order-updated",
    )
    sandbox.send_raw("order-created", b"{not json", b"O-3")
    sandbox.send_order(order_event(order_id="O-4", total_price=-1))


def more_messages(sandbox: Sandbox) -> None:
    """Hour 11: a new order, one of the day before, O-2 is cancelled, O-1 is completed."""
    sandbox.send_order(
        order_event(order_id="O-5", event_time=T11, created_at=T11),
        order_event(
            order_id="O-6",
            branch_id="B02",
            event_time=DAY_BEFORE,
            created_at=DAY_BEFORE,
            items=[MILK],
        ),
    )
    sandbox.send_order(
        order_event(
            order_id="O-2",
            event_type="order.cancelled",
            status="cancelled",
            payment_method="online",
            event_time=T11,
            items=[BREAD],
        ),
        topic="order-cancelled",
    )
    sandbox.send_order(
        status_event(order_id="O-1", old_status="pending", new_status="completed", event_time=T11),
        topic="order-events",
    )


@dataclass
class Story:
    """The contents of every table after each run, and of the ledger of each stream."""

    sandbox: Sandbox
    tables: dict[str, dict[str, Rows]] = field(default_factory=dict)
    ledgers: dict[str, dict[str, Rows]] = field(default_factory=dict)
    repeated_batch: int = -1

    def remember(self, chapter: str) -> None:
        self.tables[chapter] = self.sandbox.look()
        self.ledgers[chapter] = {name: self.sandbox.ledger(name) for name in WITH_LEDGER}


@pytest.fixture(scope="module")
def story(sandbox: Sandbox) -> Story:
    recorded = Story(sandbox)
    first_messages(sandbox)
    sandbox.run(*TOGETHER)
    recorded.remember("first")

    more_messages(sandbox)
    sandbox.run(*TOGETHER)
    recorded.remember("more")

    recorded.repeated_batch = sandbox.lose_newest_commit(*TOGETHER)
    sandbox.run(*TOGETHER)
    recorded.remember("commit lost")

    sandbox.lose_checkpoint(*TOGETHER)
    sandbox.run(*TOGETHER)
    recorded.remember("checkpoint lost")

    sandbox.run("real_time_metrics")
    recorded.remember("alone")
    return recorded


def by(rows: Rows, *keys: str) -> dict[Any, dict[str, Any]]:
    return {tuple(r[k] for k in keys) if len(keys) > 1 else r[keys[0]]: r for r in rows}


def hours(rows: Rows) -> dict[int, tuple[Any, ...]]:
    """hour -> orders, revenue, net, pending, completed, cancelled, cash, online."""
    names = ("order_count", "total_revenue", "net_revenue", "pending_count", "completed_count")
    names += ("cancelled_count", "cash_count", "online_count")
    return {r["hour"].hour: tuple(r[n] for n in names) for r in rows}


def test_bronze_keeps_every_message_once_with_its_bytes(story: Story) -> None:
    bronze = story.tables["first"]["bronze.order_events"]

    assert len(bronze) == 6
    assert len({(r["topic"], r["partition"], r["position"]) for r in bronze}) == 6
    assert b"{not json" in {r["value"] for r in bronze}


def test_every_message_is_good_or_quarantined_with_the_rule_that_it_broke(story: Story) -> None:
    silver = story.tables["first"]["silver.orders"]
    bad = story.tables["first"]["quarantine.order_events"]

    assert sorted(r["order_id"] for r in silver) == ["O-1", "O-1", "O-1", "O-2"]
    assert {(r["key"], rule) for r in bad for rule in r["rules"]} >= {
        (b"O-3", "json_object"),
        (b"O-4", "total_price_money"),
    }
    assert len(silver) + len(bad) == len(story.tables["first"]["bronze.order_events"])


def test_a_repeated_event_is_kept_once_in_orders_raw(story: Story) -> None:
    raw = story.tables["first"]["orders_raw"]

    assert sorted(r["order_id"] for r in raw) == ["O-1", "O-1", "O-2"]
    assert len({r["event_id"] for r in raw}) == 3


def test_an_order_shows_its_newest_version(story: Story) -> None:
    orders = by(story.tables["first"]["orders_processed"], "order_id")

    assert orders.keys() == {"O-1", "O-2"}
    assert (orders["O-1"]["total_price"], orders["O-1"]["item_count"]) == (Decimal("5.00"), 1)
    assert (orders["O-1"]["region"], orders["O-1"]["local_hour"]) == ("north", 12)


def test_an_order_counts_once_in_the_hour_in_which_it_was_created(story: Story) -> None:
    money = Decimal("8.10")
    assert hours(story.tables["first"]["order_metrics"]) == {10: (2, money, money, 2, 0, 0, 1, 1)}


def test_the_ledger_counts_the_rows_of_every_batch(story: Story) -> None:
    ledger = story.ledgers["first"]["order_event_processor"]

    assert sum(b["rows_in"] for b in ledger) == sum(b["rows_new"] for b in ledger) == 6
    assert {b["runs"] for b in ledger} == {1}


def test_a_second_run_continues_where_the_first_one_ended(story: Story) -> None:
    before, after = story.tables["first"], story.tables["more"]

    assert len(after["bronze.order_events"]) == len(before["bronze.order_events"]) + 4
    assert len(after["silver.orders"]) == len(before["silver.orders"]) + 4
    assert after["quarantine.order_events"] == before["quarantine.order_events"]
    assert len({r["event_id"] for r in after["orders_raw"]}) == len(after["orders_raw"]) == 7
    assert {k: r["status"] for k, r in by(after["orders_processed"], "order_id").items()} == {
        "O-1": "completed",
        "O-2": "cancelled",
        "O-5": "pending",
        "O-6": "pending",
    }


def test_a_change_of_status_corrects_the_hour_of_the_order_and_keeps_its_revenue(
    story: Story,
) -> None:
    assert hours(story.tables["more"]["order_metrics"]) == {
        10: (2, Decimal("8.10"), Decimal("5.00"), 0, 1, 1, 1, 1),
        11: (1, Decimal("2.50"), Decimal("2.50"), 1, 0, 0, 1, 0),
    }


@pytest.mark.parametrize("chapter", ["first", "more", "alone"])
def test_the_lake_has_the_same_hours_as_the_database(story: Story, chapter: str) -> None:
    lake = by(story.tables[chapter]["gold.order_hourly"], "branch_id", "hour")
    served = by(story.tables[chapter]["order_metrics"], "branch_id", "hour")

    assert lake
    assert lake == {k: {n: r[n] for n in lake[k]} for k, r in served.items()}


@pytest.mark.parametrize(
    ("chapter", "before"),
    [("commit lost", "more"), ("checkpoint lost", "commit lost"), ("alone", "checkpoint lost")],
    ids=["a commit is lost", "the checkpoint is lost", "a stream moves to a query of its own"],
)
def test_no_row_of_any_table_changes_when(story: Story, chapter: str, before: str) -> None:
    assert story.tables[chapter] == story.tables[before]


@pytest.mark.parametrize("stream", WITH_LEDGER)
def test_the_ledger_shows_a_batch_that_came_again(story: Story, stream: str) -> None:
    batches = by(story.ledgers["commit lost"][stream], "batch_id")
    again = batches[story.repeated_batch]

    assert again["runs"] == 2
    assert again["rows_in"] == 2 * again["rows_new"]
    assert {b["runs"] for n, b in batches.items() if n != story.repeated_batch} <= {1}


def sold(rows: Rows) -> dict[tuple[str, int, str], tuple[Any, ...]]:
    """(branch, day, product) -> orders, quantity, revenue, net quantity, net revenue."""
    names = ("order_count", "quantity", "revenue", "net_quantity", "net_revenue")
    return {
        (r["branch_id"], r["day"].day, r["product_id"]): tuple(r[n] for n in names) for r in rows
    }


@pytest.mark.requirement("O6")
def test_products_have_the_lines_of_the_newest_body_of_an_order(story: Story) -> None:
    milk, bread = Decimal("5.00"), Decimal("3.10")
    assert sold(story.tables["first"]["order_items_analytics"]) == {
        ("B01", 1, "P-1"): (1, 4, milk, 4, milk),
        ("B01", 1, "P-2"): (1, 1, bread, 1, bread),
    }


@pytest.mark.requirement("O6")
def test_a_product_has_its_name_and_category(story: Story) -> None:
    rows = story.tables["first"]["order_items_analytics"]
    assert {(r["product_id"], r["name"], r["category"]) for r in rows} == {
        ("P-1", "WHOLE MILK", "GROCERY"),
        ("P-2", "RYE", "BAKERY"),
    }


@pytest.mark.requirement("O6")
def test_products_take_every_good_event_however_late(story: Story) -> None:
    milk, bread, nothing = Decimal("2.50"), Decimal("3.10"), Decimal(0)
    assert sold(story.tables["more"]["order_items_analytics"]) == {
        ("B01", 1, "P-1"): (2, 6, 3 * milk, 6, 3 * milk),
        ("B01", 1, "P-2"): (1, 1, bread, 0, nothing),  # O-2 is cancelled
        ("B02", 30, "P-1"): (1, 2, milk, 2, milk),
    }


@pytest.mark.requirement("O6")
@pytest.mark.parametrize("chapter", ["first", "more", "checkpoint lost"])
def test_the_lake_has_the_same_products_as_the_database(story: Story, chapter: str) -> None:
    def by_key(rows: Rows) -> dict[tuple[str, date, str], dict[str, Any]]:
        return {(r["branch_id"], r["day"], r["product_id"]): r for r in rows}

    lake = by_key(story.tables[chapter]["gold.product_daily"])
    served = by_key(story.tables[chapter]["order_items_analytics"])
    assert len(lake) == len(story.tables[chapter]["gold.product_daily"]) > 0
    assert lake == {k: {n: r[n] for n in lake[k]} for k, r in served.items()}


@pytest.mark.requirement("O6")
def test_the_ledger_of_products_counts_good_rows(story: Story) -> None:
    new = {
        chapter: sum(batch["rows_new"] for batch in story.ledgers[chapter]["product_analytics"])
        for chapter in ("first", "more")
    }
    assert new == {"first": 4, "more": 8}


def test_an_order_of_the_day_before_is_late_for_its_hour(story: Story) -> None:
    assert story.tables["first"]["quarantine.late_events"] == []
    (late,) = story.tables["more"]["quarantine.late_events"]
    assert late["key"] == b"O-6"
