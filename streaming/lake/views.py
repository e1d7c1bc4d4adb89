"""Views for analysts: validated rows, with times in the time zone of the branch.

One query per view, in Trino's SQL; sqlglot translates it to Spark's and DuckDB's. The catalog
stores Iceberg views in Spark's and Trino's SQL; for DuckDB, which reads no catalog, this module
provides them (docs/adr/0019). A view reads a table at its tag `validated`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conf.stores import Stores
from streaming.lake.tables import SILVER_ORDERS, TABLES, Table
from streaming.transforms.newest_orders import SALE
from streaming.transforms.order_columns import LINE, ORDER_COLUMNS

NAMESPACE = "analyst"
TAG = "validated"


@dataclass(frozen=True)
class LakeView:
    """One view.

    Attributes:
        name: in the namespace `analyst`.
        grain: what one row is.
        sql: its query, in Trino's SQL; tables of the lake as `namespace.table`.
    """

    name: str
    grain: str
    sql: str

    @property
    def full_name(self) -> str:
        """Its name in queries."""
        return f"{NAMESPACE}.{self.name}"


def views(stores: Stores) -> list[LakeView]:
    """All views; one that reads another comes after it.

    Args:
        stores: the time zone of each branch.
    """
    plain = [t for t in TABLES if t.name.startswith(("silver.", "gold.")) and t != SILVER_ORDERS]
    return [_orders(stores), _order_lines(), *(_plain(table, stores) for table in plain)]


def _plain(table: Table, stores: Stores) -> LakeView:
    columns = [column.name for column in table.fields]
    types = {column.name: column.type for column in table.fields}
    wanted = [*columns]
    if types[table.time_column] == "timestamp" and "timestamp_ntz" not in types.values():
        wanted.append(f"{_clock(table.time_column, stores)} AS {table.time_column}_local")
    where = " WHERE NOT withdrawn" if "withdrawn" in columns else ""
    # S608: names come from this repository, not from input.
    sql = f"SELECT {', '.join(wanted)} FROM {table.name} FOR VERSION AS OF '{TAG}'{where}"  # noqa: S608
    return LakeView(table.name.partition(".")[2], table.grain, sql)


def _orders(stores: Stores) -> LakeView:
    """As in orders_processed: the newest status and body, and the sale of the oldest body."""
    body = [column.name for column in ORDER_COLUMNS if column.body and column.lake]
    fulfilment = "COALESCE(body.{0}, NULLIF(newest.branch_id, sale.branch_id)) AS {0}"
    fields = ", ".join(
        fulfilment.format(name)
        if name == "fulfilment_branch_id"
        else f"{'sale' if name in SALE else 'body'}.{name}"
        for name in body
    )
    # Only keys and statuses are grouped, then the body is fetched: items are wide. MAX finds the
    # newest event_time, too, since versions sort by it first.
    # S608: names come from this repository, not from input.
    rows = f"{SILVER_ORDERS.name} FOR VERSION AS OF '{TAG}'"
    sql = f"""
        WITH newest AS (
            SELECT order_id, MAX_BY(branch_id, version) AS branch_id,
                MAX_BY(status, version) AS status, MAX(event_time) AS last_event_at,
                MAX(CASE WHEN created_at IS NOT NULL THEN version END) AS body_version,
                MIN(CASE WHEN created_at IS NOT NULL THEN version END) AS sale_version
            FROM {rows} GROUP BY order_id)
        SELECT newest.order_id, sale.branch_id, newest.status, newest.last_event_at, {fields},
            {_clock("sale.created_at", stores, "sale.branch_id")} AS created_at_local
        FROM newest JOIN {rows} AS body
            ON body.order_id = newest.order_id AND body.version = newest.body_version
        JOIN {rows} AS sale
            ON sale.order_id = newest.order_id AND sale.version = newest.sale_version"""  # noqa: S608
    return LakeView("orders", "one order in its newest version", sql)


def _order_lines() -> LakeView:
    fields = ", ".join(f"ELEMENT_AT(o.items, t.line).{f.name} AS {f.name}" for f in LINE)
    # S608: names come from this repository, not from input.
    sql = f"""
        SELECT o.order_id, o.branch_id, o.customer_id, o.status, o.currency, o.is_return,
            o.created_at, o.created_at_local,
            CAST(t.line AS BIGINT) AS line, {fields}
        FROM {NAMESPACE}.orders AS o
        CROSS JOIN UNNEST(SEQUENCE(1, CARDINALITY(o.items))) AS t(line)"""  # noqa: S608
    return LakeView("order_lines", "one line of the newest version of one order", sql)


def _clock(column: str, stores: Stores, branch: str = "branch_id") -> str:
    """SQL of the local time of the branch at an instant, a timestamp without a time zone."""
    zones = " ".join(
        f"WHEN '{b.branch_id}' THEN CAST({column} AT TIME ZONE '{b.timezone}' AS TIMESTAMP(6))"
        for b in stores.branches
    )
    return f"CASE {branch} {zones} END"


def by_name(stores: Stores) -> Mapping[str, LakeView]:
    """The views by their names in queries."""
    return {view.full_name: view for view in views(stores)}
