"""Creates the analysts' views in the catalog of Iceberg, through Spark."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence

import sqlglot
from py4j.protocol import Py4JError, Py4JJavaError
from pyiceberg.exceptions import NoSuchNamespaceError
from pyspark.sql import SparkSession
from sqlglot import exp
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from conf.settings import Settings
from conf.stores import load_stores
from streaming.lake.dialects import DIALECT, in_dialect
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.views import NAMESPACE, LakeView, views
from streaming.runtime.jvm import java

SHARED_DIALECTS = ("spark", "trino")  # of the engines that find views in the catalog
FINGERPRINT = "storelake.views"

log = logging.getLogger("storelake.lake")


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
