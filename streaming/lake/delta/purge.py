"""Deletes rows permanently from a Delta table.

A delete rewrites the files that hold such rows and keeps the old ones for older versions, until a
vacuum removes them; readers of an older version lose it then. A file that no version names may
belong to a commit in progress, so it is kept until it is `UNNAMED_HOURS` old.
"""

from __future__ import annotations

from datetime import datetime, timezone

from deltalake import CommitProperties
from pyarrow.fs import FileSelector

from streaming.lake.delta.lake import DeltaLake, retry_conflicts
from streaming.lake.delta.tables import file_system
from streaming.lake.iceberg.purge import Purged, read_back
from streaming.lake.tables import Table

UNNAMED_HOURS = 1


def purge(lake: DeltaLake, table: Table, time_column: str, before: datetime) -> Purged:
    """Delete the rows older than `before`, and verify it on the files; `txn` actions are kept."""
    rows = _delete(lake, table, time_column, before)
    delta = lake.open(table.name)
    removed = delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
    delta.update_incremental()
    removed += delta.vacuum(
        UNNAMED_HOURS, dry_run=False, enforce_retention_duration=False, full=True
    )
    disk = file_system(lake.settings, table.name)
    files = disk.get_file_info(FileSelector("", recursive=True))
    data = [f for f in files if f.path.endswith(".parquet") and "_delta_log/" not in f.path]
    return Purged(table.name, rows, len(removed), *read_back(disk, data, time_column, before))


@retry_conflicts
def _delete(lake: DeltaLake, table: Table, time_column: str, before: datetime) -> int:
    limit = before.astimezone(timezone.utc).isoformat()
    done = lake.open(table.name).delete(
        f"{time_column} < '{limit}' OR {time_column} IS NULL",
        commit_properties=CommitProperties(max_commit_retries=0),
    )
    return int(done["num_deleted_rows"] or 0)
