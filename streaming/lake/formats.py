"""Chooses the table format of the lake by `catalog.format`; no other module reads that setting."""

# ruff: noqa: PLC0415 - a program that only reads loads neither Spark nor what writes
from __future__ import annotations

from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING

from conf.settings import Settings, SettingsError
from conf.storage import hadoop_client
from streaming.lake.protocol import Lake, LakeError

if TYPE_CHECKING:
    from types import ModuleType

    from pyspark.sql import DataFrame, SparkSession

    from streaming.lake.iceberg.purge import Purged
    from streaming.lake.tables import Table


def open_lake(settings: Settings) -> Lake:
    """Open the lake without Spark, for writers on the driver and for readers; close it.

    Raises:
        SettingsError: the database password is missing, a key of the S3, or the package of the
            format.
        StorageError: the warehouse or the catalog does not answer, or denies access.
    """
    from streaming.lake.iceberg.catalog import open_catalog
    from streaming.lake.iceberg.lake import IcebergLake
    from streaming.lake.storage import check_storage

    if settings.catalog.format == "delta":
        check_storage(settings)
        lake: Lake = _delta("lake").DeltaLake(settings)
        return lake
    return IcebergLake(settings, open_catalog(settings))


def create_tables(spark: SparkSession, settings: Settings) -> None:
    """Create missing tables and columns.

    Raises:
        LakeError: a column has another type than declared.
    """
    from streaming.lake.iceberg import tables

    if settings.catalog.format == "delta":
        _delta("tables").create_tables(settings)
    else:
        tables.create_tables(spark, settings)


def rewrite_tables(spark: SparkSession, settings: Settings) -> list[str]:
    """Give tables of an older release the declared types; see `iceberg.retype`.

    Raises:
        LakeError: the lake is in Delta.
    """
    from streaming.lake.iceberg import retype

    require_iceberg(settings, "Rewriting tables")
    return retype.rewrite_tables(spark, settings)


def spark_table(spark: SparkSession, settings: Settings, table: Table) -> DataFrame:
    """A table of the lake as Spark reads it, in parallel."""
    if settings.catalog.format == "delta":
        place: str = _delta("tables").location(settings, table.name)
        reader = spark.read.format("delta")
        if settings.bucket is not None:
            place = place.replace("s3://", "s3a://", 1)
            reader = reader.options(**hadoop_client(settings))
        return reader.load(place)
    return spark.table(f"{settings.catalog.name}.{table.name}")


def purge(lake: Lake, table: Table, time_column: str, before: datetime) -> Purged:
    """Delete the rows older than `before` for good, and prove it on the files.

    Args:
        lake: where the table is.
        table: an append or an upsert.
        time_column: a timestamp in UTC that states how old a row is.
        before: the limit, with a time zone.
    """
    from streaming.lake.iceberg import purge as iceberg
    from streaming.lake.iceberg.lake import IcebergLake

    if isinstance(lake, IcebergLake):
        return iceberg.purge(lake, table, time_column, before)
    purged: Purged = _delta("purge").purge(lake, table, time_column, before)
    return purged


def require_iceberg(settings: Settings, what: str) -> None:
    """Check that the lake is in Iceberg.

    Args:
        settings: of the deployment.
        what: subject of the error message.

    Raises:
        LakeError: it is not.
    """
    if settings.catalog.format != "iceberg":
        raise LakeError(
            f"{what} needs Iceberg, and catalog.format is {settings.catalog.format}; "
            "docs/FORMATS.md describes what differs."
        )


def _delta(module: str) -> ModuleType:
    """Import one of the modules for Delta, whose package is an extra."""
    try:
        return import_module(f"streaming.lake.delta.{module}")
    except ModuleNotFoundError as error:
        raise SettingsError(
            "catalog.format is delta: install storelake[delta], or set it to iceberg"
        ) from error
