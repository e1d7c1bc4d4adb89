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
from urllib.parse import urlparse

import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs
from pyiceberg.expressions import LessThan
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table as IcebergTable

from streaming.connectors.iceberg import PROGRESS_PROPERTY, IcebergLake, retry_conflicts
from streaming.progress import to_text
from streaming.tables import Table

YOUNG = timedelta(minutes=15)


@dataclass(frozen=True)
class Purged:
    """What became of one table, as its files say.

    Attributes:
        table: its name.
        rows_deleted: rows older than the limit that the table had.
        files_deleted: data and metadata files that were removed.
        files: data files that are left, all of them read for the next two.
        rows_left: rows in these files older than the limit: none, unless `left_in` says where.
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

    Args:
        lake: where the table is.
        table: an append or an upsert.
        time_column: a timestamp in UTC that says how old a row is.
        before: the limit, with a time zone.
    """
    known = _named_files(lake.load(table))
    rows = _delete(lake, table, time_column, before)
    _forget_snapshots(lake, table)
    iceberg = lake.load(table)
    disk = _file_system(iceberg)
    needed = _named_files(iceberg)
    superfluous = (known - needed) | (_old_files(disk, iceberg) - needed)
    removed = [path for path in sorted(superfluous) if _remove(disk, path)]
    data = _files(disk, iceberg, ".parquet")
    return Purged(table.name, rows, len(removed), *read_back(disk, data, time_column, before))


@retry_conflicts
def _delete(lake: IcebergLake, table: Table, time_column: str, before: datetime) -> int:
    iceberg = lake.load(table)
    old = LessThan(term=time_column, value=before.astimezone(timezone.utc).isoformat())
    rows = iceberg.scan(row_filter=old, selected_fields=(time_column,)).to_arrow().num_rows
    if rows:
        # The newest snapshot must know the positions: the others go (docs/adr/0002).
        done = lake.progress(table)
        iceberg.delete(old, {PROGRESS_PROPERTY: to_text(done)} if done else {})
    return int(rows)


@retry_conflicts
def _forget_snapshots(lake: IcebergLake, table: Table) -> None:
    iceberg = lake.load(table)
    kept = {ref.snapshot_id for ref in iceberg.metadata.refs.values()}
    old = [s.snapshot_id for s in iceberg.metadata.snapshots if s.snapshot_id not in kept]
    if old:
        iceberg.maintenance.expire_snapshots().by_ids(old).commit()


def _named_files(iceberg: IcebergTable) -> set[str]:
    """Paths of all data and manifest files that a snapshot names."""
    found = set()
    for snapshot in iceberg.metadata.snapshots:
        found.add(_path(snapshot.manifest_list))
        for manifest in snapshot.manifests(iceberg.io):
            found.add(_path(manifest.manifest_path))
            entries = manifest.fetch_manifest_entry(iceberg.io, discard_deleted=True)
            found |= {_path(entry.data_file.file_path) for entry in entries}
    return found


def _path(location: str) -> str:
    parts = urlparse(location)
    return parts.path if parts.scheme in {"", "file"} else f"{parts.netloc}{parts.path}"


def _file_system(iceberg: IcebergTable) -> fs.FileSystem:
    io, parts = iceberg.io, urlparse(iceberg.location())
    assert isinstance(io, PyArrowFileIO)  # noqa: S101 - what open_catalog makes
    return io.fs_by_scheme(parts.scheme or "file", parts.netloc or None)


def _files(disk: fs.FileSystem, iceberg: IcebergTable, ending: str) -> list[fs.FileInfo]:
    below = fs.FileSelector(_path(iceberg.location()), recursive=True, allow_not_found=True)
    return [f for f in disk.get_file_info(below) if f.is_file and f.path.endswith(ending)]


def _old_files(disk: fs.FileSystem, iceberg: IcebergTable) -> set[str]:
    """Data and manifest files that no commit under way can still be about to name."""
    limit = datetime.now(timezone.utc) - YOUNG
    files = [*_files(disk, iceberg, ".parquet"), *_files(disk, iceberg, ".avro")]
    return {f.path for f in files if f.mtime < limit}


def _remove(disk: fs.FileSystem, path: str) -> bool:
    try:
        disk.delete_file(path)
    except FileNotFoundError:  # an earlier purge was cut short
        return False
    # Hadoop's file system, by which Spark writes to disks, keeps a sum beside each file.
    if not isinstance(disk, fs.LocalFileSystem):
        return True
    folder, _, name = path.rpartition("/")
    crc = f"{folder}/.{name}.crc"
    if disk.get_file_info(crc).is_file:
        disk.delete_file(crc)
    return True


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
        if first is None:
            continue
        oldest = first if oldest is None else min(oldest, first)
        old = int(pc.sum(pc.less(times, before)).as_py() or 0)
        left += old
        holding += [file.path] if old else []
    return len(files), left, oldest, tuple(holding)
