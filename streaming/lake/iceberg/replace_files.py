"""A commit that puts data files in the place of others: one snapshot, each manifest read once.

PyIceberg's own `overwrite` of rows makes two snapshots, reads each manifest up to six times, and
keeps manifests that name nothing any more. This is its producer of snapshots, with another way to
the manifests; also for Iceberg's `replace` (https://iceberg.apache.org/spec/#snapshots), which
PyIceberg 0.12 does not have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from pyiceberg.exceptions import ValidationException
from pyiceberg.io import FileIO
from pyiceberg.manifest import (
    DataFile,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
)
from pyiceberg.table import Transaction
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.typedef import EMPTY_DICT

KEPT_BYTES = 1024 * 1024
"""`SameRows` leaves a manifest of this size as it is, unless one of its files is taken out."""
ENTRIES = 10_000
"""Of one manifest, at most."""


class ReplaceFiles(_OverwriteFiles):
    """Takes some files out and puts others in; every other file stays.

    Args:
        change: the commit.
        io: of the table.
        properties: of the snapshot.
    """

    sequence: int | None = None
    """Data sequence number of the files that are put in; None: that of the commit."""

    def __init__(
        self, change: Transaction, io: FileIO, properties: Mapping[str, str] = EMPTY_DICT
    ) -> None:
        super().__init__(Operation.OVERWRITE, change, io, snapshot_properties=dict(properties))

    def stays(self, manifest: ManifestFile, live: Sequence[ManifestEntry]) -> bool:  # noqa: ARG002
        """Whether a manifest, of which no file is taken out, is kept as it is."""
        return bool(live)

    def _manifests(self) -> list[ManifestFile]:
        """All of the new snapshot.

        Raises:
            ValidationException: a file that is to go is not there any more.
        """
        kept: list[ManifestFile] = []
        staying: list[ManifestEntry] = []
        going: list[ManifestEntry] = []
        for manifest in self._parent_manifests():
            live = self.fetch_manifest_entry(manifest)
            mine = [e for e in live if e.data_file in self._deleted_data_files]
            if not mine and self.stays(manifest, live):
                kept.append(manifest)
                continue
            going += mine
            staying += [e for e in live if e.data_file not in self._deleted_data_files]
        if len(going) < len(self._deleted_data_files):
            raise ValidationException("Files have been replaced or deleted meanwhile.")
        new = [self._entry(ManifestEntryStatus.ADDED, f) for f in self._added_data_files]
        old = [self._entry(ManifestEntryStatus.EXISTING, e.data_file, e) for e in staying]
        gone = [self._entry(ManifestEntryStatus.DELETED, e.data_file, e) for e in going]
        return [*self._write(new + old), *self._write(gone), *kept]

    def _parent_manifests(self) -> list[ManifestFile]:
        if self._parent_snapshot_id is None:
            return []
        parent = self._transaction.table_metadata.snapshot_by_id(self._parent_snapshot_id)
        assert parent is not None  # noqa: S101 - the newest one
        return parent.manifests(self._io)

    def _entry(
        self, status: ManifestEntryStatus, file: DataFile, was: ManifestEntry | None = None
    ) -> ManifestEntry:
        """New, or as it was; who deletes an entry signs it."""
        mine = was is None or status == ManifestEntryStatus.DELETED
        return ManifestEntry.from_args(
            status=status,
            snapshot_id=self._snapshot_id if mine or was is None else was.snapshot_id,
            sequence_number=was.sequence_number if was else self.sequence,
            file_sequence_number=was.file_sequence_number if was else None,
            data_file=file,
        )

    def _write(self, entries: Iterable[ManifestEntry]) -> list[ManifestFile]:
        """By partition, so that a reader of one partition opens few of them."""
        by_spec: dict[int, list[ManifestEntry]] = defaultdict(list)
        for entry in entries:
            by_spec[entry.data_file.spec_id].append(entry)
        for of_spec in by_spec.values():
            of_spec.sort(key=lambda e: repr(e.data_file.partition))
        return [
            self._write_one(spec, of_spec[start : start + ENTRIES])
            for spec, of_spec in sorted(by_spec.items())
            for start in range(0, len(of_spec), ENTRIES)
        ]

    def _write_one(self, spec: int, entries: Sequence[ManifestEntry]) -> ManifestFile:
        with self.new_manifest_writer(self.spec(spec)) as writer:
            for entry in entries:
                writer.add_entry(entry)
        return writer.to_manifest_file()


class SameRows(ReplaceFiles):
    """The new files have the rows of the old ones; and every small manifest is joined to others.

    New files keep the sequence number of the newest row in them, so that whoever looks for what
    was committed since some moment (`state`) finds each row as old as it was.

    Args:
        change: the commit.
        io: of the table.
        sequence: data sequence number of the files that are put in.
        properties: of the snapshot.
    """

    def __init__(
        self, change: Transaction, io: FileIO, sequence: int, properties: Mapping[str, str]
    ) -> None:
        super().__init__(change, io, properties)
        self.sequence = sequence

    def stays(self, manifest: ManifestFile, live: Sequence[ManifestEntry]) -> bool:  # noqa: ARG002
        """By its size alone."""
        return is_fine(manifest)

    def _summary(self, snapshot_properties: dict[str, str] = EMPTY_DICT) -> Summary:
        """PyIceberg counts for the operations that it knows."""
        counted = super()._summary(snapshot_properties)
        return Summary(operation=Operation.REPLACE, **counted.additional_properties)


def is_fine(manifest: ManifestFile) -> bool:
    """Whether a manifest may stay as it is."""
    return manifest.content == ManifestContent.DELETES or manifest.manifest_length >= KEPT_BYTES
