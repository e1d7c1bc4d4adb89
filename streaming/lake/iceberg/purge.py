"""Rows deleted for good: from the table, from its history, from the files; and the proof of it.

An Iceberg delete writes new files and keeps the old ones for older snapshots. So the snapshots go,
too, and then every file that no snapshot names. Tables that streams write may be purged while they
do: a conflict is tried again, and a file that was written a moment ago may belong to a commit that
is under way, so it stays (`YOUNG`), unless this purge itself made it superfluous. Readers of an
older snapshot lose it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs
from pyiceberg.expressions import IsNull, LessThan, Or

from streaming.lake.files import (
    file_system,
    list_files,
    named_files,
    old_files,
    remove_file,
)
from streaming.lake.iceberg.commits import (
    LakeTransaction,
    carried_progress,
    expire_old,
    retry_conflicts,
)
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.tables import Table

YOUNG = timedelta(minutes=15)


@dataclass(frozen=True)
class Purged:
    """What became of one table, as its files say.

    Attributes:
        table: its name.
        rows_deleted: rows older than the limit that the table had.
        files_deleted: data and metadata files that were removed.
        files: data files that are left, all of them read for the next two.
        rows_left: rows in these files older than the limit: none, unless `left_in` states where.
        oldest: the oldest row in these files; None without a row.
        left_in: files that still hold such rows, since a commit or a tag may need them.
    """

    table: str
    rows_deleted: int
    files_deleted: int
    files: int
    rows_left: int
    oldest: datetime | None
    left_in: tuple[str, ...]


def purge(lake: IcebergLake, table: Table, time_column: str, before: datetime) -> Purged:
    """Delete the rows older than `before`, and prove it on the files.

    A row without a time, such as a message whose broker time was none, is taken for old: nobody
    could say later how long it was kept.

    Args:
        lake: where the table is.
        table: an append or an upsert.
        time_column: a timestamp in UTC that states how old a row is.
        before: the limit, with a time zone.
    """
    known = named_files(lake.load(table))
    rows = _delete(lake, table, time_column, before)
    _expire_snapshots(lake, table)
    iceberg = lake.load(table)
    disk = file_system(iceberg)
    needed = named_files(iceberg)
    # No commit under way can still be about to name a file that is this old.
    old = old_files(disk, iceberg, datetime.now(timezone.utc) - YOUNG)
    superfluous = (known | old.keys()) - needed
    removed = [path for path in sorted(superfluous) if remove_file(disk, path)]
    data = list_files(disk, iceberg, ".parquet")
    return Purged(table.name, rows, len(removed), *read_back(disk, data, time_column, before))


@retry_conflicts
def _delete(lake: IcebergLake, table: Table, time_column: str, before: datetime) -> int:
    iceberg = lake.load(table)
    limit = before.astimezone(timezone.utc).isoformat()
    old = Or(LessThan(term=time_column, value=limit), IsNull(term=time_column))
    rows = iceberg.scan(row_filter=old, selected_fields=(time_column,)).to_arrow().num_rows
    if rows:
        # The newest snapshot must know the positions: the others go (docs/adr/0002).
        with LakeTransaction(iceberg) as change:
            change.delete(old, carried_progress(iceberg))
    return int(rows)


@retry_conflicts
def _expire_snapshots(lake: IcebergLake, table: Table) -> None:
    with LakeTransaction(lake.load(table)) as change:
        expire_old(change, datetime.now(timezone.utc))


def read_back(
    disk: fs.FileSystem, files: Sequence[fs.FileInfo], time_column: str, before: datetime
) -> tuple[int, int, datetime | None, tuple[str, ...]]:
    """Read the time of every row in every data file below the table: the end of `Purged`."""
    left, oldest, holding = 0, None, []
    for file in files:
        try:
            with disk.open_input_file(file.path) as source:
                times = pq.read_table(source, columns=[time_column])[time_column]
        except FileNotFoundError:  # a writer cleaned up after itself
            continue
        first = pc.min(times).as_py()
        if first is not None:
            oldest = first if oldest is None else min(oldest, first)
        old = int(pc.sum(pc.fill_null(pc.less(times, before), True)).as_py() or 0)
        left += old
        holding += [file.path] if old else []
    return len(files), left, oldest, tuple(holding)
