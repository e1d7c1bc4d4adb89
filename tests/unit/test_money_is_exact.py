"""Money from the text of a message to a decimal of the lake: never through a binary fraction."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from conf.stores import Stores
from streaming.transforms.order_event_processor import silver_orders
from tests.support.builders import as_json, order_event, order_item
from tests.support.messages import Sent, to_rows


def totals(stores: Stores, events: list[bytes]) -> list[Decimal | None]:
    """The total of each event; null where it was rejected."""
    rows = silver_orders(stores, timedelta(minutes=10))(
        to_rows("order-created", [Sent(e) for e in events])
    )
    return [
        None if row["rules"] else row["total_price"]
        for row in rows.select(["rules", "total_price"]).to_pylist()
    ]


def test_every_cent_of_a_till_arrives(stores: Stores) -> None:
    # 0.29, 0.57, 1.13, ... are the ones that a float turns into 0.28999...
    prices = [Decimal(cents) / 100 for cents in range(1, 1_000, 7)] + [Decimal("9999999.99")]
    events = [
        as_json(order_event(items=[order_item(quantity=1, unit_price=float(price))]))
        for price in prices
    ]
    assert totals(stores, events) == prices


def test_the_sum_over_many_orders_is_exact(stores: Stores) -> None:
    event = as_json(order_event(items=[order_item(quantity=1, unit_price=0.1)]))
    assert sum(t or 0 for t in totals(stores, [event] * 300)) == Decimal("30.00")


def test_the_lines_are_added_up_exactly(stores: Stores) -> None:
    lines = [order_item(product_id=f"P-{n}", quantity=3, unit_price=0.1) for n in range(1_000)]
    right, wrong = (as_json(order_event(items=lines, total_price=t)) for t in (300, 300.02))
    assert totals(stores, [right, wrong]) == [Decimal("300.00"), None]


def test_a_third_decimal_is_refused_and_not_rounded_away(stores: Stores) -> None:
    events = [as_json(order_event(total_price=total)) for total in (2.5, 2.501)]
    assert totals(stores, events) == [Decimal("2.50"), None]


def test_an_amount_of_too_many_digits_rejects_no_other_order(stores: Stores) -> None:
    prices = [Decimal(cents) / 100 for cents in range(1, 201)]
    events = [
        as_json(order_event(items=[order_item(quantity=1, unit_price=float(p))])) for p in prices
    ]
    events[100] = as_json(order_event(total_price=10**30))
    assert totals(stores, events) == [*prices[:100], None, *prices[101:]]
