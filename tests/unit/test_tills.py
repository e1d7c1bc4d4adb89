"""What tills send, from the gateway to the order that Postgres gets: cases of shops, and ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from conf.contracts.order_event import MIXED, RETURNED
from conf.stores import Stores
from gateway.events import check
from simulator.baskets import read_baskets
from simulator.orders import Shop, SimulatedOrderEvent
from streaming.transforms.newest_orders import newest_orders
from streaming.transforms.order_event_processor import silver_orders
from tests.support.accounts import SKEW, account, paid
from tests.support.builders import MISSING, as_json, order_event, order_item
from tests.support.messages import Sent, to_rows

NOW = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)


def orders_of(stores: Stores, *events: bytes) -> list[dict[str, Any]]:
    """The orders that Postgres gets, once gateway and rules have accepted every event."""
    sent = []
    for value in events:
        declared = json.loads(value)
        event = check(value, frozenset({declared["event_type"]}))
        sent.append(Sent(value, event.order_id.encode()))
    rows = silver_orders(stores, SKEW)(to_rows("order-created", sent))
    assert [rules for rules in rows["rules"].to_pylist() if rules] == []
    found: list[dict[str, Any]] = newest_orders(rows).to_pylist()
    return found


# -- cases of shops --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Till:
    """A case: the fields of the order, and the total that the shop took."""

    total: str
    order: dict[str, Any]
    event_type: str = "order.created"


SHIRT = order_item(product_id="1", name="Shirt", category="Wear", quantity=1, unit_price=20.0)
SOAP = order_item(product_id="1", name="Soap", category="Care", quantity=1, unit_price=3.0)
TILLS = {
    "plain": Till("2.50", {"payment_method": "cash"}),
    "card": Till("2.50", {"payments": [{"method": "card", "amount": 2.5}]}),
    "free-gift": Till("3.00", {"items": [SOAP, SOAP | {"unit_price": 0, "kind": "gift"}]}),
    "cart-discount": Till(
        "18.00", {"items": [SHIRT], "discounts": [{"amount": 2, "reason": "10 %"}]}
    ),
    "tax-on-top": Till("21.78", {"items": [SHIRT], "tax_total": 1.78, "tax_included": False}),
    "by-weight": Till("1.80", {"items": [order_item(quantity=0.452, unit="kg", unit_price=3.99)]}),
    "return": Till("-20.00", {"items": [SHIRT | {"quantity": -1}]}, RETURNED),
    "large-numbers": Till(
        "12490000",
        {"currency": "VND", "items": [order_item(quantity=1, unit_price=12_490_000)]},
    ),
    "anonymous": Till("2.50", {"customer_id": None}),
}


@pytest.mark.parametrize("case", TILLS)
def test_a_case_of_a_shop_has_its_way_in_and_the_right_sums(stores: Stores, case: str) -> None:
    till = TILLS[case]
    fields = {"payment_method": MISSING, "status": "completed", "total_price": float(till.total)}
    event = order_event(schema_version=3, event_type=till.event_type, **(fields | till.order))
    (order,) = orders_of(stores, as_json(event))
    assert order["total_price"] == Decimal(till.total)
    assert order["is_return"] == (till.event_type == RETURNED)
    assert order["customer_id"] == event["order"]["customer_id"]
    assert order["body_version"] is not None


@pytest.mark.parametrize(
    ("payments", "method"),
    [
        ([("card", "2.50")], "card"),
        ([("card", "1.50"), ("card", "1.00")], "card"),
        ([("gift_card", "1.50"), ("cash", "1.00")], MIXED),
        ([("cash", "5.00"), ("cash", "-2.50")], "cash"),
    ],
    ids=["one", "two cards", "mixed", "change"],
)
def test_the_payment_method_follows_from_the_payments(
    stores: Stores, payments: list[tuple[str, str]], method: str
) -> None:
    parts = [{"method": m, "amount": float(a)} for m, a in payments]
    event = order_event(
        schema_version=3, status="completed", payment_method=MISSING, payments=parts
    )
    (order,) = orders_of(stores, as_json(event))
    assert order["payment_method"] == method
    assert json.loads(order["payments"]) == parts


# -- the simulated tills ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sent() -> list[SimulatedOrderEvent]:
    """1,500 events of all versions, a tenth of a second apart."""
    now = NOW
    branches = [("B01", "USD"), ("B02", "EUR"), ("B03", "USD")]
    shop = Shop(read_baskets(), branches, seed=1, run_id="run", clock=lambda: now, version=None)
    events = []
    for number in range(1500):
        now = NOW + timedelta(seconds=number / 10)
        events.append(shop.next_event(number / 10, 1500 - number))
    return events


def bodies(sent: Sequence[SimulatedOrderEvent], version: int = 3) -> list[dict[str, Any]]:
    """The orders of a version; numbers as they were written."""
    events = [json.loads(e.value, parse_float=Decimal) for e in sent]
    return [e["order"] for e in events if e["schema_version"] == version and "items" in e["order"]]


def test_gateway_and_rules_accept_every_simulated_event(
    stores: Stores, sent: list[SimulatedOrderEvent]
) -> None:
    at = {event.event_id: event.made_at for event in sent}
    rows = silver_orders(stores, SKEW)(
        to_rows("order-created", [Sent(e.value, e.key, at[e.event_id]) for e in sent])
    )
    assert [rules for rules in rows["rules"].to_pylist() if rules] == []
    for event in sent:
        check(event.value, frozenset({event.event_type}))


def test_the_ledger_has_the_total_of_each_order(sent: list[SimulatedOrderEvent]) -> None:
    for order, event in zip(bodies(sent), full(sent, 3), strict=True):
        assert order["total_price"] == account(order) == paid(order) == event.total_price


def full(sent: Sequence[SimulatedOrderEvent], version: int) -> list[SimulatedOrderEvent]:
    return [
        e for e in sent
        if e.document["schema_version"] == version and e.event_type != "order.status_changed"
    ]  # fmt: skip


def test_the_simulated_tills_send_what_tills_send(sent: list[SimulatedOrderEvent]) -> None:
    orders = bodies(sent)
    lines = [line for order in orders for line in order["items"]]
    assert {order["channel"] for order in orders} >= {"in_store", "web", "app", "phone"}
    assert {p["method"] for o in orders for p in o["payments"]} >= {"card", "cash", "gift_card"}
    assert {line["kind"] for line in lines} == {"product", "gift", "deposit"}
    assert {line.get("unit") for line in lines} == {None, "kg"}
    assert {order["tax_included"] for order in orders} == {True, False}
    assert len({order["currency"] for order in orders}) > 2
    for name in ("discounts", "shipping", "tip", "rounding", "fulfilment_branch_id"):
        assert any(name in order for order in orders), name
    assert not all("customer_id" in order for order in orders)
    assert bodies(sent, 1)
    assert bodies(sent, 2)


def test_goods_come_back_to_the_branch_with_a_receipt_or_without(
    sent: list[SimulatedOrderEvent],
) -> None:
    returns = [event for event in sent if event.event_type == RETURNED]
    sold = {event.order_id: event.branch_id for event in sent}
    with_receipt = [
        original
        for event in returns
        if (original := event.document["order"].get("original_order_id"))
    ]
    assert 0 < len(with_receipt) < len(returns)
    assert all(original in sold for original in with_receipt)
    assert all(event.total_price <= 0 for event in returns if event.total_price is not None)
    assert all(event.document["order"]["created_at"] for event in returns)


def test_some_orders_change_at_the_instant_of_their_creation(
    sent: list[SimulatedOrderEvent],
) -> None:
    created = {e.order_id: e.event_time for e in sent if e.event_type == "order.created"}
    later = [e for e in sent if e.event_type not in ("order.created", RETURNED)]
    tied = {e.event_type for e in later if e.event_time == created[e.order_id]}
    assert tied


def test_the_version_of_the_tills_does_not_change_what_is_sold() -> None:
    def products(version: int) -> list[list[str]]:
        shop = Shop(
            read_baskets(), [("B01", "USD")], seed=1, run_id="run", clock=lambda: NOW,
            version=version,
        )  # fmt: skip
        orders = [shop.next_event(0.0).document["order"] for _ in range(20)]
        return [[line["product_id"] for line in order["items"]] for order in orders]

    assert products(1) == products(2)
