"""Views for analysts: validated rows, with times in the time zone of the branch.

One query per view, in Trino's SQL; sqlglot translates it to Spark's and DuckDB's. The catalog
stores Iceberg views in Spark's and Trino's SQL; for DuckDB, which reads no catalog, this module
provides them (docs/adr/0019). A view reads a table at its tag `validated`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlglot
from py4j.protocol import Py4JError, Py4JJavaError
from pyiceberg.exceptions import NoSuchNamespaceError
from pyspark.sql import SparkSession
from sqlglot import exp
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from conf.settings import Settings
from conf.stores import Stores, load_stores
from streaming.lake.dialects import DIALECT, in_dialect
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.tables import SILVER_ORDERS, TABLES, Table
from streaming.runtime.jvm import java
from streaming.transforms.newest_orders import SALE
from streaming.transforms.order_columns import LINE, ORDER_COLUMNS

NAMESPACE = "analyst"
TAG = "validated"
SHARED_DIALECTS = ("spark", "trino")  # of the engines that find views in the catalog
FINGERPRINT = "storelake.views"

log = logging.getLogger("storelake.lake")


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


def create_views(spark: SparkSession, settings: Settings) -> None:
    """Create the views, and replace them when a query has changed; `catalog.views` disables them.

    A property of the namespace has the fingerprint of all queries, so a start that changes nothing
    reads only that. Delta has no catalog for them.
    """
    if not settings.catalog.views or settings.catalog.format != "iceberg":
        return
    wanted = views(load_stores(settings.stores_file))
    texts = json.dumps([[view.name, view.sql] for view in wanted])
    fingerprint = hashlib.sha256(texts.encode()).hexdigest()
    if _fingerprint(settings) == fingerprint:
        return
    try:
        _create_all(spark, settings, wanted)
    except Py4JJavaError as error:
        if "UnsupportedOperationException" not in str(error.java_exception):
            raise
        log.warning("The catalog does not support views: only DuckDB has %s.", NAMESPACE)
        return
    name = f"{settings.catalog.name}.{NAMESPACE}"
    spark.sql(f"ALTER NAMESPACE {name} SET PROPERTIES ('{FINGERPRINT}' = '{fingerprint}')")


def _fingerprint(settings: Settings) -> str | None:
    with open_catalog(settings) as catalog:
        try:
            return dict(catalog.load_namespace_properties(NAMESPACE)).get(FINGERPRINT)
        except NoSuchNamespaceError:
            return None


# Another application may create them at the same time.
@retry(retry=retry_if_exception_type(Py4JError), stop=stop_after_attempt(3), reraise=True)
def _create_all(spark: SparkSession, settings: Settings, wanted: Sequence[LakeView]) -> None:
    """Use Iceberg's view builder: an engine's CREATE VIEW only writes its own dialect."""
    name = settings.catalog.name
    spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {name}.{NAMESPACE}")
    jvm = java(spark)
    session = jvm.org.apache.spark.sql.classic.SparkSession.active()
    catalog = session.sessionState().catalogManager().catalog(name).icebergCatalog()
    for view, query, plain in _parsed(wanted):
        rows = spark.sql(in_dialect(_qualified(plain, name), "spark"))
        schema = jvm.org.apache.spark.sql.types.DataType.fromJson(rows.schema.json())
        identifier = jvm.org.apache.iceberg.catalog.TableIdentifier.parse(view.full_name)
        builder = (
            catalog.buildView(identifier)
            .withSchema(jvm.org.apache.iceberg.spark.SparkSchemaUtil.convert(schema))
            .withDefaultCatalog(name)
            .withDefaultNamespace(identifier.namespace())
            .withProperty("comment", view.grain)
        )
        for dialect in SHARED_DIALECTS:
            builder = builder.withQuery(dialect, in_dialect(_qualified(query, name), dialect))
        builder.createOrReplace()


def _parsed(
    wanted: Sequence[LakeView],
) -> Iterator[tuple[LakeView, exp.Expr, exp.Expr]]:
    """Each view, its query, and a query with the same columns that needs no tag and no view."""
    bare: dict[str, exp.Query] = {}
    for view in wanted:
        query = sqlglot.parse_one(view.sql, read=DIALECT)
        plain = exp.expand(query.copy(), dict(bare), dialect=DIALECT)
        for table in plain.find_all(exp.Table):
            table.set("version", None)
        assert isinstance(plain, exp.Query)  # noqa: S101 (views are queries)
        bare[view.full_name] = plain
        yield view, query, plain


def _qualified(query: exp.Expr, catalog: str) -> exp.Expr:
    """The query with the catalog before each table of the lake."""
    named = query.copy()
    for table in named.find_all(exp.Table):
        if table.db:
            table.set("catalog", exp.to_identifier(catalog))
    return named


def by_name(stores: Stores) -> Mapping[str, LakeView]:
    """The views by their names in queries."""
    return {view.full_name: view for view in views(stores)}
