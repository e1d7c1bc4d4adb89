"""One customer in the tables of the lake: rows, files, snapshots and tags."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs
from pyiceberg.exceptions import ValidationException
from pyiceberg.manifest import ManifestEntry, ManifestEntryStatus
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.update.snapshot import ManageSnapshots
from tenacity import retry, retry_if_exception_type, stop_after_attempt

from streaming.lake.files import (
    file_system,
    list_files,
    named_files,
    path_of,
    remove_unnamed,
)
from streaming.lake.iceberg.commits import LakeTransaction, expire_old, retry_conflicts
from streaming.lake.iceberg.files import read_files, write_files
from streaming.lake.iceberg.history import HISTORY_TAG, VALIDATED, validated_sequence
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.iceberg.purge import YOUNG
from streaming.lake.maintenance.compact import replace_files
from streaming.lake.maintenance.plan import live_files
from streaming.lake.protocol import Lake, MissingTableError
from streaming.lake.tables import QUARANTINE_ORDER_EVENTS, Table
from streaming.privacy.person import Person, Row

BOUND = 15
"""Characters of an id that the bounds of a column in a manifest surely have: they are cut at 16.
https://iceberg.apache.org/docs/latest/configuration/#write-properties"""
Position = tuple[str, int, str]


def matching_rows(rows: pa.Table, person: Person) -> list[int]:
    """Numbers of the rows that mention the customer."""
    found: set[int] = set()
    for name in rows.column_names:
        found.update(_suspects(rows[name].combine_chunks(), person))
    if not found:
        return []
    numbers = sorted(found)
    looked_at = zip(numbers, rows.take(numbers).to_pylist(), strict=True)
    return [n for n, row in looked_at if person.redacted_row(row, rejected=False) != row]


def _suspects(column: pa.Array, person: Person) -> Iterator[int]:
    """Numbers of the values with the characters of the id, or any escape: JSON has several."""
    if pa.types.is_list(column.type):
        parents = pc.list_parent_indices(column)
        yield from (parents[n].as_py() for n in _suspects(pc.list_flatten(column), person))
    elif pa.types.is_struct(column.type):
        for field in column.flatten():
            yield from _suspects(field, person)
    elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        yield from _positions(pc.match_substring(column, person.id))
        yield from _positions(pc.match_substring(column, "\\"))
    elif pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        yield from _positions(pc.match_substring(column, person.id.encode()))
        yield from _positions(pc.match_substring(column, b"\\"))


def _positions(mask: pa.Array) -> list[int]:
    found: list[int] = pc.indices_nonzero(pc.fill_null(mask, False)).to_pylist()
    return found


def redacted_rows(
    rows: pa.Table, matching: Sequence[int], person: Person, rejected: frozenset[Position]
) -> pa.Table:
    """The rows, in their order, with the matching ones redacted."""
    numbers = pa.array(matching, pa.int64())
    new = [
        person.redacted_row(row, rejected=position_of(row) in rejected)
        for row in rows.take(numbers).to_pylist()
    ]
    joined = pa.concat_tables([rows, pa.Table.from_pylist(new, rows.schema)])
    order = list(range(len(rows)))
    for place, number in enumerate(matching, len(rows)):
        order[number] = place
    return joined.take(order)


def position_of(row: Row) -> Position | None:
    """The source position of a row; None of a row that is not one message."""
    return (row["topic"], row["partition"], row["position"]) if "position" in row else None


def rejected_positions(lake: Lake, person: Person) -> frozenset[Position]:
    """Positions of the rejected messages of the customer: their bodies are deleted everywhere."""
    try:
        rows = lake.read(QUARANTINE_ORDER_EVENTS.name)
    except MissingTableError:  # the streams make it
        return frozenset()
    found = rows.take(pa.array(matching_rows(rows, person), pa.int64())).to_pylist()
    return frozenset(at for row in found if (at := position_of(row)))


def erase_table(
    lake: IcebergLake, table: Table, person: Person, rejected: frozenset[Position]
) -> int:
    """Redact the customer in one Iceberg table; returns the number of changed rows.

    Rows keep their files' sequence numbers and the table its source positions, so no stream and no
    validation sees them as new. Then the tags of hours and days with such rows go, old snapshots
    expire, and the files that only they name are removed. Streams may write meanwhile.
    """
    known = named_files(lake.load(table))
    changed = _rewrite(lake, table, person, rejected)
    if changed or any(_deleted(lake.load(table))):
        replace_files(lake, table)  # manifests without the bounds of the replaced files
    holding = set(files_with(lake.load(table), person))
    _release(lake, table, holding)
    remove_unnamed(lambda: lake.load(table), datetime.now(timezone.utc) - YOUNG, known)
    return changed


