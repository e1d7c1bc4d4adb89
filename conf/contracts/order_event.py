"""The contract of order events: the one definition of fields, types, limits and versions.

Everything else derives from it: the published JSON Schemas (`order_schema`), the gateway's models,
the parser, the row rules, the columns of `silver.orders` and of the staging table of Postgres. A
new optional field is one line here, with the version that adds it, and a migration that adds its
column to `orders_processed` (`docs/adr/0015`: contracts only grow). Unknown fields are allowed.

The structs are never instantiated: each reader has its own form of them.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct

from conf.contracts.fields import FORMATS, ContractField, contract_fields, field_option

MONEY_LIMIT = 10_000_000
"""Every amount is below it."""
STATUS_CHANGED = "order.status_changed"

Identifier = Annotated[str, Meta(min_length=1, max_length=64)]
EventId = Annotated[str, field_option(format="uuid")]
Instant = Annotated[
    str,
    Meta(pattern=FORMATS["date-time"], description="ISO 8601 in UTC, with a Z."),
    field_option(format="date-time"),
]
Money = Annotated[
    float,
    Meta(
        gt=0,
        le=MONEY_LIMIT - 0.01,
        multiple_of=0.01,
        description="Decimal with two places, in units of the currency.",
    ),
]
Status = Literal["pending", "processing", "completed", "cancelled"]
Payment = Literal["cash", "online"]
Channel = Literal["store", "web", "app"]
FullEventType = Literal["order.created", "order.updated", "order.cancelled"]
EventType = Literal[FullEventType, "order.status_changed"]


class Item(Struct):
    """One line of an order."""

    product_id: Annotated[Identifier, field_option(rule="item_named")]
    name: Annotated[str, Meta(min_length=1, max_length=256), field_option(rule="item_named")]
    category: Annotated[str, Meta(min_length=1, max_length=128), field_option(rule="item_named")]
    quantity: Annotated[int, Meta(ge=1, le=100_000), field_option(rule="item_quantity_positive")]
    unit_price: Annotated[Money, field_option(rule="item_price_money")]


class Order(Struct, kw_only=True):
    """A whole order, as it is after the event."""

    order_id: Identifier
    customer_id: Identifier
    branch_id: Identifier
    status: Status
    payment_method: Payment
    currency: Annotated[
        str,
        Meta(pattern="^[A-Z]{3}$"),
        field_option(rule="currency_code", fault="is no code of three capital letters"),
    ]
    total_price: Money
    created_at: Instant
    channel: Annotated[
        Channel | None,
        Meta(
            description="Where the order was placed: at a till in the store, in the web shop, or in"
            " the app. Left out or null where nobody knows."
        ),
        field_option(since=2, serving=False, comment="store, web or app; null where unknown"),
    ] = None
    items: Annotated[list[Item], Meta(min_length=1, max_length=10_000)]


class StatusChange(Struct):
    """The part of an order that a status change has."""

    order_id: Identifier
    branch_id: Identifier
    old_status: Status
    new_status: Status


class OrderEvent(Struct):
    """One event. `order` is a `StatusChange` for `order.status_changed`, else an `Order`."""

    event_id: EventId
    event_type: EventType
    event_time: Instant
    schema_version: int
    source: Annotated[Identifier, field_option(serving=False)]
    order: Order | StatusChange


STATUSES: tuple[str, ...] = get_args(Status)
EVENT_TYPES: tuple[str, ...] = get_args(EventType)
FULL_EVENT_TYPES: tuple[str, ...] = get_args(FullEventType)
VERSIONS = tuple(range(1, max(field.since for field in contract_fields(Order)) + 1))
"""The versions that gateway and streams accept."""


def event_path(event_type: str) -> str:
    """The part of a path of the gateway that names a type of event: `order-created`."""
    return event_type.replace(".", "-").replace("_", "-")


def order_schema(version: int) -> dict[str, Any]:
    """The JSON Schema of one version, as `order_event.vN.json` publishes it."""
    added = [f"order.{f.name}" for f in contract_fields(Order) if 1 < f.since == version]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:storelake:order-event:{version}",
        "title": f"Order event, version {version}",
        "description": "Value of the order topics; the key is order_id. Unknown fields are allowed "
        "and kept in bronze."
        + (f" Over version {version - 1}: {', '.join(added)}." if added else ""),
        **_object_schema(OrderEvent, version),
        "if": {"properties": {"event_type": {"const": STATUS_CHANGED}}},
        "then": {"properties": {"order": {"$ref": "#/$defs/status_change"}}},
        "else": {"properties": {"order": {"$ref": "#/$defs/order"}}},
        "$defs": {
            name: _object_schema(struct, version)
            for name, struct in (("item", Item), ("order", Order), ("status_change", StatusChange))
        },
    }


def schema_files() -> dict[str, str]:
    """The published JSON Schemas: file name -> text."""
    return {
        f"order_event.v{version}.json": json.dumps(order_schema(version), indent=2) + "\n"
        for version in VERSIONS
    }


def _object_schema(struct: type[Struct], version: int) -> dict[str, Any]:
    fields = [f for f in contract_fields(struct) if f.since <= version]
    properties = {f.name: field_schema(f) for f in fields}
    if "schema_version" in properties:
        properties["schema_version"] = {"const": version}
    required = [f.name for f in fields if f.required]
    return {"type": "object", "required": required, "properties": properties}


_KEYWORDS = {
    "gt": "exclusiveMinimum",
    "ge": "minimum",
    "le": "maximum",
    "multiple_of": "multipleOf",
    "pattern": "pattern",
}
_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "uuid": {"type": "string", "format": "uuid"},
    "instant": {"type": "string", "format": "date-time"},
    "integer": {"type": "integer"},
    "money": {"type": "number"},
    "list": {"type": "array", "items": {"$ref": "#/$defs/item"}},
    "object": {"type": "object"},
}


def field_schema(field: ContractField) -> dict[str, Any]:
    """The JSON Schema of one field, in every version that has it."""
    described = {"description": field.description} if field.description else {}
    if field.kind == "choice":
        return {**described, "enum": [*field.values, *([None] if field.nullable else [])]}
    size = "Items" if field.kind == "list" else "Length"
    words = {**_KEYWORDS, "min_length": f"min{size}", "max_length": f"max{size}"}
    limits = {words[name]: value for name, value in field.limits.items()}
    schema = {**described, **_TYPES[field.kind], **limits}
    return {**schema, "type": [schema["type"], "null"]} if field.nullable else schema
