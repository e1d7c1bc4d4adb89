"""The lake in Delta: guarded appends and keyed upserts, without a catalog and without a JVM.

Delivery guarantee: exactly-once in effect. An append commits, with its rows, a `txn` action
(txnAppId, txnVersion) for every topic partition that it advances; the newest version of each is
part of the table's state, even when old logs are removed. Rows up to there are dropped first, and
of two writers that start from the same state the log rejects the second. An upsert is a MERGE of
absolute values (docs/adr/0022). A commit of a stream also carries the epoch of its lease as a `txn`
action; where the loaded table has a higher one, the commit fails (`FencedError`).

A table is a folder, `<warehouse>/<namespace>/<table>`, with its log: there is no catalog.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError
from typing_extensions import override

from conf.settings import Settings
from streaming.lake.conflicts import retry_on
from streaming.lake.delta.state import DeltaState, read, schema_of
from streaming.lake.delta.tables import exists, find
from streaming.lake.protocol import EVERYTHING, Lake, MissingTableError, Where, require_epoch, shape
from streaming.lake.tables import Table
from streaming.progress import Progress, advance, fresh, from_text, to_text

FIRST_POSITIONS = "storelake.first-positions"
"""A property of the table: the topic partitions that have `txn` actions, each with a position as a
sample of the format; delta-rs returns the version of one txnAppId, and no list of them."""

BATCH_METADATA = "storelake.batch-id"
EPOCH_APP_ID = "storelake.epoch"
"""The txnAppId whose version is the epoch of the lease under which a stream has last written."""

_ZSTD = WriterProperties(compression="ZSTD")

retry_conflicts = retry_on(CommitFailedError)


@dataclass
class DeltaLake(Lake):
    """The tables of a folder of Delta tables."""

    settings: Settings
    epoch: int | None = None
    _tables: dict[str, DeltaTable] = field(default_factory=dict)

    @override
    def another(self, epoch: int | None = None) -> DeltaLake:
        return DeltaLake(self.settings, epoch)

    @override
    def close(self) -> None:
        self._tables.clear()

    def open(self, table: str) -> DeltaTable:
        """A table as it is now, for writers: it reads only what is new in the log.

        Raises:
            LakeError: there is no such table.
        """
        # An incremental update does not notice that the log is gone.
        known = self._tables.pop(table, None)
        if known is not None and exists(self.settings, table):
            known.update_incremental()
        else:
            known = self._load(table)
        self._tables[table] = known
        return known

    def _load(self, table: str) -> DeltaTable:
        found = find(self.settings, table)
        if found is None:
            raise MissingTableError(table)
        return found

    @override
    def state(self, table: str) -> DeltaState | None:
        found = find(self.settings, table)
        return None if found is None else DeltaState(found, self.settings)

    @override
    def read(
        self, table: str, columns: Sequence[str] = ("*",), where: Where = EVERYTHING
    ) -> pa.Table:
        return read(self._load(table), columns, where)

    @override
    def schema(self, table: str) -> pa.Schema:
        return schema_of(self._load(table))

    @override
    def progress(self, table: Table) -> Progress:
        return _progress(self.open(table.name))

    @retry_conflicts
    @override
    def append(self, table: Table, rows: pa.Table, batch_id: int) -> int:
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
            commit_properties=CommitProperties(
                {BATCH_METADATA: str(batch_id)}, 0, moved + self._fence(delta, table)
            ),
        )
        return int(new.num_rows)

    @retry_conflicts
    @override
    def upsert(self, table: Table, rows: pa.Table, time_key: str) -> None:
        if not rows.num_rows:
            return
        delta = self.open(table.name)
        rows = shape(rows, schema_of(delta), table)
        bounds = pc.min_max(rows[time_key]).as_py()
        same_key = [f"old.{name} = new.{name}" for name in table.key]
        # Files of other times are not read.
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
                commit_properties=CommitProperties(None, 0, self._fence(delta, table)),
            )
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .execute()
        )

    def _fence(self, delta: DeltaTable, table: Table) -> list[Transaction]:
        """The `txn` action of this epoch where it is new to the loaded table.

        Raises:
            FencedError: the table has a newer one.
        """
        newest = delta.transaction_version(EPOCH_APP_ID) or 0
        require_epoch(self.epoch, newest, table.name)
        if self.epoch is None or self.epoch == newest:
            return []
        return [Transaction(EPOCH_APP_ID, self.epoch)]

    @override
    def add(self, table: Table, rows: pa.Table) -> None:
        self._write(table, rows, "append")

    @override
    def replace(self, table: Table, rows: pa.Table) -> None:
        self._write(table, rows, "overwrite")

    @override
    def tag(self, table: str, commit_id: int, tag: str) -> None:
        """Delta has no tags."""

    @retry_conflicts
    def _write(self, table: Table, rows: pa.Table, mode: Any) -> None:
        delta = self.open(table.name)
        rows = shape(rows, schema_of(delta), table)
        write_deltalake(delta, rows, mode=mode, writer_properties=_ZSTD)


def _progress(delta: DeltaTable) -> dict[tuple[str, int], str]:
    """The newest position of each topic partition, by the `txn` actions of the table."""
    first = from_text(delta.metadata().configuration.get(FIRST_POSITIONS, "[]"))
    done = {}
    for (topic, number), position in first.items():
        parts = [delta.transaction_version(app_id) for app_id in _app_ids(topic, number, position)]
        if None not in parts:  # else the first append of this partition was cut short
            widths = map(len, position.split(":"))
            done[topic, number] = ":".join(
                f"{part:0{width}d}" for part, width in zip(parts, widths, strict=True)
            )
    return done


def _app_ids(topic: str, number: int, position: str) -> Iterator[str]:
    """One txnAppId for each number in a position: Kafka's has one, Pulsar's four."""
    return (f"{topic}/{number}/{part}" for part in range(position.count(":") + 1))


def _declare_partitions(delta: DeltaTable, after: Progress) -> None:
    """Record new partitions in the table property, in a commit before their first rows."""
    known = from_text(delta.metadata().configuration.get(FIRST_POSITIONS, "[]"))
    if after.keys() - known.keys():
        delta.alter.set_table_properties(
            {FIRST_POSITIONS: to_text({**after, **known})}, raise_if_not_exists=False
        )
