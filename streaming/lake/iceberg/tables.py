"""Creates the namespaces, tables and columns that the Iceberg catalog lacks."""

from __future__ import annotations

import logging
from contextlib import suppress
from urllib.parse import urlsplit

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table as IcebergTable
from pyiceberg.types import IcebergType, ListType, MapType, StructType
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from sqlalchemy.exc import ProgrammingError
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from conf.settings import Settings
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.protocol import LakeError
from streaming.lake.tables import TABLES, Table

SPARK_NAMES = {"long": "bigint", "timestamptz": "timestamp", "timestamp": "timestamp_ntz"}

log = logging.getLogger("storelake.lake")


def create_tables(spark: SparkSession, settings: Settings) -> None:
    """Create the namespaces, tables and columns that are missing; Spark is used only for these.

    Columns are only added: streams with an older declaration keep running (`Lake.append`). A column
    that is no longer declared is kept, with nulls from then on.

    Raises:
        LakeError: a column has another type than declared, or tables lie in another warehouse.
    """
    name = settings.catalog.name
    with open_catalog(settings) as catalog:
        have = present(catalog)
        there = [t for t in TABLES if t.name in have]
        missing = [t for t in TABLES if t.name not in have]
        for table in there:
            _must_be_here(settings, catalog.load_table(table.name))
        for namespace in sorted({t.name.split(".")[0] for t in missing}):
            spark.sql(f"CREATE NAMESPACE IF NOT EXISTS {name}.{namespace}")
        for table in missing:
            spark.sql(table.create_sql(name))
        for table in there:
            _add_columns(spark, catalog, table)


def present(catalog: Catalog) -> set[str]:
    """Names of the tables; none before Spark has created the catalog's own tables in Postgres."""
    with suppress(ProgrammingError):
        spaces = catalog.list_namespaces()
        return {".".join(t) for space in spaces for t in catalog.list_tables(space)}
    return set()


def _must_be_here(settings: Settings, iceberg: IcebergTable) -> None:
    """Fail when the tables are in another warehouse than the settings name."""
    there, here = urlsplit(iceberg.location()), urlsplit(settings.warehouse)
    if settings.catalog.type == "jdbc" and (there.scheme, there.netloc) != (
        here.scheme,
        here.netloc,
    ):
        raise LakeError(
            f"The tables of the catalog {settings.catalog.name} are in {there.scheme}://"
            f"{there.netloc}, and the settings name {settings.warehouse}: set "
            "STORELAKE_PROFILE or STORELAKE_CATALOG__WAREHOUSE back, or start over with "
            "`storelake reset` or another STORELAKE_CATALOG__NAME."
        )


# Another application that starts at the same time may add them first.
@retry(retry=retry_if_exception_type(PySparkException), stop=stop_after_attempt(2), reraise=True)
def _add_columns(spark: SparkSession, catalog: Catalog, table: Table) -> None:
    for name, (has, wants) in other_types(catalog, table).items():
        raise LakeError(
            f"{table.name}.{name} is {has} in the lake and {wants} in this release: stop the "
            "streams, and rewrite the table with `storelake prepare --rewrite-tables`."
        )
    there = {f.name for f in catalog.load_table(table.name).schema().fields}
    if missing := {column.name for column in table.fields} - there:
        spark.sql(table.add_sql(catalog.name, missing))
        log.info("%s has new columns: %s", table.name, ", ".join(sorted(missing)))


def other_types(catalog: Catalog, table: Table) -> dict[str, tuple[str, str]]:
    """Column -> its type in the lake and the declared one, in Spark's DDL, where they differ."""
    there = {f.name: f.field_type for f in catalog.load_table(table.name).schema().fields}
    types = {
        column.name: (_spark_type(there[column.name]), column.type.replace(" ", ""))
        for column in table.fields
        if column.name in there
    }
    return {name: (has, wants) for name, (has, wants) in types.items() if has != wants}


def _spark_type(kind: IcebergType) -> str:
    """An Iceberg type in Spark's DDL, without spaces."""
    if isinstance(kind, StructType):
        return f"struct<{','.join(f'{f.name}:{_spark_type(f.field_type)}' for f in kind.fields)}>"
    if isinstance(kind, ListType):
        return f"array<{_spark_type(kind.element_type)}>"
    if isinstance(kind, MapType):
        return f"map<{_spark_type(kind.key_type)},{_spark_type(kind.value_type)}>"
    name = str(kind).replace(" ", "")
    return SPARK_NAMES.get(name, name)
