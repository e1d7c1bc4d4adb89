"""The lake in Delta: guarded appends and keyed upserts, without a catalog and without a JVM.

Delivery guarantee: exactly-once in effect. An append commits, with its rows, a `txn` action
(txnAppId, txnVersion) for every topic partition that it takes further; the newest version of each
is part of the table's state, whatever becomes of old logs. Rows up to there are dropped first, and
of two writers that start from the same state the log refuses the second. An upsert is a MERGE of
absolute values (docs/adr/0022).

A table is a folder, `<warehouse>/<namespace>/<table>`, and its log is all there is to know of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.schema import Schema
from pyarrow.fs import FileSelector, FileSystem, PyFileSystem
from pyspark.sql.pandas.types import from_arrow_type
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from conf.settings import Settings
from conf.storage import delta_options
from streaming.connectors.delta_state import DeltaState, read, schema_of
from streaming.connectors.lake import EVERYTHING, LakeError, Where, shape
from streaming.ddl import parse_columns, split_top_level
from streaming.progress import Progress, advance, fresh, from_text, to_text
from streaming.tables import TABLES, Table

FIRST_POSITIONS = "storelake.first-positions"
"""A property of the table: which topic partitions have `txn` actions, and what positions look like;
a log can be asked for the version of a txnAppId, but not for all of them."""

BATCH_METADATA = "storelake.batch-id"

LOG_KEPT = "interval 1 hours"
"""How long commits can be told apart, and read as they were; longer than between two runs of the
validation, which else judges the whole table."""

_PRIMITIVES = {"int": "integer", "bigint": "long"}
_ZSTD = WriterProperties(compression="ZSTD")

log = logging.getLogger("storelake.lake")

retry_conflicts = retry(
    retry=retry_if_exception_type(CommitFailedError),
    wait=wait_random_exponential(multiplier=0.05, max=2),
    stop=stop_after_attempt(10),
    reraise=True,
)


def location(settings: Settings, table: str) -> str:
    """Where a table is: a URI."""
    return f"{settings.warehouse.rstrip('/')}/{table.replace('.', '/')}"


def file_system(settings: Settings, table: str) -> FileSystem:
    """The folder of a table."""
    return PyFileSystem(DeltaStorageHandler(location(settings, table), delta_options(settings)))


@dataclass
class DeltaLake:
    """See `Lake`."""

    settings: Settings
    _tables: dict[str, DeltaTable] = field(default_factory=dict)

    def __enter__(self) -> DeltaLake:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def another(self) -> DeltaLake:
        """See `Lake`."""
        return DeltaLake(self.settings)

    def close(self) -> None:
        """See `Lake`."""
        self._tables.clear()

    def open(self, table: str) -> DeltaTable:
        """A table as it is now, for writers: they follow its log, and do not read it anew.

        Raises:
            LakeError: there is no such table.
        """
        if table in self._tables:
            self._tables[table].update_incremental()
        else:
            self._tables[table] = self._load(table)
        return self._tables[table]

    def _load(self, table: str) -> DeltaTable:
        found = _find(self.settings, table)
        if found is None:
            raise LakeError(f"There is no table {table} in the lake.")
        return found

    def state(self, table: str) -> DeltaState | None:
        """See `Lake`."""
        try:
            return DeltaState(self._load(table), self.settings)
        except LakeError:
            return None

    def read(
        self, table: str, columns: Sequence[str] = ("*",), where: Where = EVERYTHING
    ) -> pa.Table:
        """See `Lake`."""
        return read(self._load(table), columns, where)

    def schema(self, table: str) -> pa.Schema:
        """See `Lake`."""
        return schema_of(self._load(table))

    def progress(self, table: Table) -> Progress:
        """See `Lake`."""
        return _progress(self.open(table.name))

    def fresh(self, table: Table, rows: pa.Table) -> pa.Table:
        """See `Lake`."""
        return fresh(rows, self.progress(table))

    @retry_conflicts
    def append(self, table: Table, rows: pa.Table, batch_id: int) -> int:
        """See `Lake`. After a conflict, what is new is asked again."""
        if not rows.num_rows:
            return 0
        delta = self.open(table.name)
        done = _progress(delta)
        new = fresh(rows, done)
        if not new.num_rows:
            return 0
        after = advance(done, new)
        _declare_partitions(delta, after)
        moved = [
            Transaction(app_id, version)
            for (topic, number), position in after.items()
            if done.get((topic, number)) != position
            for app_id, version in zip(
                _app_ids(topic, number, position), map(int, position.split(":")), strict=True
            )
        ]
        write_deltalake(
            delta,
            shape(new, schema_of(delta), table),
            mode="append",
            writer_properties=_ZSTD,
            commit_properties=CommitProperties({BATCH_METADATA: str(batch_id)}, 0, moved),
        )
        return int(new.num_rows)

    @retry_conflicts
    def upsert(self, table: Table, rows: pa.Table, time_key: str) -> None:
        """See `Lake`."""
        if not rows.num_rows:
            return
        delta = self.open(table.name)
        rows = shape(rows, schema_of(delta), table)
        bounds = pc.min_max(rows[time_key]).as_py()
        same_key = [f"old.{name} = new.{name}" for name in table.key]
        # Files of other times need not be read.
        span = [
            f"old.{time_key} >= '{bounds['min'].isoformat()}'",
            f"old.{time_key} <= '{bounds['max'].isoformat()}'",
        ]
        (
            delta.merge(
                rows,
                " AND ".join(same_key + span),
                source_alias="new",
                target_alias="old",
                writer_properties=_ZSTD,
                commit_properties=CommitProperties(max_commit_retries=0),
            )
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .execute()
        )

    def add(self, table: Table, rows: pa.Table) -> None:
        """See `Lake`."""
        self._write(table, rows, "append")

    def replace(self, table: Table, rows: pa.Table) -> None:
        """See `Lake`."""
        self._write(table, rows, "overwrite")

    def tag(self, table: str, commit_id: int, tag: str) -> None:
        """See `Lake`: Delta has no tags."""

    @retry_conflicts
    def _write(self, table: Table, rows: pa.Table, mode: Any) -> None:
        delta = self.open(table.name)
        rows = shape(rows, schema_of(delta), table)
        write_deltalake(delta, rows, mode=mode, writer_properties=_ZSTD)


def _find(settings: Settings, table: str) -> DeltaTable | None:
    where, options = location(settings, table), delta_options(settings)
    if not DeltaTable.is_deltatable(where, options):
        return None
    return DeltaTable(where, storage_options=options)


def _progress(delta: DeltaTable) -> dict[tuple[str, int], str]:
    """The newest position of each topic partition, by the `txn` actions of the table."""
    first = from_text(delta.metadata().configuration.get(FIRST_POSITIONS, "[]"))
    done = {}
    for (topic, number), position in first.items():
        parts = [delta.transaction_version(app_id) for app_id in _app_ids(topic, number, position)]
        if None not in parts:  # else the first append of this partition did not come to its end
            widths = map(len, position.split(":"))
            done[topic, number] = ":".join(
                f"{part:0{width}d}" for part, width in zip(parts, widths, strict=True)
            )
    return done


def _app_ids(topic: str, number: int, position: str) -> Iterator[str]:
    """One txnAppId for each number that a position is made of: Kafka's has one, Pulsar's four."""
    return (f"{topic}/{number}/{part}" for part in range(position.count(":") + 1))


def _declare_partitions(delta: DeltaTable, after: Progress) -> None:
    """Note partitions that are new: a commit of its own, before the first rows of them."""
    known = from_text(delta.metadata().configuration.get(FIRST_POSITIONS, "[]"))
    if after.keys() - known.keys():
        delta.alter.set_table_properties(
            {FIRST_POSITIONS: to_text({**after, **known})}, raise_if_not_exists=False
        )


def create_tables(settings: Settings, tables: Sequence[Table] | None = None) -> None:
    """Make the tables and columns that are missing; of all tables, if it is not said of which.

    Columns are only added: streams that still run with an older declaration go on (`Lake.append`).
    One that is no longer declared stays, with nulls from then on.

    Raises:
        LakeError: a column has another type than declared; the folder has an Iceberg table.
    """
    for table in TABLES if tables is None else tables:
        if (found := _find(settings, table.name)) is not None:
            _add_columns(found, table)
            continue
        _refuse_iceberg(settings, table)
        DeltaTable.create(
            location(settings, table.name),
            Schema.from_json(json.dumps(_struct(table.columns))),
            mode="ignore",  # another application that starts now may have made it
            name=table.name,
            description=table.grain,
            configuration={
                "delta.logRetentionDuration": LOG_KEPT,
                "delta.dataSkippingStatsColumns": ",".join(_judged_by(table)),
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


def _judged_by(table: Table) -> list[str]:
    """The columns that readers look for rows by; Delta keeps bounds of these for every file."""
    hidden = [part.partition("(")[2].rstrip(")") or part for part in table.partition]
    return list(dict.fromkeys([*hidden, table.time_column, *table.key]))


# Another application that starts now may add them first.
@retry(retry=retry_if_exception_type(DeltaError), stop=stop_after_attempt(2), reraise=True)
def _add_columns(delta: DeltaTable, table: Table) -> None:
    delta.update_incremental()
    there = {
        one.name: from_arrow_type(one.type, prefer_timestamp_ntz=True).simpleString()
        for one in schema_of(delta)
    }
    declared = {column.name: column.type.replace(" ", "") for column in table.fields}
    for name in declared.keys() & there.keys():
        if there[name] != declared[name]:
            raise LakeError(
                f"{table.name}.{name} is {there[name]} in the lake and {declared[name]} in "
                "streaming/tables.py: a table only gets new columns, so declare the new type under "
                "a new name."
            )
    if missing := declared.keys() - there.keys():
        fields = Schema.from_json(json.dumps(_struct(table.columns))).fields
        delta.alter.add_columns([one for one in fields if one.name in missing])
        log.info("%s has new columns: %s", table.name, ", ".join(sorted(missing)))


def _struct(ddl: str) -> dict[str, Any]:
    """Columns of Spark's DDL as Delta's log has them.

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
