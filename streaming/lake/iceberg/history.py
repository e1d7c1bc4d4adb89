"""Tags of a table at the end of each hour and day (UTC), which outlive the retention of snapshots.

`hour-2026-11-29T13` names the newest snapshot that was committed before the end of that hour,
`day-2026-11-28` that of the day. `validated-` before either names the snapshot that validation had
let through by then, which is what the views for analysts read. Hours are kept for `HOURS`, days for
`DAYS`; other tags are left alone.

Tags are set before snapshots expire, by maintenance and by the commits of streams, so an hour in
which neither ran is still right. A moment whose snapshot has expired gets no tag.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ManageSnapshots

HOURS, DAYS = 24, 30
VALIDATED = "validated"
"""The tag that validation moves, and the prefix of its history."""
VALIDATED_SEQUENCE = "storelake.validated-sequence"
"""Property of a snapshot that a purge made of a validated one: the sequence number of that."""

HISTORY_TAG = re.compile(rf"(?:{VALIDATED}-)?(?:hour-\d{{4}}-\d\d-\d\dT\d\d|day-\d{{4}}-\d\d-\d\d)")


def hour_tag(moment: datetime) -> str:
    """The tag of the hour that holds a moment with a time zone."""
    return f"hour-{moment.astimezone(timezone.utc):%Y-%m-%dT%H}"


def day_tag(moment: datetime) -> str:
    """The tag of the day (UTC) that holds a moment with a time zone."""
    return f"day-{moment.astimezone(timezone.utc):%Y-%m-%d}"


def tag_history(change: Transaction, now: datetime) -> None:
    """Stage the tags of hours and days that have ended, and the removal of outdated ones.

    Args:
        change: the open transaction.
        now: UTC.
    """
    metadata = change.table_metadata
    ended = dict(_ended(now))
    refs = ManageSnapshots(change)
    for name, end in ended.items():
        if name not in metadata.refs and (found := snapshot_before(metadata, end)) is not None:
            refs.create_tag(found, name)
    _tag_validated(refs, metadata, ended)
    for name in metadata.refs:
        if HISTORY_TAG.fullmatch(name) and name.removeprefix(f"{VALIDATED}-") not in ended:
            refs.remove_tag(name)
    refs.commit()


def tag_validated_history(refs: ManageSnapshots, metadata: TableMetadata, now: datetime) -> None:
    """Stage the tags of what was validated at the end of hours and days.

    Called before the tag `validated` moves, so its value is that of the hours that have no tag yet.
    """
    _tag_validated(refs, metadata, dict(_ended(now)))


def _tag_validated(
    refs: ManageSnapshots, metadata: TableMetadata, ended: dict[str, datetime]
) -> None:
    validated = metadata.refs.get(VALIDATED)
    if validated is None:
        return
    at = {entry.snapshot_id: entry.timestamp_ms for entry in metadata.snapshot_log}
    for name, end in ended.items():
        tag = f"{VALIDATED}-{name}"
        # An hour that ended before the snapshot was committed is an hour without a validated one.
        committed = at.get(validated.snapshot_id)
        if tag not in metadata.refs and committed is not None and committed < _ms(end):
            refs.create_tag(validated.snapshot_id, tag)


def validated_sequence(snapshot: Snapshot) -> int:
    """Rows with a higher sequence number were committed after this snapshot was validated."""
    properties = snapshot.summary.additional_properties if snapshot.summary else {}
    return int(properties.get(VALIDATED_SEQUENCE) or snapshot.sequence_number or 0)


def drop_history(change: Transaction, iceberg: IcebergTable, where: BooleanExpression) -> None:
    """Stage the removal of the tags whose snapshots have rows that match, by the bounds of files.

    Args:
        change: an open transaction of the table.
        iceberg: the table.
        where: the rows.
    """
    tagged = {
        n: r.snapshot_id for n, r in iceberg.metadata.refs.items() if HISTORY_TAG.fullmatch(n)
    }
    holding = {
        snapshot_id
        for snapshot_id in set(tagged.values())
        if any(iceberg.scan(row_filter=where, snapshot_id=snapshot_id).plan_files())
    }
    refs = ManageSnapshots(change)
    for name in (name for name, snapshot_id in tagged.items() if snapshot_id in holding):
        refs.remove_tag(name)
    refs.commit()


def snapshot_before(metadata: TableMetadata, end: datetime) -> int | None:
    """The snapshot that was the newest one just before a time with a time zone.

    Returns:
        Its id; None where there was none, or where snapshots between it and that time may have
        expired.
    """
    log = metadata.snapshot_log
    count = sum(entry.timestamp_ms < _ms(end) for entry in log)
    if not count:
        return None
    found = log[count - 1].snapshot_id
    exact = count == len(log) or found in _ancestors(metadata, log[count].snapshot_id)
    return found if exact else None


def complete_since(metadata: TableMetadata) -> datetime | None:
    """The time (UTC) of the oldest snapshot since which none has expired; None without any."""
    newest = metadata.current_snapshot()
    if newest is None:
        return None
    unbroken = {newest.snapshot_id, *_ancestors(metadata, newest.snapshot_id)}
    oldest = min(s.timestamp_ms for s in metadata.snapshots if s.snapshot_id in unbroken)
    return datetime.fromtimestamp(oldest / 1000, timezone.utc)


def _ancestors(metadata: TableMetadata, snapshot_id: int) -> Iterator[int]:
    """Those that are still there, without a gap."""
    by_id = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
    while (snapshot := by_id.get(snapshot_id)) and snapshot.parent_snapshot_id is not None:
        snapshot_id = snapshot.parent_snapshot_id
        yield snapshot_id


def _ended(now: datetime) -> Iterator[tuple[str, datetime]]:
    """Names and ends of the hours and days that are kept."""
    hour = now.astimezone(timezone.utc).replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    for back in range(HOURS):
        end = hour - timedelta(hours=back)
        yield hour_tag(end - timedelta(hours=1)), end
    for back in range(DAYS):
        end = day - timedelta(days=back)
        yield day_tag(end - timedelta(days=1)), end


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
