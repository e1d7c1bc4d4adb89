"""Order events as pydantic models made from the contract, which find every wrong field.

The models validate and never rebuild an event: the gateway forwards the bytes that it received, so
unknown fields pass untouched. They read objects whose fractions are `Decimal`: money never becomes
a float.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal

from msgspec import Struct
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from conf.contracts import order_event as contract
from conf.contracts.fields import DECIMAL_PLACES, FORMATS, ContractField, contract_fields
from conf.contracts.order_event import EVENT_TYPES, STATUS_CHANGED, VERSIONS, field_schema

_INSTANT = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?Z", re.ASCII)
# Days that every month of every year has. Nearly all events end here, at a tenth of the cost.
_ORDINARY_INSTANT = re.compile(
    r"[1-9]\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])"
    r"T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,6})?Z",
    re.ASCII,
)
_CENT = Decimal("0.01")
_LARGEST_MONEY = contract.MONEY_LIMIT - _CENT


def _instant(value: object) -> str:
    """The text of an existing instant; it is kept as text."""
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
    """A JSON number; text is rejected, because the streams would read it as null.

    The messages are those of pydantic, whose own decimals take as long as all other fields.
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


def _decimal(field: ContractField) -> Callable[[object], int | Decimal]:
    """A reader of a JSON number within the limits of a field."""
    low, high, step = (Decimal(str(field.limits[n])) for n in ("ge", "le", "multiple_of"))

    def read(value: object) -> int | Decimal:
        if not isinstance(value, (int, Decimal)) or isinstance(value, bool):
            raise PydanticCustomError("number_type", "Input should be a number")
        if value < low:
            raise PydanticKnownError("greater_than_equal", {"ge": str(low)})
        if value > high:
            raise PydanticKnownError("less_than_equal", {"le": str(high)})
        if isinstance(value, Decimal) and value % step:
            raise PydanticKnownError("decimal_max_places", {"decimal_places": DECIMAL_PLACES})
        return value

    return read


def _version(value: object) -> int:
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and value in VERSIONS:
        return int(value)
    raise PydanticCustomError(
        "schema_version",
        "Input should be {known}, the versions known here",
        {"known": " or ".join(map(str, VERSIONS))},
    )


class ContractModel(BaseModel):
    """Base of every model: no coercion, unknown fields are allowed."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def _model(
    name: str, struct: type[Struct], version: int = 1, doc: str | None = None, **types: Any
) -> type[ContractModel]:
    """A model of a contract's struct, as of a version; `types` replace those of single fields."""
    fields: dict[str, Any] = {
        f.name: (types.get(f.name) or _type(f), ... if f.required else None)
        for f in contract_fields(struct)
        if f.since <= version
    }
    return create_model(name, __base__=ContractModel, __doc__=doc or struct.__doc__, **fields)


def _type(field: ContractField) -> Any:
    plain = _plain_type(field)
    return plain | None if field.nullable else plain


def _plain_type(field: ContractField) -> Any:
    limits = {name: v for name, v in field.limits.items() if name not in ("gt", "multiple_of")}
    if field.kind == "choice":
        return _long_choice(field) if field.fault else Literal[field.values]
    if field.kind == "uuid":
        pattern, extra = FORMATS["uuid"], dict(field_schema(field))
        return Annotated[str, Field(pattern=pattern, json_schema_extra=extra)]
    if field.kind in ("instant", "money", "decimal"):
        readers = {"instant": _instant, "money": _money}
        read = readers.get(field.kind) or _decimal(field)
        return Annotated[Any, PlainValidator(read), WithJsonSchema(field_schema(field))]
    if field.element:
        element: Any = _element(field.element)
        return Annotated[list[element], Field(**limits)]
    base: Any = {"integer": int, "boolean": bool}.get(field.kind, str)
    return Annotated[base, Field(**limits)]


def _long_choice(field: ContractField) -> Any:
    """A choice of too many values for a message that lists them."""
    known = frozenset(field.values)

    def read(value: object) -> str:
        if isinstance(value, str) and value in known:
            return value
        raise PydanticCustomError("unknown_value", f"Input {field.fault}")

    return Annotated[Any, PlainValidator(read), WithJsonSchema(field_schema(field))]


@cache
def _element(struct: type[Struct]) -> type[ContractModel]:
    """The model of an element of a list."""
    return _model(struct.__name__, struct, VERSIONS[-1])


def _version_type(*versions: int) -> Any:
    schema = {"const": versions[0]} if len(versions) == 1 else {"enum": [*versions]}
    return Annotated[int, PlainValidator(_version), WithJsonSchema(schema)]


def _event_model(version: int) -> type[ContractModel]:
    suffix = f"V{version}" if version > 1 else ""
    returned = ", or goods came back" if version >= contract.TILLS else ""
    return _model(
        f"OrderEvent{suffix}",
        contract.event_struct(version),
        version,
        f"An order was created, updated or cancelled{returned}.",
        schema_version=_version_type(version),
        event_type=Literal[contract.full_event_types(version)],
        order=_model(f"Order{suffix}", contract.order_struct(version), version),
    )


EVENT_MODELS: Mapping[int, type[ContractModel]] = {v: _event_model(v) for v in VERSIONS}
"""Version -> model of an event with a whole order."""
STATUS_MODEL = _model(
    "StatusChangedEvent",
    contract.OrderEvent,
    doc="The status of an order changed.",
    schema_version=_version_type(*VERSIONS),
    event_type=Literal[STATUS_CHANGED],
    order=_model("StatusChange", contract.StatusChange),
)
"""The model of a status change, which is the same in all versions."""


def model_for(declared: object, version: object, accepted: frozenset[str]) -> type[ContractModel]:
    """The model of a declared type and version.

    For an unknown type it is that of the types `accepted`, for an unknown version that of the
    first: either reports the wrong field.
    """
    known = isinstance(declared, str) and declared in EVENT_TYPES
    changed = declared == STATUS_CHANGED if known else accepted == {STATUS_CHANGED}
    if changed:
        return STATUS_MODEL
    return next((m for v, m in EVENT_MODELS.items() if v == version), EVENT_MODELS[VERSIONS[0]])
