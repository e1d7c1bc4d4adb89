"""Maintenance beside streams: compaction and expiry at once, and a reader that is slow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pyarrow as pa
from pyiceberg.io.pyarrow import ArrowScan

from infra.local.process import wait_until
from quality.reconciliation import ORDERS
from streaming.lake.formats import open_lake
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.maintenance.plan import live_files
from verification.deployment import COMMAND_SECONDS
from verification.faults.deployment import SupervisedDeployment, now
from verification.faults.fault import CannotFireError, Fired, NotFiredError
from verification.processes import Ended, command, run_to_end

TABLE = ORDERS.good
COMPACT_SECONDS = 150.0
AT_ONCE = {"STORELAKE_CATALOG__SNAPSHOT_RETENTION": "PT0S"}
"""Snapshots expire at once; their files are kept for an hour."""


def maintain_at_once(deployment: SupervisedDeployment) -> Fired:
    """Two runs of `storelake maintain` at the same time, beside the supervisor's own."""
    failed = list[str]()

    def both() -> None:
        with ThreadPoolExecutor(2) as pool:
            ended = [pool.submit(_maintain, deployment) for _ in range(2)]
        failed.extend(one.result().last_lines(1) for one in ended if one.result().code)

    with closing(_iceberg(deployment)) as lake:
        planned = _Planned(lake)
        since = now()
        gone = _until_replaced(planned, both)
    broken = [f"storelake maintain: {one}" for one in failed]
    return Fired(
        f"{gone} of {planned.files} files compacted, their snapshot expired", since, broken
    )


def slow_reader(deployment: SupervisedDeployment) -> Fired:
    """A reader plans a scan; compaction and expiry run; then it reads what it has planned."""
    with closing(_iceberg(deployment)) as lake:
        planned = _Planned(lake)
        gone = _until_replaced(planned, lambda: _maintain(deployment))
        since, rows = now(), planned.read()
    broken = [] if rows == planned.rows else [f"{planned.rows} rows were planned, {rows} read"]
    observed = f"{gone} of {planned.files} planned files compacted, their snapshot expired"
    return Fired(f"{observed}; {rows:,} rows read", since, broken)


class _Planned:
    """A scan of the snapshot of now, planned and not yet read."""

    def __init__(self, lake: IcebergLake) -> None:
        self.table = lake.load(TABLE)
        self._scan = self.table.scan()
        self._tasks = list(self._scan.plan_files())
        self.files = len(self._tasks)
        self.paths = {task.file.file_path for task in self._tasks}
        self.rows = sum(task.file.record_count for task in self._tasks)
        self.snapshot = self.table.metadata.current_snapshot_id

    def read(self) -> int:
        """Rows in the files that were planned."""
        table, scan = self.table, self._scan
        reader = ArrowScan(table.metadata, table.io, scan.projection(), scan.row_filter)
        rows: pa.Table = reader.to_table(self._tasks)
        return int(rows.num_rows)


def _until_replaced(planned: _Planned, maintain: Callable[[], object]) -> int:
    """Maintain until the snapshot has expired, and some of its files are compacted.

    Returns:
        How many files that are.

    Raises:
        NotFiredError: neither happens in time.
    """

    def gone() -> int:
        maintain()
        table = planned.table.refresh()
        kept = any(one.snapshot_id == planned.snapshot for one in table.metadata.snapshots)
        left = {entry.data_file.file_path for entry in live_files(table)}
        return 0 if kept else len(planned.paths - left)

    if not wait_until(lambda: gone() > 0, COMPACT_SECONDS, every=2.0):
        raise NotFiredError(f"no file of the snapshot is compacted in {COMPACT_SECONDS:.0f} s")
    return gone()


def _maintain(deployment: SupervisedDeployment) -> Ended:
    deployment.step("storelake maintain")
    given = {**deployment.environment, **AT_ONCE}
    return run_to_end(command(["maintain"], given), COMMAND_SECONDS)


def _iceberg(deployment: SupervisedDeployment) -> IcebergLake:
    """The lake; close it.

    Raises:
        CannotFireError: its tables are in Delta, which `storelake maintain` leaves alone.
    """
    lake = open_lake(deployment.settings)
    if isinstance(lake, IcebergLake):
        return lake
    lake.close()
    raise CannotFireError("maintenance is for Iceberg")
