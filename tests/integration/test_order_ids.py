"""An id is of an order or of a return, and remains that."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from conf.settings import CONF_DIR
from conf.stores import load_stores
from streaming.sinks.order_ids import identify
from streaming.sinks.postgres import Database
from tests.support.accounts import silver
from tests.support.builders import order_event, order_item, status_event

pytestmark = pytest.mark.requirement("O11")

STORES = load_stores(CONF_DIR / "stores" / "demo.toml")


def sale(order_id: str, event_type: str = "order.created", quantity: int = 1) -> dict[str, Any]:
    items = [order_item(quantity=quantity)]
    return order_event(order_id=order_id, event_type=event_type, schema_version=3, items=items)


def test_a_return_under_the_id_of_its_order_is_refused_and_the_order_goes_on(db: Database) -> None:
    one, other = (f"order-{uuid4()}" for _ in range(2))  # no other test has claimed them
    events = [
        sale(one),
        sale(one, "order.returned", -1),
        status_event(order_id=one),
        sale(other, "order.returned", -1),
        sale(other, "order.updated", -2),
        sale(other, "order.updated", 2),
    ]
    with db.transaction() as connection, connection.transaction(force_rollback=True):
        rules = identify(connection, silver(STORES, events))["rules"].to_pylist()
    reused = ["order_id_used_before"]
    assert rules == [[], reused, [], [], [], reused]
