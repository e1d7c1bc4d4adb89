"""The lake's past: tags of hours and days outlive the snapshots of the minutes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pytest
import sqlglot

from conf.settings import load_settings
from conf.stores import load_stores
from queries import ENGINES
from queries.as_of import Moment, parse_moment, pin
from queries.engine import QueryError
from queries.lake import Shelf
from queries.references import parse_reading, references, snapshot_of, tags
from streaming.lake.dialects import in_dialect
from streaming.lake.iceberg.commits import LakeTransaction, expire_old
from streaming.lake.iceberg.history import VALIDATED
from streaming.lake.iceberg.lake import EXPIRE_AT, IcebergLake
from streaming.lake.iceberg.purge import purge
from streaming.lake.maintenance.plan import live_files
from streaming.lake.maintenance.run import maintain
from streaming.lake.views import by_name
from tests.support.clock import HandClock, commit_by
from tests.support.small_lake import (
    EVENTS,
    NOON,
    ORDERS,
    SALES,
    empty_table,
    events,
    make_tables,
    open_lake,
)

pytestmark = pytest.mark.requirement("L3")

MIDNIGHT = datetime(2024, 5, 2, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
Clock = HandClock[datetime]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    commit_by(clock := HandClock(MIDNIGHT), monkeypatch)
    return clock


@pytest.fixture
def lake(tmp_path: Path, clock: Clock) -> Iterator[IcebergLake]:
    with closing(open_lake(tmp_path)) as catalog:
        make_tables(catalog)
        yield IcebergLake(load_settings(), catalog, clock=clock)


def write(lake: IcebergLake, clock: Clock, position: int, at: datetime) -> None:
    clock.now = at
    lake.append(EVENTS, events(position), position)


def run_maintenance(lake: IcebergLake, clock: Clock, at: datetime) -> None:
    clock.now = at
    maintain(lake, [EVENTS, SALES], lambda _: None)


def rows_at(lake: IcebergLake, moment: Moment) -> list[int]:
    """Positions of the events as of a moment."""
    table = lake.load(EVENTS)
    found = table.scan(snapshot_id=snapshot_of(table, EVENTS.name, moment)).to_arrow()
    return sorted(int(position) for position in found["position"].to_pylist())


def history(lake: IcebergLake) -> set[str]:
    return {name for name in lake.load(EVENTS).metadata.refs if "hour-" in name or "day-" in name}


def test_an_hour_and_a_day_are_read_as_they_ended(lake: IcebergLake, clock: Clock) -> None:
    for position, minutes in enumerate((-110, -70, -30, 10), start=1):
        write(lake, clock, position, MIDNIGHT + timedelta(minutes=minutes))
    for minutes in (30, 31):  # a second run changes nothing
        run_maintenance(lake, clock, MIDNIGHT + timedelta(minutes=minutes))

    assert history(lake) == {"hour-2024-05-01T22", "hour-2024-05-01T23", "day-2024-05-01"}
    assert rows_at(lake, "hour-2024-05-01T22") == [1, 2]
    assert rows_at(lake, "hour-2024-05-01T23") == rows_at(lake, "day-2024-05-01") == [1, 2, 3]
    assert rows_at(lake, "main") == [1, 2, 3, 4]
    assert {tag.name: tag.rows for tag in tags(lake.load(EVENTS))}["hour-2024-05-01T22"] == 2


def test_after_a_clock_that_was_ahead_is_set_back_times_are_in_order_again(
    lake: IcebergLake, clock: Clock
) -> None:
    for position, hours in enumerate((0, 1, 1.1, 0.1)):
        write(lake, clock, position, MIDNIGHT + hours * HOUR)
    table = lake.load(EVENTS)
    for log in (table.metadata.snapshots, table.metadata.snapshot_log, table.metadata.metadata_log):
        times = [one.timestamp_ms for one in log]
        assert times == sorted(times)
        assert times[-1] <= table.metadata.last_updated_ms == clock.now.timestamp() * 1000
    run_maintenance(lake, clock, MIDNIGHT + 0.5 * HOUR)
    assert len(lake.load(EVENTS).metadata.snapshots) < 4
    assert rows_at(lake, "main") == [0, 1, 2, 3]


def test_hours_without_maintenance_are_tagged_by_the_stream_and_then_by_it(
    lake: IcebergLake, clock: Clock
) -> None:
    for position in range(3 * EXPIRE_AT):
        write(lake, clock, position, MIDNIGHT + position * HOUR / EXPIRE_AT)
    assert rows_at(lake, "hour-2024-05-02T00") == [*range(EXPIRE_AT)]
    assert len(lake.load(EVENTS).metadata.snapshots) < 2 * EXPIRE_AT

    run_maintenance(lake, clock, MIDNIGHT + 7 * HOUR)
    assert rows_at(lake, "hour-2024-05-02T01") == [*range(2 * EXPIRE_AT)]
    for idle in (2, 3, 6):
        assert rows_at(lake, f"hour-2024-05-02T0{idle}") == [*range(3 * EXPIRE_AT)]


def test_hours_are_kept_for_a_day_days_for_thirty_and_other_tags_for_good(
    lake: IcebergLake, clock: Clock
) -> None:
    write(lake, clock, 1, MIDNIGHT - HOUR)
    table = lake.load(EVENTS)
    first = table.metadata.snapshots[0].snapshot_id
    table.manage_snapshots().create_tag(first, "month-end").commit()
    for day in range(40):
        run_maintenance(lake, clock, MIDNIGHT + timedelta(days=day, minutes=5))

    kept = sorted(history(lake))
    assert [name for name in kept if name.startswith("day-")] == [
        f"day-{MIDNIGHT + timedelta(days=day):%Y-%m-%d}" for day in range(9, 39)
    ]
    assert len(kept) == 30 + 24
    assert "month-end" in lake.load(EVENTS).metadata.refs


def test_a_moment_whose_snapshot_may_have_expired_is_refused(
    lake: IcebergLake, clock: Clock
) -> None:
    for position, minutes in enumerate((-90, -30, 30, 90), start=1):
        write(lake, clock, position, MIDNIGHT + timedelta(minutes=minutes))
    assert rows_at(lake, MIDNIGHT) == [1, 2]
    table = lake.load(EVENTS)
    first = table.metadata.snapshots[0].snapshot_id
    table.manage_snapshots().create_tag(first, "opening").commit()
    with LakeTransaction(table.refresh()) as change:  # by a tool that keeps no hours
        assert expire_old(change, MIDNIGHT + HOUR) == 2
    run_maintenance(lake, clock, MIDNIGHT + 2 * HOUR)

    assert history(lake) == {"hour-2024-05-02T01"}
    with pytest.raises(QueryError, match=r"no snapshot at .*kept since 2024-05-02 01:30:00 UTC"):
        rows_at(lake, MIDNIGHT)
    with pytest.raises(QueryError, match=r"no tag .*: hour-2024-05-02T01, main, opening\.|T01"):
        rows_at(lake, "day-2024-05-01")


def test_what_was_validated_is_known_for_each_hour(lake: IcebergLake, clock: Clock) -> None:
    def validate() -> None:
        newest = lake.load(EVENTS).current_snapshot()
        assert newest is not None
        lake.tag(EVENTS.name, newest.snapshot_id, VALIDATED)

    write(lake, clock, 1, MIDNIGHT + timedelta(minutes=10))
    validate()
    write(lake, clock, 2, MIDNIGHT + timedelta(minutes=50))
    write(lake, clock, 3, MIDNIGHT + timedelta(minutes=70))
    validate()  # the first since the hour has ended
    run_maintenance(lake, clock, MIDNIGHT + timedelta(minutes=130))

    assert rows_at(lake, "validated-hour-2024-05-02T00") == [1]
    assert rows_at(lake, "hour-2024-05-02T00") == [1, 2]
    assert rows_at(lake, "validated-hour-2024-05-02T01") == [1, 2, 3]


def test_files_are_compacted_across_hours(lake: IcebergLake, clock: Clock) -> None:
    for position in range(4):
        write(lake, clock, position, MIDNIGHT + position * HOUR)
        run_maintenance(lake, clock, clock.now + HOUR / 2)
    assert len(live_files(lake.load(EVENTS))) < 3
    assert rows_at(lake, "hour-2024-05-02T01") == [0, 1]


def test_a_person_who_is_deleted_is_in_no_hour_and_no_day(lake: IcebergLake, clock: Clock) -> None:
    write(lake, clock, 1, MIDNIGHT - HOUR / 2)
    clock.now = MIDNIGHT - HOUR / 3
    lake.append(EVENTS, events(2, day=9), 2)
    run_maintenance(lake, clock, MIDNIGHT + HOUR)
    assert rows_at(lake, "day-2024-05-01") == [1, 2]

    purged = purge(lake, EVENTS, "timestamp", NOON + timedelta(days=1))

    assert (purged.rows_deleted, purged.rows_left, purged.left_in) == (1, 0, ())
    assert not history(lake)
    run_maintenance(lake, clock, MIDNIGHT + 2 * HOUR)
    assert rows_at(lake, "hour-2024-05-02T01") == [2]
    assert "day-2024-05-01" not in history(lake)


def test_a_table_without_such_rows_keeps_its_past_when_others_are_deleted(
    lake: IcebergLake, clock: Clock
) -> None:
    write(lake, clock, 1, MIDNIGHT - HOUR / 2)
    run_maintenance(lake, clock, MIDNIGHT + HOUR)
    purge(lake, EVENTS, "timestamp", NOON - timedelta(days=1))
    assert rows_at(lake, "day-2024-05-01") == [1]


@contextmanager
def shelf_of_a_day(folder: Path) -> Iterator[tuple[Shelf, int]]:
    """Views over `silver.orders`, and its snapshot of a day, which was validated."""
    with empty_table(folder, "silver.orders", ORDERS) as orders:
        orders.append(pa.Table.from_pylist([], schema=ORDERS))
        newest = orders.metadata.snapshots[-1].snapshot_id
        for tag in ("day-2024-05-01", "validated-day-2024-05-01"):
            orders.manage_snapshots().create_tag(newest, tag).commit()
        yield Shelf(orders.catalog, by_name(load_stores(load_settings().stores_file))), newest


@pytest.mark.parametrize("dialect", sorted(ENGINES))
def test_a_view_as_of_a_day_reads_what_was_validated_by_then(dialect: str, tmp_path: Path) -> None:
    query = parse_reading("SELECT count(*) FROM analyst.order_lines", dialect)
    assert query is not None
    with shelf_of_a_day(tmp_path) as (shelf, newest):
        with pytest.raises(QueryError, match="shows validated rows, known at the end of hours"):
            pin(query, shelf, NOON)
        pin(query, shelf, "day-2024-05-01")

    read = references(sqlglot.parse_one(in_dialect(query, dialect), read=dialect))
    assert {(one.table, one.version) for one in read} == {("silver.orders", newest)}


@pytest.mark.parametrize(
    ("of_view", "kept"),
    [
        ("(analyst.orders JOIN silver.orders s USING (order_id))", 'AS "orders" JOIN silver.orde'),
        ("analyst.orders TABLESAMPLE reservoir(1 ROWS)", 'AS "orders" TABLESAMPLE RESERVOIR (1'),
        ("analyst.orders AS o(x, y)", 'AS "o"(x, y)'),
        ("analyst.orders PIVOT (sum(n) FOR order_id IN ('a'))", "PIVOT(SUM(n) FOR order_id IN"),
    ],
)
def test_a_view_as_of_a_day_keeps_what_stands_beside_it(
    of_view: str, kept: str, tmp_path: Path
) -> None:
    query = parse_reading(f"SELECT * FROM {of_view}", "duckdb")  # noqa: S608
    assert query is not None
    with shelf_of_a_day(tmp_path) as (shelf, newest):
        pin(query, shelf, "day-2024-05-01")
    text = in_dialect(query, "duckdb")
    assert kept in text
    read = references(sqlglot.parse_one(text, read="duckdb"))
    assert {(one.table, one.version) for one in read} == {("silver.orders", newest)}


def test_a_view_at_a_version_has_no_moment_either(tmp_path: Path) -> None:
    query = parse_reading("SELECT * FROM analyst.orders FOR VERSION AS OF 'x'", "duckdb")
    assert query is not None
    with (
        shelf_of_a_day(tmp_path) as (shelf, _),
        pytest.raises(QueryError, match=r"analyst\.orders is a view, which has no versions"),
    ):
        pin(query, shelf, "day-2024-05-01")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("yesterday", "day-2024-05-01"),
        ("2024-04-30", "day-2024-04-30"),
        ("hour-2024-05-01T13", "hour-2024-05-01T13"),
        ("month_end", "month_end"),
        ("2024-05-01T12:00", NOON),
        ("2024-05-01T12:00Z", NOON),
        ("2024-05-01T14:00+02:00", NOON),
    ],
)
def test_a_moment_is_a_day_a_tag_or_an_instant(text: str, meant: Moment) -> None:
    assert parse_moment(text, MIDNIGHT + HOUR) == meant
