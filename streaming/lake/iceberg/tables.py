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
        have = _present(catalog)
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


def _present(catalog: Catalog) -> set[str]:
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
    there = {f.name: f.field_type for f in catalog.load_table(table.name).schema().fields}
    declared = {column.name: column.type for column in table.fields}
    for name in declared.keys() & there.keys():
        has, wants = _spark_type(there[name]), declared[name].replace(" ", "")
        if has != wants:
            raise LakeError(
                f"{table.name}.{name} is {has} in the lake and {wants} in "
                "streaming/lake/tables.py: a table only gets new columns, so declare the new "
                "type under a new name."
            )
    if missing := declared.keys() - there.keys():
        spark.sql(table.add_sql(catalog.name, missing))
        log.info("%s has new columns: %s", table.name, ", ".join(sorted(missing)))


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
