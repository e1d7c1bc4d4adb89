"""The pydantic models and the JSON Schema of the contract accept the same events."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.events import check
from gateway.rejections import NotAnEventError
from gateway.strict_json import parse
from streaming.validation.contracts import find_faults
from tests.support.builders import MISSING, as_json, order_event, order_item, status_event


def schema_accepts(document: Any) -> bool:
    return not find_faults(document)


def model_accepts(body: bytes, event_type: str) -> bool:
    try:
        check(body, frozenset({event_type}))
    except NotAnEventError:
        return False
    return True


def verdicts(event: Any) -> tuple[bool, bool]:
    body = as_json(event)
    document = parse(body)
    declared = document.get("event_type") if isinstance(document, dict) else None
    route = declared if isinstance(declared, str) and declared else "order.created"
    return model_accepts(body, route), schema_accepts(document)


def with_price(literal: str) -> bytes:
    return as_json(order_event(total_price=111.5)).replace(b"111.5", literal.encode())


GOOD = {
    "a created order": order_event(),
    "an updated order": order_event(event_type="order.updated"),
    "a cancelled order": order_event(event_type="order.cancelled", status="cancelled"),
    "a status change": status_event(),
    "unknown fields": order_event(extra={"till": 7, "order_2": None}),
    "microseconds": order_event(event_time="2024-05-01T10:00:00.123456Z"),
    "a leap day": order_event(event_time="2024-02-29T23:59:59Z"),
    "the year 9999": order_event(event_time="9999-12-31T23:59:59Z"),
    "an upper-case event id": order_event(event_id="0F0C0F5E-6D0B-4C4E-9A58-6D3D8C5F2A10"),
    "64 characters beyond the basic plane": order_event(customer_id="\U0001f600" * 64),
    "a price of 19.99": order_event(items=[order_item(unit_price=19.99)]),
    "the smallest price": order_event(items=[order_item(unit_price=0.01)]),
    "the largest price": order_event(total_price=9999999.99),
    "a whole price": order_event(total_price=3),
    "a version of 1.0": order_event(schema_version=1.0),
    "a quantity of 2.0": order_event(items=[order_item(quantity=2.0)]),
    "version 2 without anything new": order_event(schema_version=2),
    "version 2 from the web": order_event(schema_version=2, channel="web"),
    "version 2 without a channel": order_event(schema_version=2, channel=None),
    "a version of 2.0": order_event(schema_version=2.0, channel="app"),
    "a status change of version 2": status_event(schema_version=2),
    "a channel in version 1, which has none": order_event(channel=["by", "phone"]),
    "a total that is not the sum (the streams validate that)": order_event(total_price=77.0),
}

BAD = {
    "no object": [1],
    "a version of true": order_event(schema_version=True),
    "version 9": order_event(schema_version=9),
    "version 0": order_event(schema_version=0),
    "version 9 of a status change": status_event(schema_version=9),
    "an unknown channel": order_event(schema_version=2, channel="phone"),
    "a channel that is no text": order_event(schema_version=2, channel=["web"]),
    "a channel that is empty": order_event(schema_version=2, channel=""),
    "version as text": order_event(schema_version="1"),
    "an unknown event type": order_event(event_type="order.lost"),
    "an event type of another kind": order_event(event_type=["order.created"]),
    "the order of a status change": order_event(order=status_event()["order"])
    | {"order": status_event()["order"]},
    "no order": order_event(extra={"order": None}),
    "an event id with a character that is no hex digit": order_event(
        event_id="zf0c0f5e-6d0b-4c4e-9a58-6d3d8c5f2a10"
    ),
    "an event id without dashes": order_event(event_id="5f0c0f5e6d0b4c4e9a586d3d8c5f2a10"),
    "an offset in place of Z": order_event(event_time="2024-05-01T10:00:00+00:00"),
    "no time zone": order_event(event_time="2024-05-01T10:00:00"),
    "a space in the time": order_event(event_time="2024-05-01 10:00:00Z"),
    "nanoseconds": order_event(event_time="2024-05-01T10:00:00.123456789Z"),
    "30 February": order_event(created_at="2024-02-30T10:00:00Z"),
    "hour 24": order_event(created_at="2024-02-28T24:00:00Z"),
    "a leap second": order_event(created_at="2016-12-31T23:59:60Z"),
    "the year 0": order_event(created_at="0000-01-01T00:00:00Z"),
    "Arabic digits": order_event(created_at="٢٠٢٤-05-01T10:00:00Z"),
    "a time as a number": order_event(event_time=1714557600),
    "a price as text": order_event(items=[order_item(unit_price="1.25")]),
    "a price of true": order_event(items=[order_item(unit_price=True)]),
    "a price of zero": order_event(total_price=0),
    "a negative price": order_event(total_price=-0.01),
    "a tenth of a cent": order_event(total_price=1.001),
    "ten million": order_event(total_price=10_000_000),
    "quantity zero": order_event(items=[order_item(quantity=0)]),
    "half a piece": order_event(items=[order_item(quantity=0.5)]),
    "too many pieces": order_event(items=[order_item(quantity=100_001)]),
    "quantity true": order_event(items=[order_item(quantity=True)]),
    "no items": order_event(items=[]),
    "items as an object": order_event(items={}),
    "an item that is no object": order_event(items=[order_item(), 3]),
    "an empty id": order_event(customer_id=""),
    "65 characters": order_event(customer_id="x" * 65),
    "a lower-case currency": order_event(currency="usd"),
    "an unknown status": order_event(status="lost"),
    "an unknown new status": status_event(new_status="PENDING"),
    "an unknown payment": order_event(payment_method="card"),
}


@pytest.mark.parametrize("event", GOOD.values(), ids=GOOD.keys())
def test_model_and_schema_both_accept(event: Any) -> None:
    assert verdicts(event) == (True, True)


@pytest.mark.parametrize("event", BAD.values(), ids=BAD.keys())
def test_model_and_schema_both_reject(event: Any) -> None:
    assert verdicts(event) == (False, False)


@pytest.mark.parametrize(
    "name",
    [
        "event_id",
        "event_type",
        "event_time",
        "schema_version",
        "source",
        "order_id",
        "customer_id",
        "branch_id",
        "status",
        "payment_method",
        "currency",
        "total_price",
        "created_at",
        "items",
    ],
)
def test_every_field_of_an_order_event_is_required_by_both(name: str) -> None:
    assert verdicts(order_event(**{name: MISSING})) == (False, False)


@pytest.mark.parametrize("name", ["order_id", "branch_id", "old_status", "new_status"])
def test_every_field_of_a_status_change_is_required_by_both(name: str) -> None:
    assert verdicts(status_event(**{name: MISSING})) == (False, False)


@pytest.mark.parametrize("name", ["product_id", "name", "category", "quantity", "unit_price"])
def test_every_field_of_an_item_is_required_by_both(name: str) -> None:
    assert verdicts(order_event(items=[order_item(**{name: MISSING})])) == (False, False)


@pytest.mark.parametrize(
    "literal",
    [
        "1",
        "1.0",
        "1.10",
        "1.100",
        "1e2",
        "1.5E1",
        "0.010",
        "0.001",
        "1.005",
        "1e-2",
        "1e-3",
        "1E400",
        "1e-400",
        "-1",
        "0",
        "0.0",
        "9999999.99",
        "9999999.991",
        "19.990000000000000001",
        "1e7",
        '"1.0"',
        "null",
        "true",
        "[1]",
    ],
)
def test_both_read_every_spelling_of_a_price_alike(literal: str) -> None:
    body = with_price(literal)
    assert model_accepts(body, "order.created") == schema_accepts(parse(body))


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(0, 200, places=2).map(float), st.text(max_size=70),
    st.sampled_from(["pending", "web", "order.created", "order.status_changed", "USD", [], {}]),
    st.datetimes().map(lambda t: t.isoformat() + "Z"), st.uuids().map(str),
)  # fmt: skip
PATHS = [
    *((name,) for name in order_event()),
    *(("order", name) for name in ("channel", *order_event()["order"], *status_event()["order"])),
    *(("order", "items", 0, name) for name in order_item()),
]


@settings(max_examples=300, deadline=None)
@given(
    base=st.sampled_from([order_event, status_event, partial(order_event, schema_version=2)]),
    changes=st.lists(st.tuples(st.sampled_from(PATHS), SCALARS), min_size=1, max_size=3),
)
def test_whatever_is_put_anywhere_both_agree(base: Any, changes: list[Any]) -> None:
    event = base()
    for path, value in changes:
        home: Any = event
        for part in path[:-1]:
            present = part in home if isinstance(home, dict) else bool(home)
            home = home[part] if isinstance(home, (dict, list)) and present else None
        if isinstance(home, dict):
            home[path[-1]] = value
    model, schema = verdicts(event)
    assert model == schema
