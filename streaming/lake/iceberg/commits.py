"""How tables of the lake are committed to by several writers: all or nothing, as one looked at it.

A stream, maintenance, validation and a backfill commit to the same table. Each commit holds for the
table as it was looked at; else `retry_conflicts` begins again.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, Literal

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import ValidatableTableRequirement, update_table_metadata
from pyiceberg.table.update.snapshot import ExpireSnapshots
from tenacity import (
    RetryCallState,
    retry,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

PROGRESS_PROPERTY = "storelake.positions"
"""Of a snapshot: the newest source positions that the table holds (docs/adr/0002)."""

CONFLICT = "another commit came first"
"""Said in the log each time that a commit begins again."""

log = logging.getLogger("storelake.lake")


def _notify(state: RetryCallState) -> None:
    log.info("%s: %s begins again", CONFLICT, getattr(state.fn, "__qualname__", state.fn))


retry_conflicts = retry(
    retry=retry_if_exception_type(CommitFailedException),
    wait=wait_random_exponential(multiplier=0.05, max=2),
    stop=stop_after_attempt(10),
    before_sleep=_notify,
    reraise=True,
)


class _AsLookedAt(ValidatableTableRequirement):
    """That nobody has added or expired snapshots, or moved a tag, since the table was loaded.

    Iceberg requests the head of one branch alone. PyIceberg then fails where another branch has got
    a snapshot, by its sequence number, or where somebody else has expired one, too; and it takes
    the tag away that somebody has just put on an old one.
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


class _CheckedTransaction(Transaction):
    """Ends in `CommitFailedException`, and in nothing else, where somebody was faster."""

    def __init__(self, table: IcebergTable) -> None:
        super().__init__(table)
        self._look()

    def _look(self) -> None:
        if isinstance(self._table.catalog, SqlCatalog):  # others know only Iceberg's requirements
            kept = tuple(r for r in self._requirements if not isinstance(r, _AsLookedAt))
            mine: Any = _AsLookedAt.of(self._table.metadata)
            self._requirements = (*kept, mine)


class BranchTransaction(_CheckedTransaction):
    """To a branch that nobody else writes to: tried again as it is, its files are written once."""

    def _rebuild_snapshot_updates(self) -> None:
        self._look()
        super()._rebuild_snapshot_updates()


class LakeTransaction(_CheckedTransaction):
    """PyIceberg's, without its copies of the metadata, and without its own way to try again.

    It copies all of it, with every snapshot, at each of some thirty looks that one commit takes.
    Nothing changes what it looks at: updates make new objects. So one look per staged change.
    """

    _looked_at: tuple[Any, Any, TableMetadata] | None = None

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
        """After a conflict the caller begins again (`retry_conflicts`).

        PyIceberg would commit again what was found out before it: positions that may be behind by
        now, old snapshots that may be gone or that somebody has tagged since.
        """
        raise CommitFailedException("Somebody else has committed to the table meanwhile.")


def newest_progress(metadata: TableMetadata) -> Snapshot | None:
    """The newest snapshot that knows source positions; maintenance by other hands writes none."""
    knowing = [
        s
        for s in metadata.snapshots
        if s.summary and PROGRESS_PROPERTY in s.summary.additional_properties
    ]
    return max(knowing, key=lambda s: s.sequence_number or 0, default=None)


def carried_progress(iceberg: IcebergTable) -> dict[str, str]:
    """What a commit must say of itself so that the newest snapshot knows the positions."""
    knowing = newest_progress(iceberg.metadata)
    if knowing is None or knowing.summary is None:
        return {}
    return {PROGRESS_PROPERTY: knowing.summary.additional_properties[PROGRESS_PROPERTY]}


def expire_old(change: Transaction, before: datetime, at_least: int = 1) -> int:
    """Expire snapshots, but none that a branch or tag names, nor the newest that knows positions.

    Without that one a stream that starts again would write what the table has. Files stay:
    `streaming.lake.maintenance` removes what no snapshot names.

    Args:
        change: a commit that is being made.
        before: the age limit, with a time zone.
        at_least: fewer than these are left for later.

    Returns:
        How many are expired.
    """
    metadata, limit = change.table_metadata, before.timestamp() * 1000
    kept = {ref.snapshot_id for ref in metadata.refs.values()}
    if (knowing := newest_progress(metadata)) is not None:
        kept.add(knowing.snapshot_id)
    old = [
        s.snapshot_id
        for s in metadata.snapshots
        if s.timestamp_ms < limit and s.snapshot_id not in kept
    ]
    if len(old) < at_least or not old:
        return 0
    ExpireSnapshots(change).by_ids(old).commit()
    return len(old)
