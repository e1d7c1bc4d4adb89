"""Retention deletes rows from files, also beside validation and a stream that is writing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.table import Table as IcebergTable

from conf.settings import load_settings
from streaming.lake.files import remove_unnamed
from streaming.lake.iceberg.history import VALIDATED, validated_sequence
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.iceberg.purge import YOUNG, Purged, purge
from streaming.lake.protocol import LakeError, Staged
from tests.support.small_lake import EVENTS, NOON, events, make_tables, open_lake

pytestmark = pytest.mark.requirement("S2")


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[IcebergLake]:
    with closing(open_lake(tmp_path)) as catalog:
        make_tables(catalog)
        yield IcebergLake(load_settings(), catalog)


def at(hour: int, *positions: int) -> pa.Table:
    """Messages so many hours after noon."""
    rows = events(*positions)
    times = pa.array([NOON + timedelta(hours=hour)] * len(positions), rows["timestamp"].type)
    return rows.set_column(rows.schema.get_field_index("timestamp"), "timestamp", times)


def validate(lake: IcebergLake) -> int:
    """All that is committed by now passes; returns its sequence number."""
    newest = lake.state(EVENTS.name).newest  # type: ignore[union-attr]
    assert newest is not None
    lake.tag(EVENTS.name, newest.id, VALIDATED)
    return newest.sequence


def purged(lake: IcebergLake, hour: int) -> Purged:
    return purge(lake, EVENTS, "timestamp", NOON + timedelta(hours=hour))


def positions(table: IcebergTable, tag: str = "main") -> list[str]:
    rows = table.scan(snapshot_id=table.metadata.refs[tag].snapshot_id).to_arrow()
    return sorted(rows["position"].to_pylist())


def test_old_rows_leave_what_was_validated_too_and_unvalidated_rows_do_not_enter_it(
    lake: IcebergLake,
) -> None:
    lake.append(EVENTS, pa.concat_tables([at(0, 1), at(1, 2), at(2, 3)]), 1)
    passed = validate(lake)
    lake.append(EVENTS, at(2, 4), 2)

    for hour, left in ((1, ["000002", "000003"]), (2, ["000003"])):
        done = purged(lake, hour)
        table = lake.load(EVENTS)
        assert (done.rows_deleted, done.rows_left, done.left_in) == (1, 0, ())
        assert positions(table, VALIDATED) == left
        assert positions(table) == [*left, "000004"]
        assert table.metadata.refs.keys() == {"main", VALIDATED}
        validated = table.snapshot_by_id(table.metadata.refs[VALIDATED].snapshot_id)
        assert validated is not None
        assert validated_sequence(validated) == passed
    assert lake.append(EVENTS, at(2, 3, 4, 5), 3) == 1


def test_a_file_that_a_writer_has_not_finished_is_named_and_ends_nothing(
    lake: IcebergLake,
) -> None:
    lake.append(EVENTS, pa.concat_tables([at(0, 1), at(1, 2)]), 1)
    folder = Path(lake.load(EVENTS).location().removeprefix("file://")) / "data"
    begun = folder / "begun.parquet"
    begun.write_bytes(b"PAR1 half of a file")

    done = purged(lake, 1)

    assert (done.rows_deleted, done.rows_left, done.left_in) == (1, 0, (str(begun),))
    assert positions(lake.load(EVENTS)) == ["000002"]


def make_old(staged: Staged) -> None:
    """As if the files had been written long ago."""
    for file in staged.content.files:
        os.utime(file.file_path.removeprefix("file://"), (0, 0))


def test_a_file_that_is_committed_while_files_are_listed_is_kept(lake: IcebergLake) -> None:
    staged = lake.stage(EVENTS, at(1, 1))
    make_old(staged)
    loads = iter(range(2))

    def load() -> IcebergTable:
        if next(loads):
            lake.append_staged(EVENTS, [staged], 1)
        return lake.load(EVENTS)

    assert remove_unnamed(load, datetime.now(timezone.utc) - YOUNG) == {}
    assert positions(lake.load(EVENTS)) == ["000001"]


def test_a_batch_that_was_stopped_until_its_files_were_removed_as_orphans_runs_again(
    lake: IcebergLake,
) -> None:
    lake.append(EVENTS, at(1, 1), 1)
    yesterday = IcebergLake(lake.settings, lake.catalog, clock=lambda: NOON)
    staged = yesterday.stage(EVENTS, at(1, 2))
    make_old(staged)
    purged(lake, 0)

    with pytest.raises(LakeError, match="removed as an orphan before it was committed"):
        lake.append_staged(EVENTS, [staged], 2)
    assert lake.append_staged(EVENTS, [lake.stage(EVENTS, at(1, 2))], 2) == 1
    assert positions(lake.load(EVENTS)) == ["000001", "000002"]
