"""Compacts small files into a sorted one, and many manifests into few.

One commit with exactly the same rows: a crash or a full disk before it leaves orphan files, which
`run.py` removes when they are old. Commits of the table's writer in the meantime are kept; where it
has replaced one of the files, nothing is committed.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyiceberg.manifest import DataFile, ManifestEntry

from conf.errors import StorelakeError
from streaming.lake.iceberg.commits import carried_progress, retry_conflicts
from streaming.lake.iceberg.files import read_files, write_files
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.iceberg.replace_files import SameRows
from streaming.lake.tables import Table


class RowsLostError(StorelakeError):
    """Files hold another number of rows than the table records; nothing was committed."""


def join_files(lake: IcebergLake, table: Table, files: Sequence[ManifestEntry]) -> int:
    """Compact files of one partition; returns the number of new files.

    Raises:
        ValidationException: the writer has replaced one of them.
        FileNotFoundError: the same, and it is removed already.
        RowsLostError: they hold fewer or more rows than the table records.
    """
    iceberg = lake.load(table)
    rows = read_files(iceberg, [entry.data_file for entry in files])
    counted = sum(entry.data_file.record_count for entry in files)
    if rows.num_rows != counted:
        raise RowsLostError(
            f"{table.name}: {len(files)} files hold {rows.num_rows} rows and should hold {counted}."
        )
    columns = [name for name in table.sort if name in rows.column_names]
    ordered = rows.sort_by([(name, "ascending") for name in columns]) if columns else rows
    new = write_files(iceberg, ordered)
    newest = max(entry.sequence_number or 0 for entry in files)
    replace_files(lake, table, [entry.data_file for entry in files], new, newest)
    return len(new)


@retry_conflicts
def replace_files(
    lake: IcebergLake,
    table: Table,
    old: Sequence[DataFile] = (),
    new: Sequence[DataFile] = (),
    sequence: int = 0,
) -> None:
    """Replace files by others with the same rows, and merge small manifests, in one commit.

    Raises:
        ValidationException: one of the old files is not in the table any more.
    """
    iceberg = lake.load(table)
    with lake.transaction(iceberg) as change:
        replace = SameRows(change, iceberg.io, sequence, carried_progress(iceberg))
        for file in old:
            replace.delete_data_file(file)
        for file in new:
            replace.append_data_file(file)
        replace.commit()
