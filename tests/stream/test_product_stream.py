"""Products: from the order topics to order_items_analytics and gold.product_daily.

One story, told once: messages, more messages, then everything that may go wrong between two runs.
Each test looks at what one chapter left behind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from tests.stream.house import House, Rows, later
from tests.support.builders import event_id, order_event, order_item, status_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("O6")]

NAME = "product_analytics"
T10 = "2024-05-01T10:00:00Z"
T11 = "2024-05-01T11:05:00Z"
DAY_BEFORE = "2024-04-30T23:59:59.999Z"
MILK = order_item(product_id="P-1", quantity=2, unit_price=1.25)
BREAD = order_item(product_id="P-2", name="RYE", category="BAKERY", quantity=1, unit_price=3.10)


def first_messages(house: House) -> None:
    """Two orders, one of them sent twice and then corrected; a broken text; a negative quantity."""
    first = order_event(order_id="O-1", event_id=event_id("O-1"), items=[MILK, BREAD])
    house.send_order(first, order_event(order_id="O-2", items=[BREAD]))
    house.send_order(first)  # the till sent it twice
    house.send_order(
        order_event(
            order_id="O-1",
            event_type="order.updated",
            event_time=later(T10, 60),
            items=[{**MILK, "quantity": 4}],
        ),
        topic="order-updated",
    )
    house.send_raw("order-created", b"{not json", b"O-3")
    house.send_order(order_event(order_id="O-4", items=[{**MILK, "quantity": -1}]))


def more_messages(house: House) -> None:
    """O-2 is cancelled; an order of another branch; one so late that its hour is long final."""
    house.send_order(
        status_event(order_id="O-2", new_status="cancelled", event_time=T11),
        topic="order-events",
    )
    house.send_order(
        order_event(order_id="O-5", event_time=DAY_BEFORE, created_at=DAY_BEFORE, items=[MILK]),
        order_event(order_id="O-6", branch_id="B02", items=[BREAD]),
    )


@dataclass
class Story:
    """What was in every table after each chapter, and what the ledger said."""

    tables: dict[str, dict[str, Rows]] = field(default_factory=dict)
    ledger: dict[str, Rows] = field(default_factory=dict)
    repeated_batch: int = -1


@pytest.fixture(scope="module")
def story(house: House) -> Story:
    told = Story()

    def run(chapter: str) -> None:
        house.run(NAME)
        told.tables[chapter] = house.look()
        told.ledger[chapter] = house.ledger(NAME)

    first_messages(house)
    run("first")
    more_messages(house)
    run("more")
    run("again")
    told.repeated_batch = house.forget_newest_commit(NAME)
    run("commit lost")
    house.forget_checkpoint(NAME)
    run("checkpoint lost")
    return told


def sold(rows: Rows) -> dict[tuple[str, int, str], tuple[Any, ...]]:
    """(branch, day, product) -> orders, quantity, revenue, net quantity, net revenue."""
    names = ("order_count", "quantity", "revenue", "net_quantity", "net_revenue")
    return {
        (r["branch_id"], r["day"].day, r["product_id"]): tuple(r[n] for n in names) for r in rows
    }


def test_an_order_counts_once_with_the_lines_of_its_newest_body(story: Story) -> None:
    milk, bread = Decimal("5.00"), Decimal("3.10")
    assert sold(story.tables["first"]["order_items_analytics"]) == {
        ("B01", 1, "P-1"): (1, 4, milk, 4, milk),
        ("B01", 1, "P-2"): (1, 1, bread, 1, bread),
    }


def test_a_product_has_its_name_and_category(story: Story) -> None:
    rows = story.tables["first"]["order_items_analytics"]
    assert {(r["product_id"], r["name"], r["category"]) for r in rows} == {
        ("P-1", "WHOLE MILK", "GROCERY"),
        ("P-2", "RYE", "BAKERY"),
    }


def test_a_second_run_goes_on_and_takes_every_good_event_however_late(story: Story) -> None:
    milk, bread, nothing = Decimal("2.50"), Decimal("3.10"), Decimal(0)
    assert sold(story.tables["more"]["order_items_analytics"]) == {
        ("B01", 1, "P-1"): (1, 4, 2 * milk, 4, 2 * milk),
        ("B01", 1, "P-2"): (1, 1, bread, 0, nothing),  # O-2 is cancelled
        ("B01", 30, "P-1"): (1, 2, milk, 2, milk),
        ("B02", 1, "P-2"): (1, 1, bread, 1, bread),
    }


@pytest.mark.parametrize("chapter", ["first", "more", "checkpoint lost"])
def test_the_lake_says_of_every_product_what_the_database_says(story: Story, chapter: str) -> None:
    def by_key(rows: Rows) -> dict[tuple[str, date, str], dict[str, Any]]:
        return {(r["branch_id"], r["day"], r["product_id"]): r for r in rows}

    lake = by_key(story.tables[chapter]["gold.product_daily"])
    served = by_key(story.tables[chapter]["order_items_analytics"])
    assert len(lake) == len(story.tables[chapter]["gold.product_daily"]) > 0
    assert lake == {k: {n: r[n] for n in lake[k]} for k, r in served.items()}


@pytest.mark.parametrize(
    ("chapter", "before"),
    [("again", "more"), ("commit lost", "again"), ("checkpoint lost", "commit lost")],
    ids=["it runs again", "a commit is lost", "the checkpoint is lost"],
)
def test_no_row_of_any_table_changes_when(story: Story, chapter: str, before: str) -> None:
    assert story.tables[chapter] == story.tables[before]


def test_the_ledger_counts_the_good_rows_and_tells_of_a_batch_that_came_again(
    story: Story,
) -> None:
    assert sum(b["rows_new"] for b in story.ledger["first"]) == 4
    assert sum(b["rows_new"] for b in story.ledger["more"]) == 7
    again = {b["batch_id"]: b for b in story.ledger["commit lost"]}[story.repeated_batch]
    assert (again["runs"], again["rows_in"]) == (2, 2 * again["rows_new"])
