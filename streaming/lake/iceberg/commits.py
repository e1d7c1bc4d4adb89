"""Commits to a table of Iceberg: each succeeds only if the table is as it was loaded.

Where another one came first, `retry_conflicts` runs the function again that loaded the table
(`streaming.lake.conflicts`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot, SnapshotLogEntry
from pyiceberg.table.update import ValidatableTableRequirement, update_table_metadata
from pyiceberg.table.update.snapshot import ExpireSnapshots

from streaming.lake.conflicts import retry_on

PROGRESS_PROPERTY = "storelake.positions"
"""Property of a snapshot: the newest source positions that the table holds (docs/adr/0002)."""


def _shared(entry: Any, memo: Any) -> Any:  # noqa: ARG001 - the signature of `__deepcopy__`
    """PyIceberg copies all metadata at each change, twice a commit; no entry changes in place."""
    return entry


for _kind in (Snapshot, SnapshotLogEntry):
    _kind.__deepcopy__ = _shared  # type: ignore[assignment, method-assign]


retry_conflicts = retry_on(CommitFailedException)


class _AsLookedAt(ValidatableTableRequirement):
    """Requires that no snapshot was added or expired, and no tag moved, since the table was loaded.

    Iceberg only checks the head of one branch. PyIceberg would then fail where another branch got a
    snapshot, by its sequence number, or where another writer has expired one, and it would remove a
    tag that was just set on an old one.
    """

    type: Literal["as-looked-at"] = "as-looked-at"
    state: tuple[Any, ...]

    @classmethod
    def of(cls, metadata: TableMetadata) -> _AsLookedAt:
        return cls(state=_state(metadata))

    def validate(self, base_metadata: TableMetadata | None) -> None:  # type: ignore[override]
        if base_metadata is None or _state(base_metadata) != self.state:
            raise CommitFailedException("Somebody else has committed to the table meanwhile.")


def _state(metadata: TableMetadata) -> tuple[Any, ...]:
    refs = sorted((name, ref.snapshot_id) for name, ref in metadata.refs.items())
    return tuple(s.snapshot_id for s in metadata.snapshots), tuple(refs)


class LakeTransaction(Transaction):
    """PyIceberg's transaction without its copies of the metadata and without its own retries.

    It raises `CommitFailedException`, and nothing else, where another commit came first.

    PyIceberg copies the metadata, with every snapshot, at each of some thirty reads of a commit.
    Nothing changes it in place, so this makes one copy per staged change.
    """

    _looked_at: tuple[Any, Any, TableMetadata] | None = None

    def __init__(self, table: IcebergTable) -> None:
        super().__init__(table)
        if isinstance(table.catalog, SqlCatalog):  # others only take Iceberg's requirements
            mine: Any = _AsLookedAt.of(table.metadata)
            self._requirements = (*self._requirements, mine)

    @property
    def table_metadata(self) -> TableMetadata:
        """The table's metadata with what is staged so far."""
        base, staged = self._table.metadata, self._updates
        if not staged:
            return base
        if (
            not self._looked_at
            or self._looked_at[0] is not base
            or self._looked_at[1] is not staged
        ):
            self._looked_at = (base, staged, update_table_metadata(base, staged))
        return self._looked_at[2]

    def _rebuild_snapshot_updates(self) -> None:
        """After a conflict the caller starts again (`retry_conflicts`).

        PyIceberg would commit values from before the conflict: positions that may be outdated,
        expired snapshots that may be gone or tagged by now.
        """
        raise CommitFailedException("Somebody else has committed to the table meanwhile.")


def newest_progress(metadata: TableMetadata) -> Snapshot | None:
    """The newest snapshot with source positions; other tools write snapshots without them."""
    # Snapshots are in the order of their sequence numbers.
    knowing = (
        s
        for s in reversed(metadata.snapshots)
        if s.summary and PROGRESS_PROPERTY in s.summary.additional_properties
    )
    return next(knowing, None)


def carried_progress(iceberg: IcebergTable) -> dict[str, str]:
    """Snapshot properties with which a commit keeps the positions of the newest snapshot."""
    knowing = newest_progress(iceberg.metadata)
    if knowing is None or knowing.summary is None:
        return {}
    return {PROGRESS_PROPERTY: knowing.summary.additional_properties[PROGRESS_PROPERTY]}


def expirable(metadata: TableMetadata, before: datetime) -> list[int]:
    """Snapshots older than a time, but those of branches and tags and the newest with positions.

    Without that one a stream that starts again would write the same rows again.
    """
    limit = before.timestamp() * 1000
    kept = {ref.snapshot_id for ref in metadata.refs.values()}
    if (knowing := newest_progress(metadata)) is not None:
        kept.add(knowing.snapshot_id)
    return [
        s.snapshot_id
        for s in metadata.snapshots
        if s.timestamp_ms < limit and s.snapshot_id not in kept
    ]


def expire_old(change: Transaction, before: datetime) -> int:
    """Expire all `expirable` snapshots; returns their number.

    Deletes no files: `streaming.lake.maintenance` removes those that no snapshot names.

    Args:
        change: the open transaction.
        before: the age limit, with a time zone.
    """
    old = expirable(change.table_metadata, before)
    if old:
        ExpireSnapshots(change).by_ids(old).commit()
    return len(old)
