"""Columns of an accepted order event, in the lake and in Postgres.

They derive from the contract, with those that the job adds: `DERIVED`. A field of an order becomes
a column of the same name, with the type in `ARROW_TYPES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from conf.contracts.fields import ContractField, contract_fields
from conf.contracts.order_event import ItemV3, OrderEvent, OrderV3
from streaming.source import SOURCE_SCHEMA
from streaming.validation.parsing import INSTANT

DECIMAL = pa.decimal128(18, 4)
"""Amounts of every currency of ISO 4217, which have at most four decimals, and quantities."""
ARROW_TYPES: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("money", "decimal"), DECIMAL),
    "instant": INSTANT,
    "boolean": pa.bool_(),
}
"""Kind of a field -> type of its column; other kinds are text, but for lists."""
SQL_TYPES: Mapping[pa.DataType, tuple[str, str]] = {
    pa.string(): ("string", "text"),
    pa.int32(): ("int", "integer"),
    pa.bool_(): ("boolean", "boolean"),
    pa.date32(): ("date", "date"),
    INSTANT: ("timestamp", "timestamptz"),
    DECIMAL: ("decimal(18,4)", "numeric(18, 4)"),
}
"""Type of a column -> the same in Spark SQL and in Postgres."""


def column_type(field: ContractField) -> pa.DataType:
    """The type of the column of a field; a list is one of structs."""
    if not field.element:
        return ARROW_TYPES.get(field.kind, pa.string())
    return pa.list_(pa.struct([(f.name, column_type(f)) for f in contract_fields(field.element)]))


LINE = pa.struct([(f.name, column_type(f)) for f in contract_fields(ItemV3)])
"""One line of an order."""
CARRIED = ("order_id", "branch_id", "status")
"""Fields of an order that a status change also has; the others are the body of the order."""


@dataclass(frozen=True)
class OrderColumn:
    """A column of an order event.

    Attributes:
        name: of the column.
        type: in Arrow; those of Spark SQL and Postgres are in `SQL_TYPES`.
        body: whether it is part of the order's body, whose newest version `orders_processed` has.
        nullable: whether it is null in a status change.
        lake: whether `silver.orders` has it.
        staged: whether Postgres gets it.
        comment: for the table of the lake.
    """

    name: str
    type: pa.DataType
    body: bool = False
    nullable: bool = False
    lake: bool = True
    staged: bool = True
    comment: str = ""

    @property
    def ddl(self) -> str:
        """The column for `CREATE TABLE` of Spark SQL."""
        comment = f" COMMENT '{self.comment}'" if self.comment else ""
        return f"{self.name} {ddl_type(self.type)}{comment}"


_LOCAL = "of created_at, where the branch is"
DERIVED: Mapping[str, tuple[OrderColumn, ...]] = {
    "status": (OrderColumn("region", pa.string(), body=True),),
    "payment_method": (OrderColumn("old_status", pa.string(), lake=False, staged=False),),
    "items": (
        OrderColumn("local_date", pa.date32(), body=True, nullable=True, comment=_LOCAL),
        OrderColumn("local_hour", pa.int32(), body=True, nullable=True),
        OrderColumn("item_count", pa.int32(), body=True, nullable=True),
    ),
    "fulfilment_branch_id": (
        OrderColumn("is_return", pa.bool_(), body=True, nullable=True, comment="order.returned"),
    ),
    "tax_total": (
        OrderColumn("payments_json", pa.string(), lake=False, staged=False),
        OrderColumn(
            "discount_total",
            DECIMAL,
            body=True,
            nullable=True,
            comment="of the lines and of the order",
        ),
    ),
    "source": (
        OrderColumn("items_json", pa.string(), lake=False),
        OrderColumn("schema_version", pa.int32(), body=True, nullable=True),
    ),
}
"""Column of the contract -> columns that the job adds in front of it."""


def ddl_type(kind: pa.DataType) -> str:
    """The type of a column in Spark SQL."""
    if not pa.types.is_list(kind):
        return SQL_TYPES[kind][0]
    parts = ", ".join(f"{field.name}: {ddl_type(field.type)}" for field in kind.value_type)
    return f"array<struct<{parts}>>"


def _order_columns() -> Iterator[OrderColumn]:
    envelope = [f for f in contract_fields(OrderEvent) if f.kind not in ("integer", "object")]
    *first, source = envelope
    for field in (*first, *contract_fields(OrderV3), source):
        yield from DERIVED.get(field.name, ())
        is_body = field not in envelope and field.name not in CARRIED
        yield OrderColumn(
            field.name,
            column_type(field),
            body=is_body,
            nullable=is_body,
            staged=field.serving and not field.element,
            comment=field.comment,
        )
    order = "sorts as (event_time, rank of event_type, topic, partition, position)"
    yield OrderColumn("version", pa.string(), comment=order)
    for name in ("topic", "partition", "position", "timestamp"):
        yield OrderColumn(name, SOURCE_SCHEMA.field(name).type, nullable=name == "timestamp")


ORDER_COLUMNS = tuple(_order_columns())
"""Every column, in the order of the table `silver.orders`."""
