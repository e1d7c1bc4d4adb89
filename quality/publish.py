"""Write, audit, publish: rows become visible only after validation (backfills, repairs).

Rows are written to a branch of an Iceberg table and validated there by the table's row suites; one
commit adds them to main when nothing critical fails. Streams may continue writing to main
meanwhile. Exactly-once: the commit that publishes also removes the branch.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError, ValidationException
from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import Transaction
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ManageSnapshots

from conf.errors import StorelakeError
from conf.settings import Settings
from conf.stores import load_stores
from quality import store
from quality.context import AuditContext
from quality.engines import Engines
from quality.results import Result, to_result
from quality.suite import RowSuite
from quality.suites import all_suites
from streaming.lake.formats import require_iceberg
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.iceberg.commits import LakeTransaction, retry_conflicts
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.iceberg.replace_files import change_files
from streaming.lake.iceberg.state import IcebergIncrement
from streaming.sinks.postgres import Database


class BranchPublishError(StorelakeError):
    """A branch that is not there, or that main cannot take over; the message states why."""


@dataclass(frozen=True)
class Published:
    """Outcome of a publication.

    Attributes:
        rows: that main got; None when something critical failed, and the branch is kept.
    """

    results: list[Result]
    rows: int | None


def begin_branch(settings: Settings, table: str, branch: str) -> None:
    """Begin a branch of a table of the lake.

    Raises:
        PublishError: there is no such table, or such a branch already.
        LakeError: the lake is in Delta, which has no branches.
    """
    require_iceberg(settings, "A branch of a table")
    with closing(open_catalog(settings)) as catalog:
        open_branch(_load(catalog, table), branch)


def publish_branch(settings: Settings, table: str, branch: str, engines: Engines) -> Published:
    """Validate what a branch adds, keep the results, and publish it when nothing critical failed.

    Raises:
        PublishError: there is no such table or branch, or main cannot take it over.
        LakeError: the lake is in Delta, which has no branches.
    """
    require_iceberg(settings, "A branch of a table")
    stores = load_stores(settings.stores_file)
    suites = [
        suite
        for suite in all_suites(settings, stores)
        if isinstance(suite, RowSuite) and suite.table == table
    ]
    with (
        closing(open_catalog(settings)) as catalog,
        closing(Database(settings.postgres.dsn, 2)) as db,
    ):
        iceberg = _load(catalog, table)
        audited, results = audit(iceberg, branch, suites, engines)
        context = AuditContext(
            settings, stores, datetime.now(timezone.utc), IcebergLake(settings, catalog), db
        )
        store.write(context, store.new_run_id(), results, ())
        if any(not one.success and one.severity == "critical" for one in results):
            return Published(results, None)
        return Published(results, publish(iceberg, branch, audited))


def _load(catalog: Catalog, table: str) -> IcebergTable:
    try:
        return catalog.load_table(table)
    except NoSuchTableError as error:
        raise BranchPublishError(f"There is no table {table} in the lake.") from error


@retry_conflicts
def open_branch(iceberg: IcebergTable, branch: str) -> None:
    """Begin a branch at the newest snapshot; a tag beside it keeps the snapshot it began with.

    Raises:
        PublishError: there is such a branch, or no snapshot to begin with.
    """
    snapshot = iceberg.refresh().current_snapshot()
    if branch in iceberg.metadata.refs or _base(branch) in iceberg.metadata.refs:
        raise BranchPublishError(f"{_name(iceberg)} has a branch {branch} already.")
    if snapshot is None:
        raise BranchPublishError(f"{_name(iceberg)} is empty: write to it without a branch.")
    with iceberg.transaction() as change:
        refs = ManageSnapshots(change)
        refs.create_tag(snapshot.snapshot_id, _base(branch))
        refs.create_branch(snapshot.snapshot_id, branch).commit()
    iceberg.refresh()


def is_begun(iceberg: IcebergTable, branch: str) -> bool:
    """Whether there is such a branch, and something was written to it."""
    refs = iceberg.metadata.refs
    return branch in refs and refs[branch].snapshot_id != refs[_base(branch)].snapshot_id


@retry_conflicts
def drop_branch(iceberg: IcebergTable, branch: str) -> None:
    """Delete a branch and the tag of its base."""
    iceberg.refresh()
    with iceberg.transaction() as change:
        ManageSnapshots(change).remove_branch(branch).remove_tag(_base(branch)).commit()
    iceberg.refresh()


def audit(
    iceberg: IcebergTable, branch: str, suites: Sequence[RowSuite], engines: Engines
) -> tuple[int, list[Result]]:
    """Validate the rows that a branch adds; nothing changes.

    Returns:
        The id of the branch's newest snapshot, which was validated, and the results.

    Raises:
        PublishError: there is no such branch.
    """
    head, added, _ = _compare(iceberg, branch)
    results: list[Result] = []
    rows = IcebergIncrement(iceberg, head, tuple(added)).to_arrow()
    for suite in suites:
        shaped = suite.shape(rows)
        if shaped.num_rows:
            validated = engines.validate_rows(suite, shaped)
            results += [
                to_result(suite, head.snapshot_id, one, shaped.num_rows)
                for one in validated.results
            ]
    return head.snapshot_id, results


@retry_conflicts
def publish(iceberg: IcebergTable, branch: str, audited: int) -> int:
    """Give main what a branch added, and remove the branch, in one commit.

    Where main has not moved since, it takes over the branch's snapshot; else it gets the files that
    the branch added, and loses those that the branch removed.

    Args:
        iceberg: the table.
        branch: its branch.
        audited: the snapshot of the branch that `audit` has validated.

    Returns:
        The number of rows that main got.

    Raises:
        PublishError: there is no such branch; it was written to after it was validated; or main
            has rewritten files, too, that the branch removed.
    """
    iceberg.refresh()
    head, added, removed = _compare(iceberg, branch)
    if head.snapshot_id != audited:
        raise BranchPublishError(
            f"Somebody has written to the branch {branch} of {_name(iceberg)} after it was "
            "validated: publish it again, which validates it again."
        )
    refs = iceberg.metadata.refs
    moved = refs[MAIN_BRANCH].snapshot_id != refs[_base(branch)].snapshot_id
    with LakeTransaction(iceberg) as change:
        if not moved:
            ManageSnapshots(change).set_current_snapshot(head.snapshot_id)
        else:
            _take_over(change, iceberg, branch, added, removed)
        ManageSnapshots(change).remove_branch(branch).remove_tag(_base(branch)).commit()
    return sum(file.record_count for file in added)


def _take_over(
    change: Transaction,
    iceberg: IcebergTable,
    branch: str,
    added: Sequence[DataFile],
    removed: Sequence[DataFile],
) -> None:
    try:
        change_files(change, iceberg.io, added, removed)
    except ValidationException as error:
        raise BranchPublishError(
            f"Rows that the branch {branch} rewrote or deleted have been rewritten meanwhile: "
            "begin a new branch, and write to it again."
        ) from error


def _compare(iceberg: IcebergTable, branch: str) -> tuple[Snapshot, list[DataFile], list[DataFile]]:
    """The head of a branch, the files that it added, and those that it removed."""
    refs = iceberg.metadata.refs
    if branch == MAIN_BRANCH or branch not in refs or _base(branch) not in refs:
        known = sorted(name for name in refs if _base(name) in refs)
        raise BranchPublishError(
            f"{_name(iceberg)} has no branch {branch} to publish; there are: "
            f"{', '.join(known) or 'none'}."
        )
    head, base = (
        iceberg.metadata.snapshot_by_id(refs[name].snapshot_id) for name in (branch, _base(branch))
    )
    assert head is not None and base is not None  # noqa: S101, PT018 (a ref keeps its snapshot)
    before, after = _files(iceberg, base), _files(iceberg, head)
    added = [file for path, file in after.items() if path not in before]
    return head, added, [file for path, file in before.items() if path not in after]


def _files(iceberg: IcebergTable, snapshot: Snapshot) -> dict[str, DataFile]:
    return {
        entry.data_file.file_path: entry.data_file
        for manifest in snapshot.manifests(iceberg.io)
        if manifest.content == ManifestContent.DATA
        for entry in manifest.fetch_manifest_entry(iceberg.io, discard_deleted=True)
    }


def _base(branch: str) -> str:
    return f"{branch}-base"


def _name(iceberg: IcebergTable) -> str:
    return ".".join(iceberg.name()[-2:])
