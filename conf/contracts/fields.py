"""Read the fields of a contract that is written as msgspec structs.

A struct annotates each field with its JSON type and `msgspec.Meta` constraints. `field_option` adds
what msgspec does not have. Schemas, models, rules and columns derive from the `ContractField`s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

FORMATS: Mapping[str, str] = {
    "uuid": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    "date-time": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z$",
}
"""Format of a text -> its pattern. A time is in UTC, with at most microseconds."""

DECIMAL_PLACES = 4
"""Of a number of the kind `decimal`, at most: no currency of ISO 4217 has more."""

Kind = Literal[
    "text", "uuid", "instant", "choice", "boolean", "integer", "money", "decimal", "list", "object"
]


@dataclass(frozen=True)
class ContractField:
    """One field of a contract.

    Attributes:
        name: in JSON, and of the column that holds it.
        kind: which readers treat alike. `money` and `decimal` are JSON numbers that are read as
            decimals: a positive amount in cents, and any number within its limits.
        required: whether an event must have it.
        nullable: whether it may be null.
        description: for schemas and pages.
        values: the allowed ones of a `choice`.
        limits: names and values of the `msgspec.Meta` constraints.
        since: the contract version that added it.
        rule: id of the row rule that checks it; None: `NAME_present`, `NAME_known` and so on.
        fault: the end of the rule's sentence, where it does not follow from the constraints.
        serving: whether Postgres has a column for it.
        comment: of its column in the lake.
        element: the struct of an element of a `list`.
    """

    name: str
    kind: Kind
    required: bool
    nullable: bool
    description: str
    values: tuple[str, ...]
    limits: Mapping[str, Any]
    since: int = 1
    rule: str | None = None
    fault: str | None = None
    serving: bool = True
    comment: str = ""
    element: type[msgspec.Struct] | None = None

    @property
    def is_number(self) -> bool:
        """Whether readers make it a decimal."""
        return self.kind in ("money", "decimal")


def field_option(**options: Any) -> msgspec.Meta:
    """`since`, `rule`, `fault`, `serving` or `comment` of a `ContractField`, as an annotation."""
    return msgspec.Meta(extra=options)


@cache
def contract_fields(struct: type[msgspec.Struct]) -> tuple[ContractField, ...]:
    """The fields of a struct, in their order."""
    hints = get_type_hints(struct, include_extras=True)
    return tuple(
        _field(f.name, hints[f.name], required=f.required) for f in msgspec.structs.fields(struct)
    )


def _field(name: str, hint: Any, *, required: bool) -> ContractField:
    base, metas, nullable = _unwrap(hint)
    limits = {c: v for m in metas for c in _CONSTRAINTS if (v := getattr(m, c)) is not None}
    options = {n: v for m in metas for n, v in (m.extra or {}).items()}
    described = [m.description for m in metas if m.description]
    return ContractField(
        name,
        _kind(base, options.pop("format", None)),
        required=required,
        nullable=nullable,
        description=described[-1] if described else "",
        values=get_args(base) if get_origin(base) is Literal else (),
        limits=limits,
        element=get_args(base)[0] if get_origin(base) is list else None,
        **options,
    )


_CONSTRAINTS = ("gt", "ge", "le", "multiple_of", "pattern", "min_length", "max_length")


def _unwrap(hint: Any) -> tuple[Any, list[msgspec.Meta], bool]:
    """A type without annotations and null, its annotations, and whether it allows null."""
    if get_origin(hint) is Annotated:
        inner, *metas = get_args(hint)
        base, first, nullable = _unwrap(inner)
        return base, [*first, *metas], nullable
    types = get_args(hint) if get_origin(hint) in (Union, UnionType) else ()
    if NoneType not in types:
        return hint, [], False
    base, metas, _ = _unwrap(next(t for t in types if t is not NoneType))
    return base, metas, True


def _kind(base: Any, text_format: str | None) -> Kind:
    if base is str:
        formats: dict[str | None, Kind] = {"uuid": "uuid", "date-time": "instant"}
        return formats.get(text_format, "text")
    by_origin: dict[Any, Kind] = {Literal: "choice", list: "list"}
    by_type: dict[Any, Kind] = {
        int: "integer",
        float: "money",
        Decimal: "decimal",
        bool: "boolean",
    }
    return by_origin.get(get_origin(base)) or by_type.get(base, "object")
