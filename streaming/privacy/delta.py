"""One customer in the tables of a lake in Delta."""

from __future__ import annotations

from deltalake import CommitProperties
from pyarrow.fs import FileSelector

from streaming.lake.delta.lake import DeltaLake, retry_conflicts
from streaming.lake.delta.purge import UNNAMED_HOURS
from streaming.lake.delta.tables import file_system
from streaming.lake.protocol import Lake, shape
from streaming.lake.tables import Table
from streaming.privacy.person import Person
from streaming.privacy.tables import Position, matching_rows, parquet_with, redacted_rows


def erase_table(
    lake: Lake, table: Table, person: Person, rejected: frozenset[Position]
) -> tuple[int, int]:
    """Redact the customer in one table; returns changed rows, and files that mention them still.

    A vacuum removes the replaced files. The log has the bounds of their columns: a run that is an
    hour later removes it (`LOG_KEPT`; a commit in progress may need it till then). Those count as
    left.
    """
    assert isinstance(lake, DeltaLake)  # noqa: S101 - the caller has asked
    changed = _merge(lake, table, person, rejected)
    delta = lake.open(table.name)
    delta.vacuum(0, dry_run=False, enforce_retention_duration=False)
    delta.update_incremental()
    delta.vacuum(UNNAMED_HOURS, dry_run=False, enforce_retention_duration=False, full=True)
    delta.create_checkpoint()
    delta.cleanup_metadata()
    disk = file_system(lake.settings, table.name)
    files = [f for f in disk.get_file_info(FileSelector("", recursive=True)) if f.is_file]
    data = [f for f in files if f.path.endswith(".parquet")]
    logs = [f for f in files if f.path.endswith(".json")]
    holding = [f for f in logs if person.places(disk.open_input_file(f.path).readall())]
    return changed, len([*parquet_with(disk, data, person)]) + len(holding)


@retry_conflicts
def _merge(lake: DeltaLake, table: Table, person: Person, rejected: frozenset[Position]) -> int:
    rows = lake.read(table.name)
    matching = matching_rows(rows, person)
    if not matching:
        return 0
    new = redacted_rows(rows, matching, person, rejected).take(matching)
    delta = lake.open(table.name)
    (
        delta.merge(
            shape(new, lake.schema(table.name), table),
            " AND ".join(f"old.{name} = new.{name}" for name in table.key),
            source_alias="new",
            target_alias="old",
            commit_properties=CommitProperties(max_commit_retries=0),
        )
        .when_matched_update_all()
        .execute()
    )
    return len(matching)
