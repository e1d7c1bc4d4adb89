"""What a backfill writes to its branch, and what it refuses before anything starts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pytest
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.snapshots import Operation
from pyspark.sql import DataFrame

from conf.settings import load_settings
from quality.backfill import check_window, find_table
from quality.publish import is_begun, open_branch, publish
from streaming.lake.iceberg.commits import LakeTransaction
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.protocol import shape
from streaming.lake.tables import SILVER_DETECTIONS, SILVER_ORDERS, TABLES
from streaming.recompute import backfill
from streaming.recompute.backfill import (
    SOURCES,
    Backfill,
    BackfillError,
    BackfillSource,
    Filled,
    Piece,
)
from streaming.stream import PlanStep
from tests.support.small_lake import EVENTS, NOON, events, make_tables, open_lake

pytestmark = pytest.mark.requirement("L4")

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("silver.nothing", r"The lake has no table silver\.nothing; these can be"),
        ("bronze.order_events", "is what backfills are made from: replay its topic instead"),
        ("gold.order_hourly", "copy of order_metrics in Postgres, which `storelake restate` comp"),
        ("quarantine.late_events", r"does not follow from bronze alone; .* silver\.orders"),
        ("quality.validation_results", "does not follow from bronze alone"),
    ],
)
def test_a_table_that_cannot_be_backfilled_is_rejected_with_the_reason(
    name: str, message: str
) -> None:
    with pytest.raises(BackfillError, match=message):
        find_table(name)


def test_every_table_that_a_stream_appends_to_has_a_source_or_a_reason() -> None:
    appended = {t.name for t in TABLES if t.strategy == "append" and "quality" not in t.name}
    assert appended - SOURCES.keys() == {
        "bronze.order_events",
        "bronze.detections",
    }


@pytest.mark.parametrize(
    ("start", "end"),
    [(TEN, TEN), (TEN, TEN - timedelta(hours=1)), (TEN.replace(tzinfo=None), TEN)],
)
def test_a_window_needs_an_earlier_and_a_later_end_in_a_time_zone(
    start: datetime, end: datetime
) -> None:
    with pytest.raises(BackfillError, match="is no window: both need a time zone"):
        check_window(load_settings(), SILVER_ORDERS, start, end)


def test_a_window_is_taken_in_any_time_zone() -> None:
    there = timezone(timedelta(hours=2))
    local = TEN.astimezone(there), (TEN + timedelta(hours=1)).astimezone(there)
    start, _ = check_window(load_settings(), SILVER_ORDERS, *local)
    assert (start, start.tzinfo) == (TEN, timezone.utc)


def test_rows_past_their_retention_do_not_come_back() -> None:
    now = datetime.now(timezone.utc)
    with pytest.raises(BackfillError, match="past their retention and must not come back"):
        check_window(load_settings(), SILVER_DETECTIONS, now - timedelta(days=31), now)
    assert check_window(load_settings(), SILVER_ORDERS, now - timedelta(days=400), now)


@dataclass
class Validated:
    """The rows that Spark computes from bronze."""

    rows: pa.Table

    def transform(self, _: Any) -> Validated:
        return self

    def toArrow(self) -> pa.Table:  # noqa: N802 - Spark's name
        return self.rows


class FromBronze(Backfill):
    """Of messages 2 to 4, whatever the window."""

    def _bronze(self, start: datetime, end: datetime) -> DataFrame:
        return cast("DataFrame", Validated(events(2, 3, 4)))


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IcebergLake]:
    """With messages 1 to 6, one commit each."""
    as_it_came = BackfillSource(
        EVENTS, EVENTS, (PlanStep(lambda *_: lambda rows: rows, pa.schema([])),), lambda rows: rows
    )
    monkeypatch.setattr(backfill, "SOURCES", {EVENTS.name: as_it_came})
    with closing(open_lake(tmp_path)) as catalog:
        make_tables(catalog)
        made = IcebergLake(load_settings(), catalog)
        for position in range(1, 7):
            made.append(EVENTS, events(position), position)
        yield made


def fill(lake: IcebergLake) -> Filled:
    open_branch(lake.load(EVENTS), "backfill")
    return fill_branch(lake)


def fill_branch(lake: IcebergLake) -> Filled:
    positions = lake.progress(EVENTS)
    work = FromBronze(lake.settings, lake, cast("Any", None), EVENTS, "backfill", positions)
    return work.fill(Piece(NOON, NOON + timedelta(hours=1), 3))


def publish_backfill(lake: IcebergLake) -> int:
    table = lake.load(EVENTS)
    return publish(table, "backfill", table.metadata.refs["backfill"].snapshot_id)


def shops(lake: IcebergLake) -> dict[str, str]:
    rows = lake.load(EVENTS).scan().to_arrow()
    assert len(set(rows["position"].to_pylist())) == len(rows)
    return dict(zip(rows["position"].to_pylist(), rows["shop"].to_pylist(), strict=True))


def test_equal_rows_are_left_alone(lake: IcebergLake) -> None:
    assert fill(lake) == Filled(messages=3)
    assert not is_begun(lake.load(EVENTS), "backfill")


def test_missing_rows_are_added_beside_what_a_stream_writes(lake: IcebergLake) -> None:
    before = shops(lake)
    lake.load(EVENTS).delete("position == '000003'")
    assert fill(lake) == Filled(messages=3, added=1)
    table = lake.load(EVENTS)
    snapshot = table.metadata.snapshot_by_id(table.metadata.refs["backfill"].snapshot_id)
    assert snapshot
    assert snapshot.summary
    assert snapshot.summary.operation == Operation.APPEND
    lake.append(EVENTS, events(7), 7)
    assert publish_backfill(lake) == 1
    assert shops(lake) == before | {"000007": "A"}


def test_different_rows_are_replaced_and_rows_of_other_messages_remain(lake: IcebergLake) -> None:
    before = shops(lake)
    table = lake.load(EVENTS)
    rows = table.scan("position >= '000002' and position <= '000003'").to_arrow()
    wrong = pa.array(["Z", "Z"], rows.schema.field("shop").type)
    table.overwrite(
        rows.set_column(rows.column_names.index("shop"), "shop", wrong),
        "position >= '000002' and position <= '000003'",
    )
    assert shops(lake) != before
    assert fill(lake) == Filled(messages=3, added=3, replaced=3)
    lake.append(EVENTS, events(7), 7)
    publish_backfill(lake)
    assert shops(lake) == before | {"000007": "A"}


def test_a_branch_begun_where_another_backfill_ended_has_nothing_yet(
    lake: IcebergLake,
) -> None:
    lake.load(EVENTS).delete("position == '000003'")
    fill(lake)
    publish_backfill(lake)
    assert fill(lake) == Filled(messages=3)
    assert not is_begun(lake.load(EVENTS), "backfill")


def test_a_stream_that_is_faster_does_not_stop_a_backfill(
    lake: IcebergLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shops(lake)
    lake.load(EVENTS).overwrite(
        shape(events(2, shop="Z"), lake.schema(EVENTS.name), EVENTS), "position == '000002'"
    )
    commit, came = LakeTransaction.commit_transaction, iter(range(7, 20))

    def after_the_stream(change: LakeTransaction) -> IcebergTable:
        if position := next(came, None):
            stream = LakeTransaction(lake.load(EVENTS))
            stream.append(shape(events(position), lake.schema(EVENTS.name), EVENTS))
            commit(stream)
        return commit(change)

    monkeypatch.setattr(LakeTransaction, "commit_transaction", after_the_stream)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert fill(lake) == Filled(messages=3, added=3, replaced=3)
    publish_backfill(lake)
    assert shops(lake) == before | {f"{number:06}": "A" for number in range(7, 20)}


def test_a_commit_to_main_fails_where_a_backfill_has_committed_to_its_branch_meanwhile(
    lake: IcebergLake,
) -> None:
    lake.load(EVENTS).delete("position == '000003'")
    open_branch(lake.load(EVENTS), "backfill")
    main = LakeTransaction(lake.load(EVENTS))
    main.append(shape(events(7), lake.schema(EVENTS.name), EVENTS))
    assert fill_branch(lake) == Filled(messages=3, added=1)
    with pytest.raises(CommitFailedException, match="meanwhile"):
        main.commit_transaction()
    assert len(shops(lake)) == 5
    assert lake.load(EVENTS).scan().use_ref("backfill").to_arrow().num_rows == 6
