"""The lake in Iceberg: guarded appends and keyed upserts.

Delivery guarantee: exactly-once in effect. The snapshot of an append carries the newest source
positions that the table holds; every attempt to append loads the table, drops the rows up to there,
and commits only if nobody has committed since. An upsert writes absolute values by key, so it may
run twice. A commit that conflicts with another one (maintenance, a backfill, a second application)
is tried again on the table as it is then. A commit of a stream also carries the epoch of its lease
as a property of the table; where the loaded table has a higher one, it fails (`FencedError`).

Rows come as Arrow and PyIceberg writes them: for the batches of a stream, a few rows to a few ten
thousand, that costs a quarter of a Spark write (docs/adr/0033). One writer a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction
from typing_extensions import override

from conf.settings import Settings
from streaming.lake.iceberg.commits import (
    PROGRESS_PROPERTY,
    LakeTransaction,
    carried_progress,
    expirable,
    expire_old,
    retry_conflicts,
)
from streaming.lake.iceberg.files import read_files, write_files
from streaming.lake.iceberg.history import VALIDATED, tag_history, tag_validated_history
from streaming.lake.iceberg.replace_files import ReplaceFiles
from streaming.lake.iceberg.state import IcebergState
from streaming.lake.protocol import (
    EVERYTHING,
    Lake,
    LakeError,
    MissingTableError,
    Staged,
    Where,
    require_epoch,
    shape,
)
from streaming.lake.tables import Table
from streaming.progress import Progress, advance, fresh, from_text, spans, to_text

BATCH_PROPERTY = "storelake.batch-id"
EPOCH_PROPERTY = "storelake.epoch"
"""Property of a table: the epoch of the lease under which a stream has last written it."""
EXPIRE_AT = 20
"""Number of snapshots older than `catalog.snapshot_retention` at which a commit also expires them,
after it has tagged those of ended hours and days: each commit writes the metadata of all."""

REWRITTEN_ROWS = 10_000
"""Rows above which an upsert writes rows outside of the range of its own times to a separate file,
which the next upserts do not rewrite."""

ABANDONED = timedelta(minutes=10)
"""Age of staged files before which maintenance and retention surely keep them."""


class StagedFiles(NamedTuple):
    """Data files that no commit names yet, and the time before they were written (UTC)."""

    files: list[DataFile]
    began: datetime


@dataclass
class IcebergLake(Lake):
    """The tables of an Iceberg catalog."""

    settings: Settings
    catalog: Catalog
    """Shared by all lakes of a process: it holds connections."""
    epoch: int | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    """The time by which snapshots are tagged and expire, UTC."""

    @override
    def another(self, epoch: int | None = None) -> IcebergLake:
        return IcebergLake(self.settings, self.catalog, epoch, self.clock)

    @override
    def close(self) -> None:
        self.catalog.close()

    def load(self, table: Table) -> IcebergTable:
        """The table as it is now.

        Raises:
            LakeError: there is no such table.
        """
        return self._known(table.name).iceberg

    @override
    def state(self, table: str) -> IcebergState | None:
        try:
            return IcebergState(self.catalog.load_table(table))
        except NoSuchTableError:
            return None

    @override
    def read(
        self, table: str, columns: Sequence[str] = ("*",), where: Where = EVERYTHING
    ) -> pa.Table:
        iceberg = self._known(table).iceberg
        return iceberg.scan(row_filter=where, selected_fields=tuple(columns)).to_arrow()

    @override
    def schema(self, table: str) -> pa.Schema:
        return self._known(table).schema

    def _known(self, table: str) -> IcebergState:
        state = self.state(table)
        if state is None:
            raise MissingTableError(table)
        return state

    @retry_conflicts
    @override
    def append(self, table: Table, rows: pa.Table, batch_id: int) -> int:
        if not rows.num_rows:
            return 0
        iceberg = self.load(table)
        done = _progress(iceberg)
        new = fresh(rows, done)
        if not new.num_rows:
            return 0
        properties = {
            PROGRESS_PROPERTY: to_text(advance(done, new)),
            BATCH_PROPERTY: str(batch_id),
        }
        with self.transaction(iceberg) as transaction:
            transaction.append(
                shape(new, iceberg.schema().as_arrow(), table), snapshot_properties=properties
            )
        return int(new.num_rows)

    @override
    def stage(self, table: Table, rows: pa.Table) -> Staged:
        """Write data files, which the driver's commit names."""
        iceberg = self.load(table)
        began = self.clock()
        files = write_files(iceberg, shape(rows, iceberg.schema().as_arrow(), table))
        return Staged(rows.num_rows, spans(rows), StagedFiles(files, began))

    @retry_conflicts
    @override
    def append_staged(self, table: Table, staged: Sequence[Staged], batch_id: int) -> int:
        """Files whose rows the table holds are left out; a file with some of them is read again.

        Raises:
            LakeError: maintenance has removed files of a micro-batch that was stopped for long.
        """
        iceberg = self.load(table)
        _require_files(iceberg, staged, self.clock() - ABANDONED)
        done = _progress(iceberg)
        files: list[DataFile] = []
        after, count = dict(done), 0
        for one in staged:
            new = {at: last for at, (_, last) in one.spans.items() if last > done.get(at, "")}
            if not new:
                continue
            if all(first > done.get(at, "") for at, (first, _) in one.spans.items()):
                files, count = [*files, *one.content.files], count + one.rows
            else:
                rows = fresh(read_files(iceberg, one.content.files), done)
                files, count = [*files, *write_files(iceberg, rows)], count + rows.num_rows
            after |= new
        if not files:
            return 0
        properties = {PROGRESS_PROPERTY: to_text(after), BATCH_PROPERTY: str(batch_id)}
        with (
            self.transaction(iceberg) as transaction,
            transaction.update_snapshot(snapshot_properties=properties).fast_append() as snapshot,
        ):
            for file in files:
                snapshot.append_data_file(file)
        return count

    @override
    def progress(self, table: Table) -> Progress:
        return _progress(self.load(table))

    @retry_conflicts
    @override
    def upsert(self, table: Table, rows: pa.Table, time_key: str) -> None:
        """The table must be partitioned by `time_key`."""
        if not rows.num_rows:
            return
        iceberg = self.load(table)
        schema = iceberg.schema().as_arrow()
        rows = shape(rows, schema, table)
        low, high = pc.min_max(rows[time_key]).values()
        found = iceberg.scan(row_filter=_between(time_key, low, high)).plan_files()
        old = [task.file for task in found]
        parts = [rows]
        if old:
            before = read_files(iceberg, old)
            kept = _without_keys(before, rows, table.key)
            parts = [pa.concat_tables([shape(kept, schema, table), rows])]
        if len(parts[0]) > REWRITTEN_ROWS:
            times = parts[0][time_key]
            inside = pc.and_(pc.greater_equal(times, low), pc.less_equal(times, high))
            parts = [parts[0].filter(pc.invert(inside)), parts[0].filter(inside)]
        with self.transaction(iceberg) as change:
            replace_files = ReplaceFiles(change, iceberg.io)
            for file in old:
                replace_files.delete_data_file(file)
            for part in parts:
                for file in write_files(iceberg, part):
                    replace_files.append_data_file(file)
            replace_files.commit()

    @retry_conflicts
    @override
    def add(self, table: Table, rows: pa.Table) -> None:
        iceberg = self.load(table)
        with LakeTransaction(iceberg) as change:
            change.append(shape(rows, iceberg.schema().as_arrow(), table))

    @retry_conflicts
    @override
    def replace(self, table: Table, rows: pa.Table) -> None:
        iceberg = self.load(table)
        rows = shape(rows, iceberg.schema().as_arrow(), table)
        with LakeTransaction(iceberg) as change:
            if iceberg.current_snapshot() is None:
                change.append(rows)
            else:
                change.overwrite(rows)

    @retry_conflicts
    @override
    def tag(self, table: str, commit_id: int, tag: str) -> None:
        iceberg = self.catalog.load_table(table)
        if iceberg.metadata.snapshot_by_id(commit_id) is None:
            return
        ref = iceberg.metadata.refs.get(tag)
        if ref is None or ref.snapshot_id != commit_id:
            refs = iceberg.manage_snapshots()
            if tag == VALIDATED:
                tag_validated_history(refs, iceberg.metadata, self.clock())
            refs.create_tag(commit_id, tag).commit()

    @contextmanager
    def transaction(self, iceberg: IcebergTable) -> Iterator[Transaction]:
        """A commit of a stream, which also expires old snapshots.

        Raises:
            FencedError: the loaded table was written under a newer lease of the stream.
        """
        now = self.clock()
        before = now - self.settings.catalog.snapshot_retention
        newest = int(iceberg.properties.get(EPOCH_PROPERTY, 0))
        require_epoch(self.epoch, newest, ".".join(iceberg.name()))
        with LakeTransaction(iceberg) as transaction:
            if self.epoch is not None and self.epoch > newest:
                transaction.set_properties({EPOCH_PROPERTY: str(self.epoch)})
            if len(expirable(iceberg.metadata, before)) >= EXPIRE_AT:
                tag_history(transaction, now)
                expire_old(transaction, before)
            yield transaction


