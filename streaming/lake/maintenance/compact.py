"""Small files into one, sorted; many manifests into few.

Exactly the rows that were there, in one commit: a crash or a full disk before it leaves files that
no snapshot names, which `run.py` removes when they are old. What the writer of the table commits
meanwhile stays; where it has replaced one of the files, nothing is committed.
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
    """Files do not hold what the table says; nothing was committed."""


def join_files(lake: IcebergLake, table: Table, files: Sequence[ManifestEntry]) -> int:
    """Make some files of one partition one; returns how many there are in their place.

    Raises:
        ValidationException: the writer has replaced one of them.
        FileNotFoundError: the same, and it is removed already.
        RowsLostError: they hold fewer or more rows than the table says.
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
    """One commit; without files, of manifests alone.

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
