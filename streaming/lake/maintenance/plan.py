"""Chooses the files of a table to compact."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from pyiceberg.manifest import ManifestContent, ManifestEntry
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.utils.bin_packing import ListPacker

from streaming.lake.iceberg.history import HISTORY_TAG, validated_sequence
from streaming.lake.tables import MaintenancePolicy

Files = list[ManifestEntry]


def live_files(iceberg: IcebergTable) -> Files:
    """Data files of the newest snapshot, with the sequence numbers of their commits."""
    snapshot = iceberg.current_snapshot()
    if snapshot is None:
        return []
    return [
        entry
        for manifest in snapshot.manifests(iceberg.io)
        if manifest.content == ManifestContent.DATA
        for entry in manifest.fetch_manifest_entry(iceberg.io, discard_deleted=True)
    ]


def has_deletes(iceberg: IcebergTable) -> bool:
    """Whether the table has delete files; writers of this project replace data files."""
    snapshot = iceberg.current_snapshot()
    manifests = snapshot.manifests(iceberg.io) if snapshot else []
    return any(manifest.content == ManifestContent.DELETES for manifest in manifests)


def files_to_join(
    iceberg: IcebergTable, files: Sequence[ManifestEntry], policy: MaintenancePolicy, now: datetime
) -> list[Files]:
    """Groups of files, each to compact into one of at most `policy.target_bytes`.

    A group has one partition and lies between two tags: rows up to the tag `validated` are not
    mixed with rows that are still to be validated. Tags of hours and days separate nothing. Files
    of commits younger than `policy.quiet` are left out; a file whose snapshot has expired is older.
    """
    young = _young_snapshots(iceberg, now - policy.quiet)
    tags = _tagged_sequences(iceberg)
    groups: dict[Any, Files] = defaultdict(list)
    for entry in files:
        if entry.snapshot_id not in young:
            file = entry.data_file
            age = bisect_left(tags, entry.sequence_number or 0)
            groups[file.spec_id, file.partition, age].append(entry)
    packer: ListPacker[ManifestEntry] = ListPacker(policy.target_bytes, 1, largest_bin_first=False)
    packed = [
        packer.pack(sorted(worth, key=lambda e: e.sequence_number or 0), _bytes)
        for group in groups.values()
        if (worth := _worth_joining(group, policy))
    ]
    return [joined for bins in packed for joined in bins if len(joined) > 1]


def _worth_joining(files: Files, policy: MaintenancePolicy) -> Files:
    """Small files, where they are many; the largest only with as many bytes in the others.

    So a row is rewritten each time its file doubles, not with every run.
    """
    small = sorted((f for f in files if _bytes(f) < policy.target_bytes * 3 / 4), key=_bytes)
    while len(small) >= policy.min_files and _bytes(small[-1]) > sum(map(_bytes, small[:-1])):
        small.pop()
    return small if len(small) >= policy.min_files else []


def _bytes(entry: ManifestEntry) -> int:
    return int(entry.data_file.file_size_in_bytes)


def _young_snapshots(iceberg: IcebergTable, limit: datetime) -> set[int]:
    since = (limit - datetime.fromtimestamp(0, limit.tzinfo)) / timedelta(milliseconds=1)
    return {s.snapshot_id for s in iceberg.metadata.snapshots if s.timestamp_ms > since}


def _tagged_sequences(iceberg: IcebergTable) -> list[int]:
    refs = iceberg.metadata.refs.items()
    tagged = {
        ref.snapshot_id
        for name, ref in refs
        if ref.snapshot_ref_type == SnapshotRefType.TAG and not HISTORY_TAG.fullmatch(name)
    }
    snapshots = iceberg.metadata.snapshots
    return sorted(validated_sequence(s) for s in snapshots if s.snapshot_id in tagged)
