"""Reads and writes data files of an Iceberg table, without a commit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io.pyarrow import ArrowScan, _dataframe_to_data_files
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.table import Table as IcebergTable


def read_files(
    iceberg: IcebergTable, files: Iterable[DataFile], wanted: Schema | None = None
) -> pa.Table:
    """All rows of some files.

    Args:
        iceberg: their table.
        files: without delete files.
        wanted: the columns; by default all columns of the table.

    Raises:
        FileNotFoundError: one was replaced and removed since the table was loaded.
    """
    return read_tasks(iceberg, [FileScanTask(file) for file in files], wanted)


def read_tasks(
    iceberg: IcebergTable, tasks: Sequence[FileScanTask], wanted: Schema | None = None
) -> pa.Table:
    """All rows of the files of a scan, without those that its delete files name."""
    scan = ArrowScan(iceberg.metadata, iceberg.io, wanted or iceberg.schema(), AlwaysTrue())
    return scan.to_table(tasks)


def write_files(iceberg: IcebergTable, rows: pa.Table) -> list[DataFile]:
    """Write rows in their order to new files, at least one per partition, without a commit."""
    if not rows.num_rows:  # PyIceberg fails there where a table has partitions
        return []
    files = list(_dataframe_to_data_files(iceberg.metadata, rows, iceberg.io))
    for file in files:  # PyIceberg only sets it on files that it reads from a manifest
        file.spec_id = iceberg.metadata.default_spec_id
    return files
