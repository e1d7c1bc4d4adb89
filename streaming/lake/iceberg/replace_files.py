"""Replaces data files in one commit: one snapshot, each manifest read once.

PyIceberg's own `overwrite` of rows makes two snapshots, reads each manifest up to six times, and
keeps manifests without live files. This subclasses its snapshot producer and builds the manifests
itself; also for Iceberg's `replace` (https://iceberg.apache.org/spec/#snapshots), which PyIceberg
0.12 does not have.
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
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Operation, Summary
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.typedef import EMPTY_DICT
from typing_extensions import override

KEPT_BYTES = 1024 * 1024
"""`SameRows` keeps a manifest of this size, unless one of its files is removed."""
ENTRIES = 10_000
"""Most entries of one manifest."""


class ReplaceFiles(_OverwriteFiles):
    """Removes some files and adds others; keeps all other files.

    Args:
        change: the transaction.
        io: of the table.
        properties: of the snapshot.
        branch: that gets the snapshot.
    """

    sequence: int | None = None
    """Data sequence number of the added files; None: that of the commit."""

    def __init__(
        self,
        change: Transaction,
        io: FileIO,
        properties: Mapping[str, str] = EMPTY_DICT,
        branch: str = MAIN_BRANCH,
    ) -> None:
        super().__init__(
            Operation.OVERWRITE, change, io, snapshot_properties=dict(properties), branch=branch
        )

    def keeps(self, manifest: ManifestFile, live: Sequence[ManifestEntry]) -> bool:  # noqa: ARG002
        """Whether to keep a manifest from which no file is removed."""
        return bool(live)

    def _manifests(self) -> list[ManifestFile]:
        """All manifests of the new snapshot.

        Raises:
            ValidationException: a file to remove is not there any more.
        """
        kept: list[ManifestFile] = []
        staying: list[ManifestEntry] = []
        going: list[ManifestEntry] = []
        for manifest in self._parent_manifests():
            live = self.fetch_manifest_entry(manifest)
            mine = [e for e in live if e.data_file in self._deleted_data_files]
            if not mine and self.keeps(manifest, live):
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
        """A new entry, or an old one; added and deleted entries carry the id of this snapshot."""
        mine = was is None or status == ManifestEntryStatus.DELETED
        return ManifestEntry.from_args(
            status=status,
            snapshot_id=self._snapshot_id if mine or was is None else was.snapshot_id,
            sequence_number=was.sequence_number if was else self.sequence,
            file_sequence_number=was.file_sequence_number if was else None,
            data_file=file,
        )

    def _write(self, entries: Iterable[ManifestEntry]) -> list[ManifestFile]:
        """Write manifests sorted by partition: readers of one partition open few of them."""
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


def change_files(
    change: Transaction,
    io: FileIO,
    added: Sequence[DataFile],
    removed: Sequence[DataFile],
    *,
    properties: Mapping[str, str] = EMPTY_DICT,
    branch: str = MAIN_BRANCH,
) -> None:
    """Stage one snapshot that adds files and removes others.

    It appends where none is removed: streams of other tools read a table as long as its snapshots
    do. The arguments are those of `ReplaceFiles`, and the files.

    Raises:
        ValidationException: a file to remove is not there any more.
    """
    snapshot = (
        ReplaceFiles(change, io, properties, branch)
        if removed
        else change.update_snapshot(dict(properties), branch).fast_append()
    )
    for file in removed:
        snapshot.delete_data_file(file)
    for file in added:
        snapshot.append_data_file(file)
    snapshot.commit()


class SameRows(ReplaceFiles):
    """Replaces files by others with the same rows, and merges all small manifests.

    New files keep the sequence number of their newest row, so that readers of the rows since some
    commit (`state`) do not see them as new.

    Args:
        change: the transaction.
        io: of the table.
        sequence: data sequence number of the added files.
        properties: of the snapshot.
    """

    def __init__(
        self, change: Transaction, io: FileIO, sequence: int, properties: Mapping[str, str]
    ) -> None:
        super().__init__(change, io, properties)
        self.sequence = sequence

    @override
    def keeps(self, manifest: ManifestFile, live: Sequence[ManifestEntry]) -> bool:
        return is_fine(manifest)

    def _summary(self, snapshot_properties: dict[str, str] = EMPTY_DICT) -> Summary:
        """PyIceberg has no summary of `replace`: take that of an overwrite."""
        counted = super()._summary(snapshot_properties)
        return Summary(operation=Operation.REPLACE, **counted.additional_properties)


def is_fine(manifest: ManifestFile) -> bool:
    """Whether a manifest need not be rewritten."""
    return manifest.content == ManifestContent.DELETES or manifest.manifest_length >= KEPT_BYTES
