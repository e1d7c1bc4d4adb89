"""Columns of an accepted order event, in the lake and in Postgres.

They derive from the contract, with those that the job adds: `DERIVED`. A field of an order becomes
a column of the same name, with the type in `ARROW_TYPES`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa

from conf.contracts.fields import contract_fields
from conf.contracts.order_event import Item, Order, OrderEvent
from streaming.source import SOURCE_SCHEMA
from streaming.validation.parsing import INSTANT

MONEY = pa.decimal128(12, 2)
ARROW_TYPES: Mapping[str, pa.DataType] = {"instant": INSTANT, "integer": pa.int32(), "money": MONEY}
"""Kind of a field -> type of its column; other kinds are text, but for lists."""
SQL_TYPES: Mapping[pa.DataType, tuple[str, str]] = {
    pa.string(): ("string", "text"),
    pa.int32(): ("int", "integer"),
    pa.date32(): ("date", "date"),
    INSTANT: ("timestamp", "timestamptz"),
    MONEY: ("decimal(12,2)", "numeric(12, 2)"),
}
"""Type of a column -> the same in Spark SQL and in Postgres."""
LINE = pa.struct([(f.name, ARROW_TYPES.get(f.kind, pa.string())) for f in contract_fields(Item)])
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
    "source": (OrderColumn("items_json", pa.string(), lake=False),),
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
    for field in (*first, *contract_fields(Order), source):
        yield from DERIVED.get(field.name, ())
        is_list = field.kind == "list"
        is_body = field not in envelope and field.name not in CARRIED
        yield OrderColumn(
            field.name,
            pa.list_(LINE) if is_list else ARROW_TYPES.get(field.kind, pa.string()),
            body=is_body,
            nullable=is_body,
            staged=field.serving and not is_list,
            comment=field.comment,
        )
    order = "sorts as (event_time, topic, partition, position)"
    yield OrderColumn("version", pa.string(), comment=order)
    for name in ("topic", "partition", "position", "timestamp"):
        yield OrderColumn(name, SOURCE_SCHEMA.field(name).type, nullable=name == "timestamp")


ORDER_COLUMNS = tuple(_order_columns())
"""Every column, in the order of the table `silver.orders`."""
