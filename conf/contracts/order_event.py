"""The contract of order events: the one definition of fields, types, limits and versions.

Everything else derives from it: the published JSON Schemas (`order_schema`), the gateway's models,
the parser, the row rules, the columns of `silver.orders` and of the staging table of Postgres. A
new optional field is one line in `OrderV3`, with the version that adds it, and a migration that
adds its column to `orders_processed` (`docs/adr/0015`: contracts only grow). Unknown fields are
allowed.

Version 3 has what tills send: it adds fields, and allows more in some of the older ones, so its
structs extend those of versions 1 and 2 (`docs/adr/0041`). The structs are never instantiated: each
reader has its own form of them.
"""

# mypy: disable-error-code="assignment"
# A struct of version 3 gives fields of its base other types: it describes, and nothing is one.
from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta, Struct

from conf.contracts.currencies import PLACES
from conf.contracts.fields import FORMATS, ContractField, contract_fields, field_option

MONEY_LIMIT = 10_000_000
"""Every amount of versions 1 and 2 is below it."""
AMOUNT_LIMIT = 1_000_000_000_000
"""Every amount of version 3 is between its negative and it."""
TILLS = 3
"""The version from which on an event has what tills send."""
NEW_FORM = "A form of its own beside the versions before it: it does not only add to them."
"""Comment of the schema of such a version."""
STATUS_CHANGED, RETURNED = "order.status_changed", "order.returned"

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
_V3 = field_option(since=3)
Amount = Annotated[
    Decimal,
    Meta(
        ge=-AMOUNT_LIMIT,
        le=AMOUNT_LIMIT,
        multiple_of=0.0001,
        description="In units of the currency, with at most four places.",
    ),
]
Quantity = Annotated[
    Decimal,
    Meta(
        ge=-1_000_000,
        le=1_000_000,
        multiple_of=0.0001,
        description="Pieces, or a measure in `unit`; negative where goods come back.",
    ),
]
Label = Annotated[str, Meta(min_length=1, max_length=128)]
Status = Literal["pending", "processing", "completed", "cancelled"]
PaymentMethod = Literal["cash", "online"]
PaidBy = Literal[
    "cash", "card", "wallet", "voucher", "gift_card", "bank_transfer", "invoice", "other"
]
MIXED = "mixed"
Channel = Literal["store", "web", "app"]
SalesChannel = Literal["in_store", "web", "app", "phone", "marketplace"]
IN_STORE = "in_store"
LineKind = Literal["product", "gift", "deposit", "fee", "service", "discount"]
CurrencyCode = Literal[tuple(PLACES)]  # type: ignore[valid-type]
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
    payment_method: PaymentMethod
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


class ItemV3(Item, kw_only=True):
    """One line of an order of version 3. Its value is quantity * unit_price - discount."""

    category: Annotated[Label | None, field_option(rule="item_named")] = None
    quantity: Annotated[Quantity, field_option(rule="item_quantity")]
    unit_price: Annotated[
        Amount,
        Meta(description="What a unit costs before `discount`; 0 for a gift."),
        field_option(rule="item_amounts"),
    ]
    kind: Annotated[LineKind | None, Meta(description="A product, where it is left out."), _V3] = (
        None
    )
    unit: Annotated[
        Annotated[str, Meta(min_length=1, max_length=16)] | None,
        Meta(description="Of `quantity`: kg, l, m. Pieces, where it is left out."),
        _V3,
    ] = None
    list_price: Annotated[
        Amount | None,
        Meta(description="Of a unit on the shelf, for reports; no part of the account."),
        field_option(since=3, rule="item_amounts"),
    ] = None
    discount: Annotated[
        Amount | None,
        Meta(description="Taken off the line; negative where goods come back."),
        field_option(since=3, rule="item_amounts"),
    ] = None
    discount_reason: Annotated[Label | None, _V3] = None
    tax: Annotated[
        Amount | None,
        Meta(description="Of the line, part of it or on top: see `order.tax_included`."),
        field_option(since=3, rule="item_amounts"),
    ] = None


class Payment(Struct):
    """A part of what was paid."""

    method: PaidBy
    amount: Annotated[Amount, Meta(description="Negative where money is handed back.")]


class Discount(Struct, kw_only=True):
    """A discount on a whole order."""

    amount: Annotated[Amount, Meta(description="Taken off the order.")]
    reason: Label | None = None