@retry(
    retry=retry_if_exception_type((ValidationException, FileNotFoundError)),
    stop=stop_after_attempt(5),
    reraise=True,
)
def _rewrite(lake: IcebergLake, table: Table, person: Person, rejected: frozenset[Position]) -> int:
    """Replace the files that mention the customer; a file that maintenance has replaced: again."""
    changed = 0
    iceberg = lake.load(table)
    for entry in live_files(iceberg):
        rows = read_files(iceberg, [entry.data_file])
        if matching := matching_rows(rows, person):
            new = write_files(iceberg, redacted_rows(rows, matching, person, rejected))
            replace_files(lake, table, [entry.data_file], new, entry.sequence_number or 0)
            changed += len(matching)
    return changed


@retry_conflicts
def _release(lake: IcebergLake, table: Table, holding: set[str]) -> None:
    """Expire all snapshots but the newest, and first what keeps one that names a holding file."""
    iceberg = lake.load(table)
    head = iceberg.current_snapshot()
    if head is None:
        return
    with LakeTransaction(iceberg) as change:
        refs = ManageSnapshots(change)
        for name, ref in iceberg.metadata.refs.items():
            if ref.snapshot_ref_type != SnapshotRefType.TAG or ref.snapshot_id == head.snapshot_id:
                continue
            if HISTORY_TAG.fullmatch(name) and holding & _files_of(iceberg, ref.snapshot_id):
                refs.remove_tag(name)
            elif name == VALIDATED and _covers(iceberg, ref.snapshot_id):
                refs.create_tag(head.snapshot_id, name)
        refs.commit()
        expire_old(change, datetime.now(timezone.utc))


def _covers(iceberg: IcebergTable, snapshot_id: int) -> bool:
    """Whether the newest snapshot has no rows that are newer than another snapshot."""
    snapshot = iceberg.metadata.snapshot_by_id(snapshot_id)
    newest = validated_sequence(snapshot) if snapshot else 0
    return all((entry.sequence_number or 0) <= newest for entry in live_files(iceberg))


def _files_of(iceberg: IcebergTable, snapshot_id: int) -> set[str]:
    snapshot = iceberg.metadata.snapshot_by_id(snapshot_id)
    manifests = snapshot.manifests(iceberg.io) if snapshot else []
    entries = (e for m in manifests for e in m.fetch_manifest_entry(iceberg.io))
    return {path_of(entry.data_file.file_path) for entry in entries}


def _entries(iceberg: IcebergTable) -> Iterator[ManifestEntry]:
    """Entries of the manifests of every snapshot, deleted ones included."""
    seen: set[str] = set()
    for snapshot in iceberg.metadata.snapshots:
        for manifest in snapshot.manifests(iceberg.io):
            if manifest.manifest_path not in seen:
                seen.add(manifest.manifest_path)
                yield from manifest.fetch_manifest_entry(iceberg.io, discard_deleted=False)


def _deleted(iceberg: IcebergTable) -> Iterator[bool]:
    return (entry.status == ManifestEntryStatus.DELETED for entry in _entries(iceberg))


def files_with(iceberg: IcebergTable, person: Person) -> Iterator[str]:
    """Data files below the table that mention the customer, named by a snapshot or not."""
    disk = file_system(iceberg)
    yield from parquet_with(disk, list_files(disk, iceberg, ".parquet"), person)


def parquet_with(
    disk: fs.FileSystem, files: Sequence[fs.FileInfo], person: Person
) -> Iterator[str]:
    """The Parquet files that mention the customer, in any column of text or bytes."""
    for file in files:
        try:
            with disk.open_input_file(file.path) as source:
                rows = pq.read_table(source)
        except FileNotFoundError:  # a writer cleaned up after itself
            continue
        except pa.ArrowInvalid:  # a writer has not finished it: what it holds cannot be read
            yield file.path
            continue
        if matching_rows(rows, person):
            yield file.path


def bounds_with(iceberg: IcebergTable, person: Person) -> bool:
    """Whether a manifest has the id in the bounds of a column of a file that is not live.

    Live files are read row by row; their bounds may begin as the id of somebody else does.
    """
    start = person.id.encode()[:BOUND]
    live = {entry.data_file.file_path for entry in live_files(iceberg)}
    if person.id.isdecimal():
        return False  # any identifier may begin so
    return any(
        bound.startswith(start)
        for entry in _entries(iceberg)
        if entry.data_file.file_path not in live
        for bounds in (entry.data_file.lower_bounds, entry.data_file.upper_bounds)
        for bound in (bounds or {}).values()
    )
