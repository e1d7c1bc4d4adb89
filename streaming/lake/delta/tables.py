"""Tables of the lake in Delta: their location, creation and new columns."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.schema import Schema
from pyarrow.fs import FileSelector, FileSystem, PyFileSystem
from pyspark.sql.pandas.types import from_arrow_type
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from conf.settings import Settings
from conf.storage import delta_options
from streaming.lake.ddl import parse_columns, split_top_level
from streaming.lake.delta.state import schema_of
from streaming.lake.protocol import LakeError
from streaming.lake.tables import TABLES, Table

LOG_KEPT = "interval 1 hours"
"""How long older versions can be read; longer than between two runs of the validation, which would
otherwise validate the whole table."""

_PRIMITIVES = {"int": "integer", "bigint": "long"}
log = logging.getLogger("storelake.lake")


def location(settings: Settings, table: str) -> str:
    """URI of a table."""
    return f"{settings.warehouse.rstrip('/')}/{table.replace('.', '/')}"


def file_system(settings: Settings, table: str) -> FileSystem:
    """The folder of a table."""
    return PyFileSystem(DeltaStorageHandler(location(settings, table), delta_options(settings)))


def exists(settings: Settings, table: str) -> bool:
    """Whether there is such a table."""
    return DeltaTable.is_deltatable(location(settings, table), delta_options(settings))


def find(settings: Settings, table: str) -> DeltaTable | None:
    """A table as it is now; None when there is no such table."""
    if not exists(settings, table):
        return None
    return DeltaTable(location(settings, table), storage_options=delta_options(settings))


def create_tables(settings: Settings, tables: Sequence[Table] | None = None) -> None:
    """Create missing tables and columns.

    Columns are only added: streams with an older declaration keep running (`Lake.append`). A column
    that is no longer declared is kept, with nulls from then on.

    Args:
        settings: of the deployment.
        tables: by default all.

    Raises:
        LakeError: a column has another type than declared; the folder has an Iceberg table.
    """
    for table in TABLES if tables is None else tables:
        _make(settings, table)


# Another application that starts now may come first.
@retry(retry=retry_if_exception_type(DeltaError), stop=stop_after_attempt(2), reraise=True)
def _make(settings: Settings, table: Table) -> None:
    if (found := find(settings, table.name)) is not None:
        _add_columns(found, table)
        return
    _refuse_iceberg(settings, table)
    DeltaTable.create(
        location(settings, table.name),
        Schema.from_json(json.dumps(_struct(table.columns))),
        name=table.name,
        description=table.grain,
        configuration={
            "delta.logRetentionDuration": LOG_KEPT,
            "delta.dataSkippingStatsColumns": ",".join(_validated_by(table)),
        },
        storage_options=delta_options(settings),
    )


def _refuse_iceberg(settings: Settings, table: Table) -> None:
    where = location(settings, table.name)
    metadata = FileSelector("metadata", allow_not_found=True)
    try:
        found = file_system(settings, table.name).get_file_info(metadata)
    except TableNotFoundError:  # nor is there a folder
        return
    if found:
        raise LakeError(
            f"{where} holds {table.name} as an Iceberg table: give Delta a warehouse of its own "
            "(catalog.warehouse), or leave catalog.format at iceberg."
        )


def _validated_by(table: Table) -> list[str]:
    """The columns that readers filter by; Delta keeps their bounds for every file."""
    hidden = [part.partition("(")[2].rstrip(")") or part for part in table.partition]
    return list(dict.fromkeys([*hidden, table.time_column, *table.key]))


def _add_columns(delta: DeltaTable, table: Table) -> None:
    there = {
        one.name: from_arrow_type(one.type, prefer_timestamp_ntz=True).simpleString()
        for one in schema_of(delta)
    }
    declared = {column.name: column.type.replace(" ", "") for column in table.fields}
    for name in declared.keys() & there.keys():
        if there[name] != declared[name]:
            raise LakeError(
                f"{table.name}.{name} is {there[name]} in the lake and {declared[name]} in "
                "streaming/lake/tables.py: a table only gets new columns, so declare the new type "
                "under a new name."
            )
    if missing := declared.keys() - there.keys():
        fields = Schema.from_json(json.dumps(_struct(table.columns))).fields
        delta.alter.add_columns([one for one in fields if one.name in missing])
        log.info("%s has new columns: %s", table.name, ", ".join(sorted(missing)))


def _struct(ddl: str) -> dict[str, Any]:
    """Columns of Spark's DDL in the format of Delta's log.

    https://github.com/delta-io/delta/blob/master/PROTOCOL.md#schema-serialization-format
    """
    fields = [
        {
            "name": column.name,
            "type": _type(column.type),
            "nullable": True,
            "metadata": {"comment": column.comment} if column.comment else {},
        }
        for column in parse_columns(ddl)
    ]
    return {"type": "struct", "fields": fields}


def _type(ddl: str) -> Any:
    kind, _, inner = ddl.replace(" ", "").partition("<")
    inner = inner[:-1]
    if kind == "array":
        return {"type": "array", "elementType": _type(inner), "containsNull": True}
    if kind == "map":
        key, value = split_top_level(inner)
        return {
            "type": "map",
            "keyType": _type(key),
            "valueType": _type(value),
            "valueContainsNull": True,
        }
    if kind == "struct":
        return _struct(inner.replace(":", " "))
    return _PRIMITIVES.get(kind, kind)