class OrderV3(Order, kw_only=True):
    """A whole order, or a return, of version 3, as it is after the event.

    total_price = the lines - discounts + tax (where it is on top) + shipping + tip + rounding, to
    the smallest unit of the currency. A return (`order.returned`) has an `order_id` of its own,
    negative lines and a negative total; its `created_at` is the time of the return.
    """

    customer_id: Identifier | None = None
    payment_method: Annotated[
        Literal[PaymentMethod, PaidBy, "mixed"] | None,
        Meta(description="Left out: follows from `payments`; `mixed` where they are of several."),
    ] = None
    currency: Annotated[
        CurrencyCode,  # type: ignore[valid-type]
        Meta(description="ISO 4217."),
        field_option(fault="is no currency code of ISO 4217"),
    ]
    total_price: Annotated[
        Amount, Meta(description="What the customer pays; negative where money is handed back.")
    ]
    channel: Annotated[
        SalesChannel | None,
        Meta(description="Where the order was placed. Left out or null where nobody knows."),
        field_option(since=2, comment="in_store, web, app, phone or marketplace; null if unknown"),
    ] = None
    fulfilment_branch_id: Annotated[
        Identifier | None,
        Meta(description="Hands the goods over, where it is not the branch of the sale."),
        field_option(since=3, comment="hands the goods over, if not the branch of the sale"),
    ] = None
    original_order_id: Annotated[
        Identifier | None,
        Meta(description="The order that a return is about, where it is known."),
        field_option(since=3, comment="of a return: the order that it is about"),
    ] = None
    payments: Annotated[
        Annotated[list[Payment], Meta(max_length=100)] | None,
        Meta(description="Add up to the total of a completed order."),
        _V3,
    ] = None
    discounts: Annotated[
        Annotated[list[Discount], Meta(max_length=100)] | None,
        Meta(description="On the whole order; those of a line are in the line."),
        field_option(since=3, serving=False),
    ] = None
    tax_total: Annotated[
        Amount | None,
        Meta(description="Where it is left out, the sum of the lines' tax."),
        _V3,
    ] = None
    tax_included: Annotated[
        bool | None,
        Meta(description="Whether prices hold the tax. Left out: they do."),
        field_option(since=3, serving=False),
    ] = None
    shipping: Annotated[Amount | None, _V3] = None
    tip: Annotated[Amount | None, _V3] = None
    rounding: Annotated[
        Amount | None, Meta(description="Of a total that is paid in cash."), _V3
    ] = None
    items: Annotated[list[ItemV3], Meta(min_length=1, max_length=10_000)]


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


class OrderEventV3(OrderEvent):
    """One event of version 3: a return is one, too."""

    event_type: Literal[EventType, "order.returned"]
    order: OrderV3 | StatusChange


STATUSES: tuple[str, ...] = get_args(Status)
EVENT_TYPES: tuple[str, ...] = (*get_args(EventType), RETURNED)
VERSIONS = tuple(range(1, max(field.since for field in contract_fields(OrderV3)) + 1))
"""The versions that gateway and streams accept."""


def event_struct(version: int) -> type[OrderEvent]:
    """The struct of an event of a version."""
    return OrderEvent if version < TILLS else OrderEventV3


def order_struct(version: int) -> type[Order]:
    """The struct of a whole order of a version."""
    return Order if version < TILLS else OrderV3


def full_event_types(version: int) -> tuple[str, ...]:
    """The types of events with a whole order."""
    full = get_args(FullEventType)
    return full if version < TILLS else (*full, RETURNED)


def event_path(event_type: str) -> str:
    """The part of a path of the gateway that names a type of event: `order-created`."""
    return event_type.replace(".", "-").replace("_", "-")


def order_schema(version: int) -> dict[str, Any]:
    """The JSON Schema of one version, as `order_event.vN.json` publishes it."""
    order: type[Struct] = order_struct(version)
    structs: list[type[Struct]] = [*_elements(order, version), order, StatusChange]
    added = [f"order.{f.name}" for f in contract_fields(order) if 1 < f.since == version]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:storelake:order-event:{version}",
        "title": f"Order event, version {version}",
        **({"$comment": NEW_FORM} if version == TILLS else {}),
        "description": "Value of the order topics; the key is order_id. Unknown fields are allowed "
        "and kept in bronze."
        + (f" Over version {version - 1}: {', '.join(added)}." if added else ""),
        **_object_schema(event_struct(version), version),
        "if": {"properties": {"event_type": {"const": STATUS_CHANGED}}},
        "then": {"properties": {"order": {"$ref": "#/$defs/status_change"}}},
        "else": {"properties": {"order": {"$ref": "#/$defs/order"}}},
        "$defs": {_DEFS[struct]: _object_schema(struct, version) for struct in structs},
    }


_DEFS: Mapping[type[Struct], str] = {
    Item: "item",
    ItemV3: "item",
    Payment: "payment",
    Discount: "discount",
    Order: "order",
    OrderV3: "order",
    StatusChange: "status_change",
}
"""Struct -> its name in a JSON Schema."""


def _elements(order: type[Struct], version: int) -> list[type[Struct]]:
    """The structs of the elements of its lists."""
    return [f.element for f in contract_fields(order) if f.element and f.since <= version]


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
    "decimal": {"type": "number"},
    "boolean": {"type": "boolean"},
    "list": {"type": "array"},
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
    of = {"items": {"$ref": f"#/$defs/{_DEFS[field.element]}"}} if field.element else {}
    schema = {**described, **_TYPES[field.kind], **of, **limits}
    return {**schema, "type": [schema["type"], "null"]} if field.nullable else schema