def _require_files(iceberg: IcebergTable, staged: Sequence[Staged], before: datetime) -> None:
    """Check that nobody has removed staged files as orphans, as of a process that was stopped.

    Raises:
        LakeError: a file is gone; the micro-batch, when it runs again, stages other ones.
    """
    old = (file for one in staged if one.content.began < before for file in one.content.files)
    for file in old:
        if not iceberg.io.new_input(file.file_path).exists():
            raise LakeError(
                f"{'.'.join(iceberg.name())}: {file.file_path} was removed as an orphan before it "
                "was committed, since the micro-batch has taken so long; it runs again"
            )


def _without_keys(before: pa.Table, rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """The rows of `before` with no key of `rows`, by number: a join takes no nested columns."""
    numbers = pa.array(range(before.num_rows), pa.int64())
    numbered = before.select(key).append_column("number", numbers)
    kept = numbered.join(rows.select(key), list(key), join_type="left anti")
    return before.take(kept["number"])


def _progress(iceberg: IcebergTable) -> Progress:
    """The source positions in the snapshots of a loaded table."""
    text = carried_progress(iceberg).get(PROGRESS_PROPERTY)
    return from_text(text) if text else {}


def _between(time_key: str, low: pa.Scalar, high: pa.Scalar) -> BooleanExpression:
    first, last = (moment.as_py().isoformat() for moment in (low, high))
    return And(
        GreaterThanOrEqual(term=time_key, value=first), LessThanOrEqual(term=time_key, value=last)
    )
