"""Order events as pydantic models: the verdict of `conf/contracts/order_event.v*.json`, with paths.

The models judge; they never rebuild an event. What the gateway forwards are the bytes it received,
so unknown fields pass untouched. Models are validated from `json.loads(parse_float=Decimal)`
objects: money never becomes a float.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone
from decimal import Decimal
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

UUID_PATTERN = "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
INSTANT_PATTERN = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$"
_INSTANT = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?Z", re.ASCII)
# Days that every month of every year has. Nearly all events end here, at a tenth of the cost.
_ORDINARY_INSTANT = re.compile(
    r"[1-9]\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?Z",
    re.ASCII,
)
VERSIONS = (1, 2)
_LARGEST_MONEY, _CENT = Decimal("9999999.99"), Decimal("0.01")


def _instant(value: object) -> str:
    """The text of an existing instant; nothing here computes with it."""
    if isinstance(value, str) and _ORDINARY_INSTANT.fullmatch(value):
        return value
    match = _INSTANT.fullmatch(value) if isinstance(value, str) else None
    try:
        if match is None:
            raise ValueError
        *whole, fraction = match.groups()
        micros = int((fraction or "0").ljust(6, "0"))
        year, month, day, hour, minute, second = map(int, whole)
        datetime(year, month, day, hour, minute, second, micros, tzinfo=timezone.utc)
        return match.string
    except ValueError:
        raise PydanticCustomError(
            "instant", "Input should be an existing time in UTC, like 2024-05-01T10:00:00.123Z"
        ) from None


def _money(value: object) -> int | Decimal:
    """A JSON number; text is refused, because the streams would read it as NULL.

    The words are pydantic's own; asking it for each price would take as long as all the rest.
    """
    if not isinstance(value, (int, Decimal)) or isinstance(value, bool):
        raise PydanticCustomError(
            "money_type", "Input should be a number with at most two decimals"
        )
    if value <= 0:
        raise PydanticKnownError("greater_than", {"gt": 0})
    if value > _LARGEST_MONEY:
        raise PydanticKnownError("less_than_equal", {"le": str(_LARGEST_MONEY)})
    if isinstance(value, Decimal) and value.quantize(_CENT) != value:
        raise PydanticKnownError("decimal_max_places", {"decimal_places": 2})
    return value


def _version(value: object) -> int:
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and value in VERSIONS:
        return int(value)
    raise PydanticCustomError("schema_version", "Input should be 1 or 2, the versions known here")


Identifier = Annotated[str, Field(min_length=1, max_length=64)]
EventId = Annotated[str, Field(pattern=UUID_PATTERN, json_schema_extra={"format": "uuid"})]
Instant = Annotated[
    str,
    PlainValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time", "pattern": INSTANT_PATTERN}),
]
Money = Annotated[
    Decimal,
    PlainValidator(_money),
    WithJsonSchema(
        {"type": "number", "exclusiveMinimum": 0, "maximum": 9999999.99, "multipleOf": 0.01}
    ),
]
Version1 = Annotated[int, PlainValidator(_version), WithJsonSchema({"const": 1})]
Version2 = Annotated[int, PlainValidator(_version), WithJsonSchema({"const": 2})]
SchemaVersion = Annotated[int, PlainValidator(_version), WithJsonSchema({"enum": [*VERSIONS]})]
Status = Literal["pending", "processing", "completed", "cancelled"]
FullOrderType = Literal["order.created", "order.updated", "order.cancelled"]


class Wire(BaseModel):
    """Base of every model: no coercion, unknown fields tolerated (they are forwarded as bytes)."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Item(Wire):
    """One line of an order."""

    product_id: Identifier
    name: Annotated[str, Field(min_length=1, max_length=256)]
    category: Annotated[str, Field(min_length=1, max_length=128)]
    quantity: Annotated[int, Field(ge=1, le=100_000)]
    unit_price: Money


class Order(Wire):
    """A whole order, as it stands after the event."""

    order_id: Identifier
    customer_id: Identifier
    branch_id: Identifier
    status: Status
    payment_method: Literal["cash", "online"]
    currency: Annotated[str, Field(pattern="^[A-Z]{3}$")]
    total_price: Money
    created_at: Instant
    items: Annotated[list[Item], Field(min_length=1, max_length=10_000)]


class OrderV2(Order):
    """A whole order of version 2."""

    channel: Literal["store", "web", "app"] | None = None


class StatusChange(Wire):
    """The only part of an order that a status change carries."""

    order_id: Identifier
    branch_id: Identifier
    old_status: Status
    new_status: Status


class Envelope(Wire):
    """What every order event has."""

    event_id: EventId
    event_time: Instant
    schema_version: SchemaVersion
    source: Identifier


class OrderEvent(Envelope):
    """An order was created, updated or cancelled."""

    schema_version: Version1
    event_type: FullOrderType
    order: Order


class OrderEventV2(OrderEvent):
    """An order was created, updated or cancelled; version 2 may say where it was placed."""

    schema_version: Version2
    order: OrderV2


class StatusChangedEvent(Envelope):
    """An order moved from one status to another; the same in both versions."""

    event_type: Literal["order.status_changed"]
    order: StatusChange


AnyEvent: TypeAlias = OrderEvent | StatusChangedEvent
STATUS_CHANGED = "order.status_changed"
EVENT_TYPES = frozenset({"order.created", "order.updated", "order.cancelled", STATUS_CHANGED})


def model_for(declared: object, version: object, accepted: frozenset[str]) -> type[AnyEvent]:
    """The model of a declared type and version.

    For an unknown type it is that of the types `accepted`, for an unknown version that of the
    first: whichever it is, it finds the fault.
    """
    known = isinstance(declared, str) and declared in EVENT_TYPES
    changed = declared == STATUS_CHANGED if known else accepted == {STATUS_CHANGED}
    if changed:
        return StatusChangedEvent
    return OrderEventV2 if version == 2 else OrderEvent
