"""Maintenance: few sorted files with exactly the rows that were there, while others write."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.exceptions import ValidationException
from pyiceberg.table import Table as IcebergTable

from conf.settings import load_settings
from quality.run import QualityError, Reached, ValidationPlan, _start
from streaming.lake.files import file_system, list_files, named_files
from streaming.lake.iceberg.commits import LakeTransaction, expire_old
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.iceberg.state import IcebergState, added_since
from streaming.lake.maintenance.compact import join_files
from streaming.lake.maintenance.plan import files_to_join, live_files
from streaming.lake.maintenance.run import Done, MaintenanceError, maintain, run_maintenance
from streaming.lake.tables import QUALITY_MAINTENANCE_RUNS, Table
from tests.support.small_lake import AT_ONCE, EVENTS, SALES, events, make_tables, open_lake, sales

pytestmark = pytest.mark.requirement("L3")


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[IcebergLake]:
    with closing(open_lake(tmp_path)) as catalog:
        make_tables(catalog)
        yield IcebergLake(load_settings(), catalog)


def write(lake: IcebergLake, *positions: int, **of: Any) -> None:
    """One commit for each."""
    for position in positions:
        lake.append(EVENTS, events(position, **of), position)


def positions(lake: IcebergLake) -> list[int]:
    return sorted(int(p) for p in lake.load(EVENTS).scan().to_arrow()["position"].to_pylist())


def policy(lake: IcebergLake, table: Table = EVENTS, **changed: Any) -> Done:
    """One run over one table, with the policy changed."""
    kept = replace(table, policy=replace(table.policy, **changed))
    (done,) = maintain(lake, [kept], lambda _: None)
    return done


def files(lake: IcebergLake, table: Table = EVENTS) -> int:
    return len(live_files(lake.load(table)))


@contextmanager
def nearly_full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: the operating system refuses the write."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_stream_that_starts_again_after_maintenance_writes_nothing_twice(
    lake: IcebergLake,
) -> None:
    write(lake, 1, 2, 3, 4)
    done = policy(lake)
    assert (done.compacted, done.snapshots_forgotten) == (4, 4)

    again = IcebergLake(lake.settings, lake.catalog)
    assert again.append(EVENTS, events(3, 4, 5), 9) == 1
    assert positions(lake) == [1, 2, 3, 4, 5]


def test_expiring_snapshots_spares_the_one_that_has_the_positions(lake: IcebergLake) -> None:
    write(lake, 1, 2)
    table = lake.load(EVENTS)
    by_others = events(8).select([f.name for f in table.schema().fields])
    table.append(by_others.cast(table.schema().as_arrow()))  # has no positions
    table.append(by_others.cast(table.schema().as_arrow()))

    with LakeTransaction(table.refresh()) as change:
        assert expire_old(change, datetime.now(timezone.utc) + timedelta(hours=1)) == 2
    assert len(table.refresh().metadata.snapshots) == 2
    assert IcebergLake(lake.settings, lake.catalog).append(EVENTS, events(1, 2), 9) == 0


def test_small_files_of_a_partition_become_one_and_the_second_run_finds_nothing(
    lake: IcebergLake,
) -> None:
    for position in range(1, 7):
        write(lake, position, shop="BA"[position % 2], day=position % 2)
    done = policy(lake)
    assert (done.state, done.files_before, done.files_after) == ("done", 6, 2)
    assert positions(lake) == [1, 2, 3, 4, 5, 6]
    days = {str(e.data_file.partition) for e in live_files(lake.load(EVENTS))}
    assert len(days) == 2

    policy(lake)  # the files of snapshots that are expired
    again = policy(lake)
    assert (again.state, again.compacted, files(lake)) == ("nothing to do", 0, 2)


def test_rows_of_a_compacted_file_are_in_order(lake: IcebergLake) -> None:
    for shop, position in (("B", 1), ("A", 2), ("B", 3), ("A", 4)):
        write(lake, position, shop=shop)
    policy(lake)
    rows = lake.load(EVENTS).scan().to_arrow()
    assert list(zip(rows["shop"].to_pylist(), rows["position"].to_pylist(), strict=True)) == [
        ("A", "000002"),
        ("A", "000004"),
        ("B", "000001"),
        ("B", "000003"),
    ]


def test_rows_that_passed_are_not_validated_again_and_new_ones_are(lake: IcebergLake) -> None:
    write(lake, 1, 2, 3)
    table = lake.load(EVENTS)
    passed = table.current_snapshot()
    assert passed is not None
    table.manage_snapshots().create_tag(passed.snapshot_id, "validated").commit()
    write(lake, 4, 5, 6)
    assert policy(lake).compacted == 6
    table.refresh()
    due = added_since(table, passed.sequence_number or 0)
    assert sorted(due.to_arrow()["position"].to_pylist()) == ["000004", "000005", "000006"]
    assert added_since(table, 0).rows == 6


def test_recent_files_are_left_to_the_writer(lake: IcebergLake) -> None:
    write(lake, 1, 2, 3)
    assert policy(lake, quiet=timedelta(hours=1), snapshot_age=timedelta(hours=1)).compacted == 0
    assert files(lake) == 3


def test_a_large_file_is_rewritten_only_with_as_much_beside_it(lake: IcebergLake) -> None:
    lake.append(EVENTS, events(*range(1, 5001)), 1)
    write(lake, *range(5001, 5005))
    policy(lake)
    sizes = sorted(e.data_file.record_count for e in live_files(lake.load(EVENTS)))
    assert sizes == [4, 5000]


def test_a_tag_and_a_branch_keep_what_they_name(lake: IcebergLake) -> None:
    write(lake, 1, 2)
    table = lake.load(EVENTS)
    tagged = table.current_snapshot()
    assert tagged is not None
    refs = table.manage_snapshots().create_tag(tagged.snapshot_id, "month-end")
    refs.create_branch(tagged.snapshot_id, "repair").commit()
    write(lake, 3, 4, 5)
    policy(lake)
    table.refresh()
    assert table.scan(snapshot_id=tagged.snapshot_id).to_arrow().num_rows == 2
    assert table.scan().use_ref("repair").to_arrow().num_rows == 2
    assert table.scan().to_arrow().num_rows == 5


def test_a_read_of_an_expired_snapshot_is_one_sentence(lake: IcebergLake) -> None:
    write(lake, 1, 2, 3)
    gone = lake.load(EVENTS).metadata.snapshots[0].snapshot_id
    policy(lake)
    table = lake.load(EVENTS)
    state = IcebergState(table)
    with pytest.raises(QualityError, match=f"has no snapshot {gone}; it may have expired"):
        _start(ValidationPlan(since=gone), Reached.of(state, EVENTS.name, None), state)


def test_manifests_are_few_and_name_the_same_files(lake: IcebergLake) -> None:
    write(lake, *range(1, 7))
    done = policy(lake, min_files=100)
    assert (done.compacted, done.manifests_before, done.manifests_after) == (0, 6, 1)
    assert positions(lake) == [1, 2, 3, 4, 5, 6]


def test_only_old_files_that_no_snapshot_names_are_removed(lake: IcebergLake) -> None:
    write(lake, 1, 2, 3)
    table = lake.load(EVENTS)
    folder = Path(table.location().removeprefix("file://")) / "data"
    for name, age in (("left", 7200), ("under-way", 0)):
        file = folder / f"{name}.parquet"
        file.write_bytes(b"half of a file")
        then = file.stat().st_mtime - age
        os.utime(file, (then, then))
    before = named_files(table)
    done = policy(lake, min_files=100, orphan_age=timedelta(hours=1), snapshot_age=timedelta(1))
    assert (done.files_removed, done.bytes_removed) == (1, 14)
    assert (folder / "under-way.parquet").exists()
    assert all(Path(path).exists() for path in before if path.endswith((".parquet", ".avro")))


def test_files_that_only_expired_snapshots_named_are_removed(lake: IcebergLake) -> None:
    write(lake, 1, 2, 3)
    policy(lake)
    policy(lake)
    table = lake.load(EVENTS)
    there = {f.path for f in list_files(file_system(table), table, ".parquet")}
    assert len(there) == 1
    assert there <= named_files(table)
    assert positions(lake) == [1, 2, 3]


def test_a_writer_and_maintenance_commit_at_the_same_time(
    lake: IcebergLake, tmp_path: Path
) -> None:
    wrong: list[Exception] = []
    # Not at once: a writer may look at what it has just committed.
    beside = replace(EVENTS, policy=replace(AT_ONCE, orphan_age=timedelta(minutes=1)))

    def stream() -> None:
        try:
            with closing(open_lake(tmp_path)) as catalog:
                mine = IcebergLake(lake.settings, catalog)
                for number in range(1, 13):
                    mine.append(EVENTS, events(number), number)
                    mine.upsert(SALES, sales(number, hour=number % 3), "hour")
        except Exception as error:
            wrong.append(error)

    writer = threading.Thread(target=stream)
    writer.start()
    runs = []
    while writer.is_alive():
        runs += maintain(lake, [beside, replace(SALES, policy=beside.policy)], lambda _: None)
    writer.join()
    runs += maintain(lake, [beside], lambda _: None)

    assert wrong == []
    assert {one.state for one in runs} <= {"done", "nothing to do"}
    assert sum(one.compacted for one in runs) >= 12
    assert positions(lake) == list(range(1, 13))
    sold = lake.load(SALES).scan().to_arrow().to_pylist()
    assert sorted(row["sold"] for row in sold) == [10, 11, 12]


def test_nothing_is_committed_where_the_writer_has_replaced_a_file_meanwhile(
    lake: IcebergLake,
) -> None:
    for hour in range(3):
        lake.upsert(SALES, sales(hour, hour), "hour")
    table = lake.load(SALES)
    (planned,) = files_to_join(table, live_files(table), AT_ONCE, datetime.now(timezone.utc))
    lake.upsert(SALES, sales(99, hour=1), "hour")

    with pytest.raises(ValidationException, match="replaced or deleted meanwhile"):
        join_files(lake, SALES, planned)
    assert sorted(lake.load(SALES).scan().to_arrow()["sold"].to_pylist()) == [0, 2, 99]
    assert policy(lake, SALES).compacted == 3
    assert sorted(lake.load(SALES).scan().to_arrow()["sold"].to_pylist()) == [0, 2, 99]


def test_a_file_that_is_lost_is_a_failure_and_not_taken_for_one_that_a_writer_has_replaced(
    lake: IcebergLake,
) -> None:
    write(lake, 1, 2, 3)
    lost = live_files(lake.load(EVENTS))[0].data_file.file_path.removeprefix("file://")
    Path(lost).unlink()
    done = policy(lake)
    assert done.state == "failed"
    assert done.note is not None
    assert lost in done.note


def test_a_tag_that_was_set_meanwhile_is_not_expired(lake: IcebergLake) -> None:
    write(lake, 1, 2, 3)
    stale, table = lake.load(EVENTS), lake.load(EVENTS)
    first = table.metadata.snapshots[0].snapshot_id
    change = LakeTransaction(stale)
    expire_old(change, datetime.now(timezone.utc) + timedelta(hours=1))
    change.append(events(9).select(stale.schema().column_names).cast(stale.schema().as_arrow()))
    table.manage_snapshots().create_tag(first, "month-end").commit()
    with pytest.raises(Exception, match="meanwhile"):
        change.commit_transaction()
    assert table.refresh().metadata.refs["month-end"].snapshot_id == first
    assert table.metadata.snapshot_by_id(first) is not None


def test_a_table_that_is_dropped_under_it_is_named_and_the_next_one_is_maintained(
    lake: IcebergLake,
) -> None:
    write(lake, 1, 2, 3)
    lake.catalog.drop_table(SALES.name)
    gone, kept = maintain(lake, [SALES, EVENTS], lambda _: None)
    assert (gone.state, gone.note) == ("gone", "There is no such table: the streams make it.")
    assert kept.state == "done"


def test_a_disk_that_fills_up_leaves_the_table_as_it_was(lake: IcebergLake, tmp_path: Path) -> None:
    for number in range(3):
        start = number * 30_000
        lake.append(EVENTS, events(*range(start, start + 30_000)), number)
    before = lake.load(EVENTS).metadata_location
    largest = max(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file())
    with nearly_full_disk(largest + 1):
        done = policy(lake, orphan_age=timedelta(hours=1), snapshot_age=timedelta(hours=1))
    assert done.state == "failed"
    assert done.note is not None
    assert done.note.startswith("The disk is full: nothing of it was committed.")
    table = lake.load(EVENTS)
    assert (table.metadata_location, files(lake)) == (before, 3)
    halves = {f.path for f in list_files(file_system(table), table, ".parquet")}
    assert len(halves - named_files(table)) == 1

    mended = policy(lake)
    assert (mended.state, mended.files_after) == ("done", 1)
    policy(lake)
    table = lake.load(EVENTS)
    assert {f.path for f in list_files(file_system(table), table, ".parquet")} <= named_files(table)
    assert len(positions(lake)) == 90_000


def test_files_of_an_older_partition_spec_are_rewritten_by_the_new_one(lake: IcebergLake) -> None:
    write(lake, 1, 2, 3)
    with lake.load(EVENTS).update_spec() as spec:
        spec.add_identity("shop")
    for position, shop in ((4, "A"), (5, "B"), (6, "A"), (7, "B"), (8, "A"), (9, "B")):
        write(lake, position, shop=shop)
    done = policy(lake)
    assert (done.state, done.files_after) == ("done", 3)
    table: IcebergTable = lake.load(EVENTS)
    assert {e.data_file.spec_id for e in live_files(table)} == {table.spec().spec_id}
    assert positions(lake) == list(range(1, 10))
    assert table.scan("shop == 'B'").to_arrow().num_rows == 3


def test_a_dry_run_reports_what_would_be_done_and_does_nothing(lake: IcebergLake) -> None:
    write(lake, 1, 2, 3, 4, 5)
    before = lake.load(EVENTS).metadata_location
    (report,) = maintain(lake, [EVENTS], lambda _: None, dry=True)
    assert (report.state, report.compacted, report.files_after) == ("done", 5, 1)
    assert lake.load(EVENTS).metadata_location == before
    assert lake.load(QUALITY_MAINTENANCE_RUNS).scan().to_arrow().num_rows == 0


def test_each_run_leaves_a_row_a_table(lake: IcebergLake) -> None:
    write(lake, 1, 2, 3)
    maintain(lake, [EVENTS, SALES], lambda _: None)
    rows = lake.load(QUALITY_MAINTENANCE_RUNS).scan().to_arrow().to_pylist()
    assert {(r["table_name"], r["state"], r["compacted"]) for r in rows} == {
        (EVENTS.name, "done", 3),
        (SALES.name, "nothing to do", 0),
    }
    assert len({r["run_id"] for r in rows}) == 1


def test_an_empty_table_has_nothing_to_do_and_an_unknown_one_is_named(lake: IcebergLake) -> None:
    assert policy(lake).state == "nothing to do"
    with pytest.raises(MaintenanceError, match=r"no table gold\.nothing; there are: bronze"):
        run_maintenance(lake.settings, lambda _: None, only="gold.nothing")
