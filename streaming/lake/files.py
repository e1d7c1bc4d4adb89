"""Files of a table of the lake: those that its snapshots name, and those in its folder.

Works on every file system that the warehouse may be on. A file that no snapshot names may belong to
a commit in progress, so only an old one counts as an orphan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from urllib.parse import urlparse

from cachetools import LRUCache, cached
from pyarrow import fs
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Snapshot

ENDINGS = (".parquet", ".avro", ".metadata.json")
"""Of the files that writers make below a table: data, manifests and their lists, metadata."""
MANIFEST_LISTS: LRUCache[str, Sequence[ManifestFile]] = LRUCache(500_000, len)
MANIFESTS: LRUCache[str, ManifestFile] = LRUCache(10_000)
DATA_FILES: LRUCache[str, Sequence[str]] = LRUCache(100_000, len)
"""Metadata files never change, so the service reads in each run only those that are new. Snapshots
share their manifests, by path, and the paths of data files in each."""


def named_files(iceberg: IcebergTable) -> set[str]:
    """Paths of all data, manifest and metadata files that a snapshot or the catalog names."""
    return {path_of(location) for location in _locations(iceberg)}


def _locations(iceberg: IcebergTable) -> Iterator[str]:
    yield iceberg.metadata_location
    yield from (entry.metadata_file for entry in iceberg.metadata.metadata_log)
    seen: set[str] = set()
    for snapshot in iceberg.metadata.snapshots:
        yield snapshot.manifest_list
        for manifest in _manifests(snapshot, iceberg.io):
            if manifest.manifest_path in seen:  # snapshots share most of theirs
                continue
            seen.add(manifest.manifest_path)
            yield manifest.manifest_path
            yield from _data_files(manifest, iceberg.io)


@cached(MANIFEST_LISTS, key=lambda snapshot, _: snapshot.manifest_list)
def _manifests(snapshot: Snapshot, io: FileIO) -> Sequence[ManifestFile]:
    return [MANIFESTS.setdefault(m.manifest_path, m) for m in snapshot.manifests(io)]


@cached(DATA_FILES, key=lambda manifest, _: manifest.manifest_path)
def _data_files(manifest: ManifestFile, io: FileIO) -> Sequence[str]:
    entries = manifest.fetch_manifest_entry(io, discard_deleted=True)
    return [entry.data_file.file_path for entry in entries]


def file_system(iceberg: IcebergTable) -> fs.FileSystem:
    """The file system that the table is on."""
    io, parts = iceberg.io, urlparse(iceberg.location())
    assert isinstance(io, PyArrowFileIO)  # noqa: S101 - what open_catalog makes
    return io.fs_by_scheme(parts.scheme or "file", parts.netloc or None)


def list_files(disk: fs.FileSystem, iceberg: IcebergTable, *endings: str) -> list[fs.FileInfo]:
    """Files below the table with one of these endings."""
    below = fs.FileSelector(path_of(iceberg.location()), recursive=True, allow_not_found=True)
    return [f for f in disk.get_file_info(below) if f.is_file and f.path.endswith(endings)]


def old_files(disk: fs.FileSystem, iceberg: IcebergTable, before: datetime) -> dict[str, int]:
    """Path and bytes of the files that were last written before a time."""
    files = list_files(disk, iceberg, *ENDINGS)
    return {f.path: f.size for f in files if f.mtime < before}


def remove_unnamed(
    load: Callable[[], IcebergTable], before: datetime, known: Collection[str] = ()
) -> dict[str, int]:
    """Remove files that no snapshot names; returns their paths and bytes.

    Args:
        load: returns the table as it is now.
        before: files that were last written then or later may belong to a commit in progress.
        known: paths of files that do not, whatever their age.
    """
    iceberg = load()
    disk = file_system(iceberg)
    # First list the files, then those in use: so a commit in between keeps its files.
    there = dict.fromkeys(known, 0) | old_files(disk, iceberg, before)
    unnamed = sorted(there.keys() - named_files(load()))
    return {path: there[path] for path in unnamed if _remove_file(disk, path)}


def _remove_file(disk: fs.FileSystem, path: str) -> bool:
    """Delete a file and its checksum file; False where it was gone."""
    try:
        disk.delete_file(path)
    except FileNotFoundError:  # an earlier removal was cut short
        return False
    # Hadoop's file system, by which Spark writes to disks, writes a checksum file for each file.
    if not isinstance(disk, fs.LocalFileSystem):
        return True
    folder, _, name = path.rpartition("/")
    crc = f"{folder}/.{name}.crc"
    if disk.get_file_info(crc).is_file:
        disk.delete_file(crc)
    return True


def path_of(location: str) -> str:
    """The path of a location on its file system."""
    parts = urlparse(location)
    return parts.path if parts.scheme in {"", "file"} else f"{parts.netloc}{parts.path}"
