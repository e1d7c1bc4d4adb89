"""One maintenance run: every table in turn, and a row for each in `quality.maintenance_runs`.

A failure of one table does not stop the others. Running twice changes nothing more. The rows are
written last: a run that dies leaves none, and its commits remain.
"""

from __future__ import annotations

import errno
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime

import pyarrow as pa
from pyiceberg.exceptions import ValidationException
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction

from conf.errors import StorelakeError
from conf.settings import Settings
from streaming.lake.files import file_system, named_files, old_files, remove_unnamed
from streaming.lake.formats import require_iceberg
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.iceberg.commits import LakeTransaction, expire_old, retry_conflicts
from streaming.lake.iceberg.history import tag_history
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.iceberg.replace_files import is_fine
from streaming.lake.maintenance.compact import join_files, replace_files
from streaming.lake.maintenance.plan import Files, files_to_join, has_deletes, live_files
from streaming.lake.protocol import MissingTableError
from streaming.lake.tables import QUALITY_MAINTENANCE_RUNS, TABLES, Table

log = logging.getLogger("storelake.maintenance")


class MaintenanceError(StorelakeError):
    """Maintenance cannot begin; the message states why."""


@dataclass
class Done:
    """Result of one table: a row of `quality.maintenance_runs` without the columns of the run.

    Of a dry run: the expected result.
    """

    table_name: str
    state: str = "nothing to do"
    files_before: int = 0
    files_after: int = 0
    compacted: int = 0
    manifests_before: int = 0
    manifests_after: int = 0
    snapshots_forgotten: int = 0
    files_removed: int = 0
    bytes_removed: int = 0
    seconds: float = 0.0
    note: str | None = None

    def changed(self) -> bool:
        """Whether anything was done."""
        return bool(
            self.compacted
            or self.manifests_after < self.manifests_before
            or self.snapshots_forgotten
            or self.files_removed
        )


def run_maintenance(
    settings: Settings,
    notify: Callable[[str], None],
    *,
    only: str | None = None,
    dry: bool = False,
) -> list[Done]:
    """Maintain the tables of the lake once; streams may run.

    Args:
        settings: of the deployment.
        notify: called with the name of each table.
        only: the name of one table; None: all.
        dry: change nothing, and return the expected results.

    Raises:
        MaintenanceError: there is no table of that name, or the results could not be written.
    """
    require_iceberg(settings, "Maintenance")
    tables = [table for table in TABLES if only in (None, table.name)]
    if not tables:
        names = ", ".join(table.name for table in TABLES)
        raise MaintenanceError(f"The lake has no table {only}; there are: {names}.")
    with closing(open_catalog(settings)) as catalog:
        return maintain(IcebergLake(settings, catalog), tables, notify, dry=dry)


def maintain(
    lake: IcebergLake, tables: Sequence[Table], notify: Callable[[str], None], *, dry: bool = False
) -> list[Done]:
    """The same for an open lake."""
    began = lake.clock()
    done = []
    for table in tables:
        notify(table.name)
        done.append(_one_table(lake, table, dry=dry))
    if not dry:
        try:
            _note(lake, began, done)
        except OSError as error:
            raise MaintenanceError(_sentence(error)) from error
    return done


def _one_table(lake: IcebergLake, table: Table, *, dry: bool) -> Done:
    done, started = Done(table.name), time.monotonic()
    try:
        (_look if dry else _work)(lake, table, done)
        done.state = "done" if done.changed() else done.state
    except MissingTableError:
        done.state, done.note = "gone", "There is no such table: the streams make it."
    except Exception as error:  # the other tables are maintained all the same
        log.warning(
            "%s could not be maintained", table.name, exc_info=True, extra={"table": table.name}
        )
        done.state, done.note = "failed", _sentence(error)
    done.seconds = round(time.monotonic() - started, 3)
    return done


