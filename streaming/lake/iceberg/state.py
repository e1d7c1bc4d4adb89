"""An Iceberg table at the time it was loaded, and the rows that were added since some commit.

Every data file carries the sequence number of the commit that added it
(https://iceberg.apache.org/spec/#sequence-numbers). So rows are found even if their snapshot
expired before validation, and a rewritten row is validated again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile, ManifestContent, ManifestEntryStatus
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.types import DateType, TimestampType, TimestamptzType
from typing_extensions import override

from streaming.lake.iceberg.files import read_files
from streaming.lake.protocol import Commit, Increment, TableState
from streaming.lake.storage import LakeFiles

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class IcebergState(TableState):
    """An Iceberg table at one snapshot."""

    iceberg: IcebergTable

    @property
    @override
    def identity(self) -> str:
        return str(self.iceberg.metadata.table_uuid)

    @property
    @override
    def schema(self) -> pa.Schema:
        return self.iceberg.schema().as_arrow()

    @property
    @override
    def commits(self) -> list[Commit]:
        return [commit_of(snapshot) for snapshot in self.iceberg.metadata.snapshots]

    @property
    @override
    def newest(self) -> Commit | None:
        snapshot = self.iceberg.current_snapshot()
        return commit_of(snapshot) if snapshot else None

    @override
    def added_since(self, sequence: int) -> IcebergIncrement:
        return added_since(self.iceberg, sequence)


def commit_of(snapshot: Snapshot) -> Commit:
    """A snapshot as a `Commit`."""
    at = datetime.fromtimestamp(snapshot.timestamp_ms / 1000, timezone.utc)
    return Commit(snapshot.snapshot_id, snapshot.sequence_number or 0, at)


@dataclass(frozen=True)
class IcebergIncrement(Increment):
    """Data files of one snapshot that are newer than a sequence number.

    Attributes:
        iceberg: the loaded table.
        snapshot: the newest one; None for a table without rows.
        files: that were added and are still there.
    """

    iceberg: IcebergTable
    snapshot: Snapshot | None
    files: tuple[DataFile, ...]

    @property
    @override
    def newest(self) -> Commit | None:
        return commit_of(self.snapshot) if self.snapshot else None

    @property
    @override
    def schema(self) -> pa.Schema:
        return self.iceberg.schema().as_arrow()

    @property
    @override
    def rows(self) -> int:
        return sum(file.record_count for file in self.files)

    @property
    @override
    def paths(self) -> list[str]:
        return [file.file_path for file in self.files]

    @property
    @override
    def access(self) -> dict[str, str]:
        return {k: v for k, v in self.iceberg.io.properties.items() if k.startswith("s3.")}

    @override
    def span(self, column: str) -> tuple[datetime, datetime] | None:
        # Bounds in the statistics of files are exact for times.
        names = {field.name: field for field in self.iceberg.schema().fields}
        if column not in names:
            return None
        field = names[column]
        if not isinstance(field.field_type, (DateType, TimestampType, TimestamptzType)):
            return None
        unit = timedelta(days=1) if isinstance(field.field_type, DateType) else timedelta(0, 0, 1)
        bounds = [
            EPOCH + unit * int(from_bytes(field.field_type, bound))
            for file in self.files
            for bound in (
                (file.lower_bounds or {}).get(field.field_id),
                (file.upper_bounds or {}).get(field.field_id),
            )
            if bound is not None
        ]
        return (min(bounds), max(bounds)) if bounds else None

    @override
    def to_arrow(self, columns: Sequence[str] = ("*",)) -> pa.Table:
        schema = self.iceberg.schema()
        wanted = schema if "*" in columns else schema.select(*columns)
        return read_files(self.iceberg, self.files, wanted)


def read_file(path: str, schema: pa.Schema, access: Mapping[str, str]) -> Iterator[pa.Table]:
    """The rows of one data file, in batches.

    Args:
        path: a URI.
        schema: of the table; columns that the file lacks are null.
        access: see `Increment`.
    """
    with LakeFiles(dict(access)).new_input(path).open() as file:
        for batch in pq.ParquetFile(file).iter_batches():
            rows = pa.Table.from_batches([batch])
            for field in schema:
                if field.name not in rows.column_names:
                    rows = rows.append_column(field, pa.nulls(len(rows), field.type))
            yield rows.select(schema.names).cast(schema)


def added_since(iceberg: IcebergTable, sequence: int) -> IcebergIncrement:
    """See `TableState.added_since`.

    Only data files: writers here copy on write, so there are no delete files to apply.
    """
    snapshot = iceberg.current_snapshot()
    if snapshot is None or (snapshot.sequence_number or 0) <= sequence:
        return IcebergIncrement(iceberg, snapshot, ())
    files = [
        entry.data_file
        for manifest in snapshot.manifests(iceberg.io)
        # No entry of a manifest has a higher sequence number than the manifest.
        if manifest.content == ManifestContent.DATA and manifest.sequence_number > sequence
        for entry in manifest.fetch_manifest_entry(iceberg.io, discard_deleted=True)
        if entry.status != ManifestEntryStatus.DELETED and (entry.sequence_number or 0) > sequence
    ]
    return IcebergIncrement(iceberg, snapshot, tuple(files))
