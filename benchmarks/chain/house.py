"""The rows of a plan written by the writer of the streams, and the same rows after maintenance.

Both layouts stay in one house: tags name the snapshots of each, and `show` puts the head of every
table, and the tag that the views read, on one of them. So a layout is measured as often as wanted,
and whatever else the metadata holds is the same for both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Literal

import pyarrow as pa
from pyiceberg.table import Table as IcebergTable

from benchmarks.chain.plan import Plan
from benchmarks.chain.rows import slices_of_rows
from conf.errors import StorelakeError
from conf.stores import Stores
from streaming.lake.files import file_system
from streaming.lake.iceberg.commits import retry_conflicts
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.maintenance.run import Done, maintain
from streaming.lake.tables import TABLES, Table
from streaming.lake.views import TAG

Layout = Literal["raw", "maintained"]
LAYOUTS: tuple[Layout, ...] = ("raw", "maintained")
BYTES_A_ROW = {"orders": 130, "detections": 65}
"""On the disk in one layout, with the tables that follow from them; rounded up from trials."""


def needed_bytes(plan: Plan) -> int:
    """Room that the rows take, raw and joined, with half as much again."""
    orders = plan.orders * BYTES_A_ROW["orders"]
    return 3 * (orders + plan.detections * BYTES_A_ROW["detections"])


def write_raw(
    lake: IcebergLake, plan: Plan, stores: Stores, tell: Callable[[str], None]
) -> dict[str, int]:
    """Commit slice after slice; what an earlier, broken run has committed is skipped.

    Returns:
        Rows by table.
    """
    made: dict[str, int] = {}
    for of, rows in slices_of_rows(plan, stores):
        for name, table_rows in rows.items():
            _commit(lake, _table(name), table_rows, of.number)
            made[name] = made.get(name, 0) + len(table_rows)
        tell(f"{of.number + 1} of {plan.commits} commits written")
    for name, count in made.items():
        held = _records(lake.load(_table(name)))
        if held != count:
            raise StorelakeError(
                f"{name} holds {held} rows and should hold {count}: begin anew without --keep."
            )
    return made


def _commit(lake: IcebergLake, table: Table, rows: pa.Table, number: int) -> None:
    if not len(rows):
        return
    if table.strategy == "append":
        lake.append(table, rows, number)
    else:
        lake.upsert(table, rows, table.time_column)


def join_all(lake: IcebergLake, tables: Iterable[Table], tell: Callable[[str], None]) -> list[Done]:
    """Maintenance by the policy of each table, of a house that nobody writes to any more.

    Raises:
        StorelakeError: a table could not be maintained.
    """
    quiet = [replace(t, upkeep=replace(t.upkeep, quiet=timedelta(0))) for t in tables]
    done = maintain(lake, quiet, tell)
    for one in done:
        if one.state not in ("done", "nothing to do"):
            raise StorelakeError(f"{one.table_name} was {one.state}: {one.note}")
    return done


def name_layout(lake: IcebergLake, tables: Iterable[str], layout: Layout) -> None:
    """Put the tag of a layout on what the tables hold now."""
    for name in tables:
        newest = lake.load(_table(name)).current_snapshot()
        if newest is not None:
            lake.tag(name, newest.snapshot_id, layout)


def show(lake: IcebergLake, tables: Iterable[str], layout: Layout) -> None:
    """Make a layout what every query sees."""
    for name in tables:
        _show(lake, name, layout)


@retry_conflicts
def _show(lake: IcebergLake, name: str, layout: Layout) -> None:
    iceberg = lake.load(_table(name))
    ref = iceberg.metadata.refs.get(layout)
    if ref is None:
        return
    head = iceberg.current_snapshot()
    if head is None or head.snapshot_id != ref.snapshot_id:
        iceberg.manage_snapshots().set_current_snapshot(ref_name=layout).commit()
    lake.tag(name, ref.snapshot_id, TAG)


@dataclass(frozen=True)
class Held:
    """What a table consists of."""

    rows: int
    files: int
    bytes: int
    manifests: int


def held(iceberg: IcebergTable) -> Held:
    """The newest snapshot."""
    files = [task.file for task in iceberg.scan().plan_files()]
    snapshot = iceberg.current_snapshot()
    return Held(
        rows=sum(file.record_count for file in files),
        files=len(files),
        bytes=sum(file.file_size_in_bytes for file in files),
        manifests=len(snapshot.manifests(iceberg.io)) if snapshot else 0,
    )


def holdings(lake: IcebergLake, tables: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The same of many, as JSON takes it."""
    return {name: asdict(held(lake.load(_table(name)))) for name in tables}


def forget_pages(lake: IcebergLake, tables: Iterable[str]) -> None:
    """Have the operating system read the data files from the disk again, when they are asked for.

    No caches but its own are touched, and only these files: no rights are needed for that.
    """
    for name in tables:
        iceberg = lake.load(_table(name))
        if not file_system(iceberg).type_name.startswith("local"):
            continue
        for task in iceberg.scan().plan_files():
            handle = os.open(task.file.file_path.removeprefix("file://"), os.O_RDONLY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


def _records(iceberg: IcebergTable) -> int:
    return held(iceberg).rows


def _table(name: str) -> Table:
    return next(table for table in TABLES if table.name == name)