def _look(lake: IcebergLake, table: Table, done: Done) -> None:
    """What a run would do; of orphans only those before it: a run itself makes more of them."""
    iceberg, now = lake.load(table), lake.clock()
    files = live_files(iceberg)
    groups = [] if has_deletes(iceberg) else files_to_join(iceberg, files, table.policy, now)
    done.files_before = len(files)
    done.compacted = sum(map(len, groups))
    done.files_after = len(files) - done.compacted + len(groups)
    done.manifests_before = done.manifests_after = len(_manifests(iceberg))
    if _scattered(iceberg, table):
        done.manifests_after = 1 + sum(map(is_fine, _manifests(iceberg)))
    done.snapshots_forgotten = _tag_and_expire(LakeTransaction(iceberg), lake, table)
    files_there = old_files(file_system(iceberg), iceberg, now - table.policy.orphan_age)
    orphans = files_there.keys() - named_files(iceberg)
    done.files_removed = len(orphans)
    done.bytes_removed = sum(files_there[path] for path in orphans)


def _work(lake: IcebergLake, table: Table, done: Done) -> None:
    done.manifests_before = len(_manifests(lake.load(table)))
    try:
        _compact(lake, table, done)
        if _scattered(lake.load(table), table):
            replace_files(lake, table)
        done.snapshots_forgotten = _expire(lake, table)
    finally:  # frees disk space, and needs none
        _remove_orphans(lake, table, done)
    after = lake.load(table)
    done.files_after, done.manifests_after = len(live_files(after)), len(_manifests(after))


def _compact(lake: IcebergLake, table: Table, done: Done) -> None:
    iceberg = lake.load(table)
    files = live_files(iceberg)
    done.files_before = len(files)
    if has_deletes(iceberg):
        done.state, done.note = "left alone", "It has delete files: compact it with Spark."
        return
    groups = files_to_join(iceberg, files, table.policy, lake.clock())
    joined = [len(group) for group in groups if _join(lake, table, group)]
    done.compacted = sum(joined)
    if len(joined) < len(groups):
        done.note = "The writer replaced some of the files meanwhile: the next run looks again."


def _join(lake: IcebergLake, table: Table, group: Files) -> bool:
    try:
        join_files(lake, table, group)
    except (ValidationException, FileNotFoundError):
        # The load raises where the table is gone.
        live = {entry.data_file.file_path for entry in live_files(lake.load(table))}
        if all(entry.data_file.file_path in live for entry in group):
            raise  # nobody has replaced them: a file of the table is lost
        return False
    return True


@retry_conflicts
def _expire(lake: IcebergLake, table: Table) -> int:
    with LakeTransaction(lake.load(table)) as change:
        return _tag_and_expire(change, lake, table)


def _tag_and_expire(change: Transaction, lake: IcebergLake, table: Table) -> int:
    age, now = table.policy.snapshot_age, lake.clock()
    if age is None:
        age = lake.settings.catalog.snapshot_retention
    tag_history(change, now)
    return expire_old(change, now - age)


def _remove_orphans(lake: IcebergLake, table: Table, done: Done) -> None:
    removed = remove_unnamed(lambda: lake.load(table), lake.clock() - table.policy.orphan_age)
    done.files_removed, done.bytes_removed = len(removed), sum(removed.values())


def _manifests(iceberg: IcebergTable) -> list[ManifestFile]:
    snapshot = iceberg.current_snapshot()
    return snapshot.manifests(iceberg.io) if snapshot else []


def _scattered(iceberg: IcebergTable, table: Table) -> bool:
    """Whether there are too many small manifests."""
    small = [manifest for manifest in _manifests(iceberg) if not is_fine(manifest)]
    return len(small) > table.policy.max_manifests


@retry_conflicts
def _note(lake: IcebergLake, began: datetime, done: Sequence[Done]) -> None:
    try:
        iceberg = lake.load(QUALITY_MAINTENANCE_RUNS)
    except MissingTableError:
        raise MaintenanceError(
            f"The lake has no table {QUALITY_MAINTENANCE_RUNS.name}: start the streams once with "
            "`storelake run`, which makes what is missing."
        ) from None
    run = {"run_id": uuid.uuid4().hex, "ran_at": began}
    rows = pa.Table.from_pylist([run | asdict(one) for one in done], iceberg.schema().as_arrow())
    with lake.transaction(iceberg) as change:
        change.append(rows)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "The disk is full: nothing of it was committed. Make room, and run it again."
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
