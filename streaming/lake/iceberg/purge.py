"""Deletes rows permanently from a table, its history and its files, and verifies it on the files.

An Iceberg delete writes new files and keeps the old ones for older snapshots. So the purge also
expires the snapshots, with the tags of hours and days that hold such rows, and removes every file
that no snapshot names. The tag `validated`, which is behind the newest snapshot, moves to a new
snapshot of its rows without the old ones. Streams may write meanwhile: a conflict is retried, and
files younger than `YOUNG` are kept, since they may belong to a commit in progress, unless this
purge itself made them superfluous. Readers of an older snapshot lose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs
from pyiceberg.expressions import BooleanExpression, IsNull, LessThan, Or
from pyiceberg.table.update.snapshot import ManageSnapshots

from streaming.lake.files import file_system, list_files, named_files, remove_unnamed
from streaming.lake.iceberg.commits import (
    LakeTransaction,
    carried_progress,
    expire_old,
    retry_conflicts,
)
from streaming.lake.iceberg.history import (
    VALIDATED,
    VALIDATED_SEQUENCE,
    drop_history,
    validated_sequence,
)
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.tables import Table

YOUNG = timedelta(minutes=15)
BRANCH = "purge"
"""Exists within one transaction only."""


@dataclass(frozen=True)
class Purged:
    """Result for one table, read from its files.

    Attributes:
        table: its name.
        rows_deleted: rows older than the limit that the table had.
        files_deleted: data and metadata files that were removed.
        files: data files that are left; all are read for the next values.
        rows_left: rows in these files older than the limit.
        oldest: time of the oldest row in these files; None without a row.
        left_in: files that still hold such rows, since a commit or a tag may need them; and those
            that are being written, which cannot be read yet.
    """

    table: str
    rows_deleted: int
    files_deleted: int
    files: int
    rows_left: int
    oldest: datetime | None
    left_in: tuple[str, ...]


def purge(lake: IcebergLake, table: Table, time_column: str, before: datetime) -> Purged:
    """Delete the rows older than `before`, and verify it on the files.

    A row without a time, such as a message with an invalid broker time, counts as old, since its
    age can never be shown.

    Args:
        lake: where the table is.
        table: an append or an upsert.
        time_column: a timestamp in UTC that states how old a row is.
        before: the limit, with a time zone.
    """
    known = named_files(lake.load(table))
    limit = before.astimezone(timezone.utc).isoformat()
    old = Or(LessThan(term=time_column, value=limit), IsNull(term=time_column))
    rows = _delete(lake, table, time_column, old)
    _delete_validated(lake, table, old)
    _expire_snapshots(lake, table, old)
    young = datetime.now(timezone.utc) - YOUNG  # no commit in progress can add older files
    removed = remove_unnamed(lambda: lake.load(table), young, known)
    iceberg = lake.load(table)
    disk = file_system(iceberg)
    data = list_files(disk, iceberg, ".parquet")
    return Purged(table.name, rows, len(removed), *read_back(disk, data, time_column, before))


@retry_conflicts
def _delete(lake: IcebergLake, table: Table, time_column: str, old: BooleanExpression) -> int:
    iceberg = lake.load(table)
    rows = iceberg.scan(row_filter=old, selected_fields=(time_column,)).to_arrow().num_rows
    if rows:
        # The newest snapshot must have the positions: the others are expired (docs/adr/0002).
        with LakeTransaction(iceberg) as change:
            change.delete(old, carried_progress(iceberg))
    return int(rows)


@retry_conflicts
def _delete_validated(lake: IcebergLake, table: Table, old: BooleanExpression) -> None:
    """Delete the rows from what the tag `validated` names."""
    iceberg = lake.load(table)
    tag = iceberg.metadata.refs.get(VALIDATED)
    validated = tag and iceberg.metadata.snapshot_by_id(tag.snapshot_id)
    if not validated:
        return
    at = validated.snapshot_id
    if not any(iceberg.scan(row_filter=old, snapshot_id=at).plan_files()):
        return
    properties = {VALIDATED_SEQUENCE: str(validated_sequence(validated))}
    with LakeTransaction(iceberg) as change:
        ManageSnapshots(change).create_branch(at, BRANCH).commit()
        change.delete(old, properties, branch=BRANCH)
        head = change.table_metadata.refs[BRANCH].snapshot_id
        ManageSnapshots(change).create_tag(head, VALIDATED).remove_branch(BRANCH).commit()


@retry_conflicts
def _expire_snapshots(lake: IcebergLake, table: Table, old: BooleanExpression) -> None:
    iceberg = lake.load(table)
    with LakeTransaction(iceberg) as change:
        drop_history(change, iceberg, old)
        expire_old(change, datetime.now(timezone.utc))


def read_back(
    disk: fs.FileSystem, files: Sequence[fs.FileInfo], time_column: str, before: datetime
) -> tuple[int, int, datetime | None, tuple[str, ...]]:
    """Read the times in all data files below the table: the last four fields of `Purged`."""
    left, oldest, holding = 0, None, []
    for file in files:
        try:
            with disk.open_input_file(file.path) as source:
                times = pq.read_table(source, columns=[time_column])[time_column]
        except FileNotFoundError:  # a writer cleaned up after itself
            continue
        except pa.ArrowInvalid:  # a writer has not finished it
            holding.append(file.path)
            continue
        first = pc.min(times).as_py()
        if first is not None:
            oldest = first if oldest is None else min(oldest, first)
        old = int(pc.sum(pc.fill_null(pc.less(times, before), True)).as_py() or 0)
        left += old
        holding += [file.path] if old else []
    return len(files), left, oldest, tuple(holding)
