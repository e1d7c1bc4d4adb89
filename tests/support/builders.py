"""Builders of contract events with full defaults: a test names only what it is about.

Every builder returns a plain, fresh `dict` of the contract, ready for `as_json`. A keyword that is
a field of the event, of its `order` (or `image`, `runtime`) lands where the contract has it;
`MISSING` removes a field; an unknown keyword raises, so that a typo cannot pass for a default.
Unknown fields of the outside world go in through `extra={...}`.

    order_event(total_price=-1)                       # order.total_price, the rest is valid
    order_event(items=[order_item(quantity=0)])       # the total follows the items
    order_event(event_type="order.cancelled", status="cancelled")
    order_event(customer_id=MISSING, extra={"till": 7})
    order_event(schema_version=2, channel="web")
    order_event(schema_version=3, payments=[{"method": "card", "amount": 2.5}])
    status_event(order_id="O-7", old_status="pending", new_status="completed")
    detection_event(detections=[detection(track_id="7")], frame_index=3)
"""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID, uuid5

from conf.contracts.fields import contract_fields
from conf.contracts.order_event import TILLS, ItemV3, OrderV3

MISSING: Any = object()
_ADDED_TO_ITEMS = [f.name for f in contract_fields(ItemV3) if f.since == TILLS]
_ADDED = [f.name for f in contract_fields(OrderV3) if f.since == TILLS]
NAMESPACE = UUID("5f0c0f5e-6d0b-4c4e-9a58-6d3d8c5f2a10")
_numbers = count(1)


def event_id(name: object = None) -> str:
    """A UUID: the same for the same name, a new one in this process without a name."""
    return str(uuid5(NAMESPACE, f"test-{next(_numbers)}" if name is None else str(name)))


def as_json(event: Any) -> bytes:
    """The event as the value of a message (compact, UTF-8)."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()


def order_item(**overrides: Any) -> dict[str, Any]:
    """One line of an order: 2 x 1.25."""
    item = {
        "product_id": "P-1",
        "name": "WHOLE MILK",
        "category": "GROCERY",
        "quantity": 2,
        "unit_price": 1.25,
        **dict.fromkeys(_ADDED_TO_ITEMS, MISSING),
    }
    return _with(item, overrides)


def order_event(**overrides: Any) -> dict[str, Any]:
    """A valid `order.created` of branch B01: one pending order of 2.50 USD, paid in cash."""
    items = overrides.pop("items", None)
    items = [order_item()] if items is None else items
    order = {
        "order_id": "O-1",
        "customer_id": "C-1",
        "branch_id": "B01",
        "status": "pending",
        "payment_method": "cash",
        "currency": "USD",
        "total_price": _total(items),
        "created_at": "2024-05-01T10:00:00Z",
        "channel": MISSING,  # a field of version 2
        **dict.fromkeys(_ADDED, MISSING),
        "items": items,
    }
    return _event({"event_type": "order.created", "order": order}, overrides)


def status_event(**overrides: Any) -> dict[str, Any]:
    """A valid `order.status_changed` of branch B01: pending to processing."""
    order = {
        "order_id": "O-1",
        "branch_id": "B01",
        "old_status": "pending",
        "new_status": "processing",
    }
    return _event({"event_type": "order.status_changed", "order": order}, overrides)


def detection(**overrides: Any) -> dict[str, Any]:
    """One person in the middle of the picture."""
    box = {"track_id": "1", "class": "person", "confidence": 0.9, "bbox": [0.45, 0.4, 0.55, 0.8]}
    return _with(box, overrides)


def detection_event(**overrides: Any) -> dict[str, Any]:
    """A valid detection event of one frame of camera B01-entrance that sees one person."""
    event = {
        "event_id": event_id(),
        "schema_version": 1,
        "branch_id": "B01",
        "camera_id": "B01-entrance",
        "run_id": "run-1",
        "frame_index": 0,
        "captured_at": "2024-05-01T10:00:00.000Z",
        "image": {"width": 768, "height": 576},
        "detections": [detection()],
        "runtime": {
            "detector": "motion",
            "model": "mog2",
            "tracker": "bytetrack",
            "device": "cpu",
            "inference_ms": 5.0,
        },
    }
    return _with(event, overrides, inner=("image", "runtime"))


def _event(body: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    event = {
        "event_id": event_id(),
        "event_type": body["event_type"],
        "event_time": "2024-05-01T10:00:00Z",
        "schema_version": 1,
        "source": "pos-B01",
        "order": body["order"],
    }
    return _with(event, overrides, inner=("order",))


def _total(items: Any) -> Any:
    """The sum of the lines, exact to the cent; 1.0 where a test broke the lines on purpose."""
    try:
        return float(sum(i["quantity"] * Decimal(str(i["unit_price"])) for i in items)) or 1.0
    except (ArithmeticError, KeyError, TypeError, ValueError):
        return 1.0


def _with(
    body: dict[str, Any], overrides: dict[str, Any], inner: tuple[str, ...] = ()
) -> dict[str, Any]:
    extra = overrides.pop("extra", {})
    for name, value in overrides.items():
        homes = [body, *(body[i] for i in inner if isinstance(body[i], dict))]
        home = next((h for h in homes if name in h), body)
        if name not in home:
            raise TypeError(f"{name!r} is no field of this event; use extra={{...}} for a new one")
        if name in inner and isinstance(value, dict):
            body[name] = {**body[name], **value}
        else:
            home[name] = value
    cleaned = _without_missing(body)
    return {**cleaned, **extra}


def _without_missing(body: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _without_missing(value) if isinstance(value, dict) else value
        for name, value in body.items()
        if value is not MISSING
    }
