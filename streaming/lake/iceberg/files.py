"""Rows as data files of an Iceberg table, read and written beside its commits."""

from __future__ import annotations

from collections.abc import Iterable

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
        iceberg: the table that they are of.
        files: without deletes of their own.
        wanted: the columns; by default all that the table has.

    Raises:
        FileNotFoundError: one was replaced and removed since the table was loaded.
    """
    scan = ArrowScan(iceberg.metadata, iceberg.io, wanted or iceberg.schema(), AlwaysTrue())
    return scan.to_table([FileScanTask(file) for file in files])


def write_files(iceberg: IcebergTable, rows: pa.Table) -> list[DataFile]:
    """Rows, in their order, as files that no snapshot names yet: one or more a partition."""
    files = list(_dataframe_to_data_files(iceberg.metadata, rows, iceberg.io))
    for file in files:  # which PyIceberg only says of files that it reads from a manifest
        file.spec_id = iceberg.metadata.default_spec_id
    return files
