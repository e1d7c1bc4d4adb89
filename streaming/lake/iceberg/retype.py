"""Rewrites tables of the lake whose columns have other types than declared, after an upgrade."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import cast

from pyiceberg.catalog import Catalog
from pyspark.sql import SparkSession
from pyspark.sql.types import ArrayType, DataType, StructType

from conf.settings import Settings
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.iceberg.commits import carried_progress
from streaming.lake.iceberg.tables import other_types, present
from streaming.lake.tables import TABLES, Table

log = logging.getLogger("storelake.lake")


def rewrite_tables(spark: SparkSession, settings: Settings) -> list[str]:
    """Give every table the types that are declared; streams must not run meanwhile.

    A replica of a Postgres table is created again, empty, and its stream fills it. Any other table
    is rewritten in one commit, which keeps its rows and the positions of its stream. Older
    snapshots and tags end with it: the next validation reads the whole table.

    Returns:
        The names of the tables that were rewritten.
    """
    with open_catalog(settings) as catalog:
        known = present(catalog)
        changed = [t for t in TABLES if t.name in known and other_types(catalog, t)]
        for table in changed:
            log.info("%s gets the types of this release.", table.name)
            if table.copy_of:
                spark.sql(f"DROP TABLE {settings.catalog.name}.{table.name} PURGE")
                spark.sql(table.create_sql(settings.catalog.name))
            else:
                _rewrite(spark, catalog, table)
    return [table.name for table in changed]


def _rewrite(spark: SparkSession, catalog: Catalog, table: Table) -> None:
    positions = carried_progress(catalog.load_table(table.name))
    name = f"{catalog.name}.{table.name}"
    there = spark.table(name).schema
    declared = cast(StructType, StructType.fromDDL(table.columns))
    columns = ", ".join(
        f"{_cast(f.name, there[f.name].dataType if f.name in there.names else None, f.dataType)}"
        f" AS {f.name}"
        for f in declared
    )
    # S608: names come from this repository, not from input.
    create = table.create_sql(catalog.name).replace("CREATE TABLE IF NOT EXISTS", "REPLACE TABLE")
    create = create.replace(f" ({table.columns})", "", 1)
    spark.sql(f"{create} AS SELECT {columns} FROM {name}")  # noqa: S608
    rewritten = catalog.load_table(table.name)
    rewritten.append(rewritten.schema().as_arrow().empty_table(), snapshot_properties=positions)


def _cast(value: str, has: DataType | None, wants: DataType) -> str:
    """SQL of a value in another type; null for a part that the value lacks."""
    if has == wants:
        return value
    if isinstance(has, ArrayType) and isinstance(wants, ArrayType):
        return f"transform({value}, e -> {_cast('e', has.elementType, wants.elementType)})"
    if isinstance(has, StructType) and isinstance(wants, StructType):
        parts = _parts(value, has, wants)
        return f"named_struct({', '.join(parts)})"
    return f"CAST({value if has else 'NULL'} AS {wants.simpleString()})"


def _parts(value: str, has: StructType, wants: StructType) -> Iterable[str]:
    for field in wants:
        there = has[field.name].dataType if field.name in has.names else None
        yield f"'{field.name}', {_cast(f'{value}.{field.name}', there, field.dataType)}"
