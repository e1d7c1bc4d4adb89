"""The live console without a browser: how it shows rows and faults."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from types import SimpleNamespace as Row
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from conf.settings import Settings, load_settings
from conf.stores import Stores
from conf.stores.watch import StoreFile
from dashboard import charts, sections, today, words
from dashboard.app import find_report
from dashboard.board import Away, Board, BoardView, ReadError, Snapshot
from dashboard.branches import branch_days
from dashboard.figures import FigureChange, add_up, change, compare, points
from dashboard.floor import cameras_now
from dashboard.pipeline import StreamNow, pipeline_now
from dashboard.quality import layers_now
from dashboard.queries import OF_A_DAY, QUERIES
from dashboard.reader import ReadSnapshot
from dashboard.streams import Reported, lag
from streaming.registry import STREAMS
from tests.support.store_hours import store_hour

pytestmark = pytest.mark.requirement("M1")

NOW = datetime(2024, 5, 8, 12, 20, tzinfo=timezone.utc)
"""A Wednesday; 14:20 in Berlin, where B01 is."""
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(var_dir=tmp_path)


def hour(local: int, *, days_ago: int = 0, **overrides: Any) -> Row:
    """An hour of B01 by its clock."""
    there = datetime(2024, 5, 8, local, tzinfo=BERLIN) - timedelta(days=days_ago)
    return store_hour(there, **overrides)


NO_VISITORS = {"visitors": None, "conversion_withheld": "no visitors counted"}


@pytest.fixture
def empty(settings: Settings, stores: Stores) -> Snapshot:
    """A snapshot of a database without rows."""
    return Snapshot(settings, stores, NOW, {name: [] for name in QUERIES})


def answered(empty: Snapshot, **answers: Sequence[Any] | ReadError) -> Snapshot:
    """The empty snapshot with these answers by the name of the query."""
    assert answers.keys() <= QUERIES.keys()
    return replace(empty, answers={**empty.answers, **answers})


def seen(minute: datetime = NOW, camera_id: str = "B01-entrance") -> Row:
    return Row(camera_id=camera_id, minute=minute.replace(second=0), people_peak=3)


def test_finished_hours_are_compared_with_the_same_ones_a_week_before() -> None:
    hours = [hour(12), hour(13, visitors=20), hour(14, visitors=500)]
    before = [hour(h, days_ago=7, visitors=8) for h in (11, 12, 13, 14)]
    yesterday = [hour(12, days_ago=1), hour(13, days_ago=1)]

    found = compare(hours, [*before, *yesterday, *hours], NOW)

    assert found is not None
    assert (found.days, found.hours) == (7, 2)
    assert (found.now.visitors, found.before.visitors) == (30, 16)


def test_without_figures_of_the_week_before_it_is_the_day_before() -> None:
    hours = [hour(12), hour(12, days_ago=1, orders=1)]
    found = compare([hours[0]], hours, NOW)
    assert found is not None
    assert (found.days, found.before.orders) == (1, 1)


def test_an_hour_that_only_one_of_the_days_has_is_not_compared() -> None:
    hours = [hour(11), hour(12), hour(12, days_ago=7)]
    found = compare(hours[:2], hours, NOW)
    assert found is not None
    assert found.hours == 1
    assert compare([hour(14)], [hour(14), hour(14, days_ago=7)], NOW) is None


def test_rates_are_of_sums_over_the_hours_whose_own_rate_is_not_withheld() -> None:
    blind = {"visitors": 1, "conversion_withheld": "coverage below 0.5"}
    hours = [hour(11, visitors=30), hour(12), hour(13, **NO_VISITORS, orders=7), hour(9, **blind)]
    figures = add_up([*hours, hour(10, **blind)], NOW)

    assert (figures.visitors, figures.orders) == (42, 15)
    assert (figures.trusted_hours, figures.withheld) == (2, "coverage below 0.5")
    assert figures.conversion == pytest.approx(4 / 40)
    assert figures.revenue_per_visitor == Decimal("0.25")
    assert figures.revenue == Decimal("25.00")


def test_visitors_without_a_count_are_unknown_and_not_zero() -> None:
    figures = add_up([hour(11, **NO_VISITORS, camera_coverage=None)], NOW)
    assert (figures.visitors, figures.conversion, figures.coverage) == (None, None, None)
    none_came = add_up([hour(11, **NO_VISITORS | {"visitors": 0})], NOW)
    assert (none_came.visitors, none_came.conversion) == (0, None)


def test_a_change_is_shown_by_a_sign_and_a_word() -> None:
    assert change(12, 10) == FigureChange("▲", "up 20.0 %")
    assert change(Decimal(5), 0) is None
    assert points(0.21, 0.25) == FigureChange("▼", "down 4.0 points")
    assert points(0.2, 0.2) == FigureChange("=", "no change")


def test_a_day_begins_where_the_branch_is(empty: Snapshot) -> None:
    kolkata = ZoneInfo("Asia/Kolkata")
    half_past = datetime(2024, 5, 7, 23, 30, tzinfo=kolkata)
    hours = [
        hour(
            1, branch_id="B03", hour=at.astimezone(timezone.utc), local_hour=at.replace(tzinfo=None)
        )
        for at in (half_past, half_past + HOUR)
    ]
    shown = branch_days(answered(empty, store_hourly=hours))[2]
    assert [h.local_hour.hour for h in shown.hours] == [0]


def test_a_card_shows_its_figures_with_the_time_zone_of_the_branch(empty: Snapshot) -> None:
    odd = dict.fromkeys(("revenue", "revenue_in_store"), Decimal("1234.565"))
    rows = [hour(12), hour(13, **odd, orders_other_currency=1), hour(12, days_ago=7, visitors=8)]
    cameras = [seen(), seen(camera_id="B01-till")]
    cards = text_of(today.branch_cards(answered(empty, store_hourly=rows, cameras=cameras)))
    card = cards.split("Market Square")[0]

    assert "14:20 Europe/Berlin · open" in card
    assert "Visitors 20 ▲ up 25.0 % from 8" in card
    assert "Conversion 20.0 %" in card
    assert "Revenue per visitor 61.98 USD" in card
    assert "Revenue 1,239.57 USD = no change from 5.00 USD" in card
    assert "Average basket 413.19 USD" in card
    assert "Money is without 1 order in other currencies" in card
    assert "1 finished hour with the same of Wed 01 May" in card
    assert "silent" not in card


def test_a_rate_that_cannot_be_trusted_is_withheld_with_the_reason(empty: Snapshot) -> None:
    rows = [hour(12, conversion_withheld="coverage below 0.5")]
    card = text_of(today.branch_cards(answered(empty, store_hourly=rows)))
    assert "Conversion withheld" in card
    assert "over 0 hours of 1; withheld in the others: coverage below 0.5." in card


def test_an_empty_day_and_a_silent_camera_are_shown_as_such(empty: Snapshot) -> None:
    cards = text_of(today.branch_cards(answered(empty, cameras=[seen(NOW - 14 * MINUTE)])))

    assert cards.count("No figures today yet.") == 3
    assert "Main entrance is silent. Newest frame 14 min ago" in cards
    assert "Tills is silent. No frame yet" in cards


def test_a_part_that_cannot_be_read_shows_the_reason_and_no_other_is_affected(
    empty: Snapshot, stores: Stores
) -> None:
    error = ReadError("queue_minute did not answer within 3 s")
    snapshot = answered(empty, queue_minute=error)
    floor_map = partial(sections.floor_map, branch=stores.branches[0])

    page = text_of(sections.shown(floor_map, snapshot))
    assert "Cannot be read: queue_minute did not answer within 3 s." in page
    assert "None. No open order" in text_of(sections.stuck_orders(snapshot))


def test_commands_of_a_reason_are_code_and_nothing_of_it_is_run() -> None:
    shown = words.with_code("<b> is away: `storelake run <x>` starts it")
    assert shown == "&lt;b&gt; is away: <code>storelake run &lt;x&gt;</code> starts it"


def test_texts_of_the_database_are_shown_and_not_run(empty: Snapshot) -> None:
    hostile = "<script>alert(1)</script>"
    stuck = Row(
        order_id=hostile,
        branch_id=hostile,
        status="pending",
        currency="USD",
        total_price=None,
        untouched_since=NOW,
        alarm_at=None,
        of_all=1,
    )
    page = sections.stuck_orders(answered(empty, stuck_orders=[stuck]))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_map_has_the_zones_of_the_valid_layout_and_the_way_in(
    empty: Snapshot, stores: Stores
) -> None:
    lobby = {"camera_id": "B01-entrance", "zone_id": "lobby"}
    snacks = {"camera_id": "B01-till", "zone_id": "snacks"}
    dwell = [
        Row(**lobby, visits=12, dwell_mean=30.0, dwell_p95=70.0),
        Row(**snacks, visits=3, dwell_mean=60.0, dwell_p95=90.0),
    ]
    queue = Row(camera_id="B01-till", zone_id="till-queue", minute=NOW, length_mean=2.5)
    old = Row(camera_id="B01-entrance", zone_id="queue", minute=NOW - HOUR, length_mean=2.5)
    snapshot = answered(empty, cameras=[seen()], zone_dwell_hourly=dwell, queue_minute=[queue, old])
    entrance, till = cameras_now(snapshot, stores.branches[0])
    lobby_now, waiting = entrance.zones

    assert (lobby_now.heat, waiting.dwell, waiting.queue) == (0.5, None, None)
    assert till.zones[0].queue == queue
    assert till.zones[1].heat == 1.0
    (line,) = entrance.lines  # from bottom to top, so that its right is the right of the picture
    assert line.inside[0] > line.middle[0]
    assert line.inside[1] == line.middle[1]
    assert (entrance.silent, till.silent) == (False, True)


def test_lag_is_what_the_topics_have_beyond_the_written_positions(settings: Settings) -> None:
    ends = {("order-created", 0): 10, ("order-created", 1): 4, ("detections", 0): 99}
    offsets = [Row(stream="metrics", topic="order-created", partition=0, position=f"{7:020d}")]

    assert lag(ends, offsets, "metrics", ("order-created",)) == 2 + 4
    assert lag(ends, offsets, "other", ("order-created",)) is None
    footfall = next(stream for stream in STREAMS if stream.name == "footfall")
    both = settings.streams.model_copy(update={"detections_from": ("pulsar",)})
    assert footfall.topics(settings.model_copy(update={"streams": both})) == ()


def streams_of(snapshot: Snapshot) -> Mapping[str, StreamNow]:
    return {one.stream.name: one for one in pipeline_now(snapshot)}


def test_a_stream_that_failed_or_stalled_is_shown_with_its_cause(empty: Snapshot) -> None:
    status = {"ready": False, "failures": 9, "finished_batches": 3}
    failed = {**status, "state": "failed", "detail": "footfall failed: no <broker>"}
    stalled = {**status, "failures": 0, "state": "stalled", "detail": "its batch does not end"}
    reported = Reported(NOW, {"footfall": failed, "store_hourly": stalled})
    snapshot = replace(empty, reported=reported)
    found = streams_of(snapshot)

    assert (found["footfall"].health, found["footfall"].detail) == ("failed", failed["detail"])
    assert found["store_hourly"].health == "stalled"
    page = sections.pipeline(snapshot)
    assert "✗ failed" in page
    assert "footfall failed: no &lt;broker&gt;" in page
    assert "✗ stalled" in page


def test_a_stream_runs_retries_is_silent_or_is_stopped(empty: Snapshot) -> None:
    status = {"ready": True, "failures": 0, "finished_batches": 3}
    reported = Reported(NOW, {"footfall": status, "store_hourly": {**status, "failures": 2}})
    found = streams_of(replace(empty, reported=reported))
    old = streams_of(replace(empty, reported=replace(reported, at=NOW - HOUR)))

    assert found["footfall"].health == "running"
    assert (found["store_hourly"].health, found["store_hourly"].failures) == ("retrying", 2)
    assert found["bronze_detections"].health == "stopped"
    assert old["footfall"].health == "silent"


def test_the_page_names_what_only_the_lake_has(empty: Snapshot) -> None:
    page = text_of(sections.pipeline(empty))
    assert "its positions are only in the lake" in page
    assert "only in the lake: quarantine.detections" in page
    assert "No Spark application runs here." in page
    broken = replace(empty, ends=ReadError("Kafka does not answer"))
    assert "Lag is not known. Kafka does not answer." in text_of(sections.pipeline(broken))


def expectation(**overrides: Any) -> Row:
    row = {
        "table_name": "silver.orders",
        "suite": "rows",
        "expectation": "known",
        "layer": "silver",
        "severity": "critical",
        "state": "passed",
        "ran_at": NOW,
    }
    return Row(**row | overrides)


def test_layers_come_from_raw_to_served_with_their_failed_expectations() -> None:
    rows = [
        expectation(layer="gold", severity="warning", state="failed"),
        expectation(layer="bronze"),
        expectation(layer="bronze", state="unreadable"),
    ]
    bronze, gold = layers_now(rows)
    assert (bronze.name, bronze.met, bronze.unreadable) == ("bronze", 1, 1)
    assert (gold.name, gold.critical, gold.warnings) == ("gold", 0, 1)


def test_without_a_run_and_a_report_the_page_shows_how_to_get_them(empty: Snapshot) -> None:
    page = text_of(sections.quality(empty))
    assert "No result of a quality run." in page
    assert "No report yet" in page


def test_reports_come_from_their_folder_and_from_nowhere_else(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "index.html").write_text("here")
    (folder / "notes.txt").write_text("not a page")
    (tmp_path / "secret.html").write_text("not yours")
    (folder / "link.html").symlink_to(tmp_path / "secret.html")

    assert find_report(folder, "index.html") == folder / "index.html"
    for name in ("../secret.html", "link.html", "notes.txt", "missing.html", "", "/etc/passwd"):
        assert find_report(folder, name) is None
    for name in ("\0.html", f"{'a' * 300}.html"):
        assert find_report(folder, name) is None


def test_an_hour_without_cameras_is_a_gap_in_the_chart_and_not_a_zero(
    empty: Snapshot, stores: Stores
) -> None:
    snapshot = answered(empty, store_hourly=[hour(11, **NO_VISITORS), hour(12)])
    chart = charts.hours_chart(snapshot, stores.branches[0])
    assert chart is not None
    assert chart["xAxis"][0]["data"] == ["11:00", "12:00"]
    assert [one["data"] for one in chart["series"]] == [[None, 10], [2, 2]]
    assert charts.hours_chart(empty, stores.branches[0]) is None


def test_the_minutes_end_with_the_present_one_by_the_clock_of_the_branch(
    empty: Snapshot, stores: Stores
) -> None:
    row = Row(branch_id="B01", minute=NOW - MINUTE, entries=4, orders=1)
    chart = charts.minutes_chart(answered(empty, branch_minutes=[row]), stores.branches[0])
    assert chart is not None
    assert chart["xAxis"][0]["data"][-1] == "14:20"
    assert chart["series"][0]["data"][-2:] == [4, 0]
    assert chart["series"][1]["data"][-2:] == [1, None]
    assert len(chart["series"][1]["data"]) == 60
    assert charts.minutes_chart(empty, stores.branches[0]) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "not known"), (0.04, "under 0.1 s"), (0.84, "0.84 s"), (42, "42 s"),
     (185, "3 min 5 s"), (7800, "2 h 10 min"), (86400, "24 h")],
)  # fmt: skip
def test_durations_are_as_short_as_they_can_be_understood(value: float | None, text: str) -> None:
    assert words.seconds(value) == text


class FakeLook(ReadSnapshot):
    """A database without rows, of which some queries fail."""

    def __init__(self, failing: Mapping[str, Exception]) -> None:
        self.at = NOW
        self.asked: list[str] = []
        self._failing = failing

    def ask(self, query: str, parameters: Mapping[str, Any]) -> list[Any]:
        (name,) = (name for name, sql in QUERIES.items() if sql == query)
        self.asked.append(name)
        if name in self._failing:
            raise self._failing[name]
        return []


class FakeDatabase:
    """Opens snapshots, unless it is unreachable."""

    def __init__(self, **failing: Exception) -> None:
        self.away = False
        self.looks: list[FakeLook] = []
        self._failing = failing

    @contextmanager
    def look(self) -> Iterator[FakeLook]:
        if self.away:
            raise psycopg.OperationalError("connection refused\nIs the server running?")
        self.looks.append(FakeLook(self._failing))
        yield self.looks[-1]


class Watch:
    """A board over a database, with a clock that tests set."""

    def __init__(self, settings: Settings, stores: Stores, database: FakeDatabase) -> None:
        self.seconds = 0.0
        self.board = Board(settings, stores, database.look, dict, clock=lambda: self.seconds)

    def after(self, seconds: float) -> BoardView:
        self.seconds += seconds
        return self.board.fresh()


def test_however_many_watch_the_database_is_queried_once(
    settings: Settings, stores: Stores
) -> None:
    database = FakeDatabase()
    watch = Watch(settings, stores, database)
    assert len({id(watch.after(0.3)) for _ in range(5)}) == 1
    assert len(database.looks) == 1


def test_a_page_that_is_opened_after_a_pause_does_not_show_the_past_as_the_present(
    settings: Settings, stores: Stores
) -> None:
    watch = Watch(settings, stores, FakeDatabase())
    shown = watch.after(0)
    watch.seconds += 1
    assert watch.board.glance() is shown
    watch.seconds += 600
    assert watch.board.glance() == BoardView()


def test_a_store_file_that_was_edited_by_hand_is_read_again(
    settings: Settings, stores: Stores, tmp_path: Path
) -> None:
    file = tmp_path / "stores.toml"
    file.write_bytes(settings.stores_file.read_bytes())
    board = Board(settings, stores, FakeDatabase().look, dict, file=StoreFile(file))
    text = file.read_text().replace('"Harbour Street"', '"Quay"')
    file.write_text(text)
    shown = board.fresh().snapshot
    assert shown is not None
    assert shown.stores.branches[0].name == "Quay"


def test_heavy_queries_run_less_often(settings: Settings, stores: Stores) -> None:
    database = FakeDatabase()
    watch = Watch(settings, stores, database)
    for seconds in (0, 2, 4, 4):
        watch.after(seconds)
    asked = [look.asked for look in database.looks]
    assert ["quality_results" in names for names in asked] == [True, False, False, True]
    assert ["store_hourly" in names for names in asked] == [True, True, True, True]


def test_a_day_in_the_past_is_read_on_demand_and_seldom(settings: Settings, stores: Stores) -> None:
    database = FakeDatabase()
    watch = Watch(settings, stores, database)
    watch.after(0)
    for _ in range(16):
        shown = watch.board.on(date(2024, 5, 1)).past
        assert shown is not None
        assert shown.day == date(2024, 5, 1)
        watch.seconds += 2
    assert [look.asked == list(OF_A_DAY) for look in database.looks].count(True) == 2
    assert watch.after(0).past is None


def test_a_page_that_is_opened_after_a_pause_reads_everything_again(
    settings: Settings, stores: Stores
) -> None:
    database = FakeDatabase()
    watch = Watch(settings, stores, database)
    watch.after(0)
    watch.after(5)
    assert all("weekday_hours" in look.asked for look in database.looks)


def test_a_day_in_the_past_that_cannot_be_read_is_tried_again(
    settings: Settings, stores: Stores
) -> None:
    database = FakeDatabase(store_hourly=psycopg.errors.QueryCanceled())
    watch = Watch(settings, stores, database)
    watch.after(0)
    for _ in range(2):
        shown = watch.board.on(date(2024, 5, 1)).past
        assert shown is not None
        assert isinstance(shown.answers["store_hourly"], ReadError)
    assert len(database.looks) == 3


def test_without_the_database_the_last_figures_remain_until_it_is_back(
    settings: Settings, stores: Stores
) -> None:
    database = FakeDatabase()
    watch = Watch(settings, stores, database)
    before = watch.after(0).snapshot
    database.away = True
    first, later = watch.after(2), watch.after(2)

    assert first.away is not None
    assert later.away == first.away
    assert later.snapshot is before
    line = text_of(sections.status(later, settings))
    assert "Database away since" in line
    assert "(connection refused)" in line
    database.away = False
    assert watch.after(2).away is None


def test_a_query_that_fails_is_a_fault_of_its_part_alone(
    settings: Settings, stores: Stores
) -> None:
    database = FakeDatabase(
        dead_letters=psycopg.errors.QueryCanceled(),
        quality_results=psycopg.errors.InsufficientPrivilege("permission denied"),
    )
    snapshot = Watch(settings, stores, database).after(0).snapshot

    assert snapshot is not None
    with pytest.raises(ReadError, match="dead_letters did not answer within 3 s"):
        snapshot.rows("dead_letters")
    with pytest.raises(ReadError, match="permission denied: run `storelake migrate`"):
        snapshot.rows("quality_results")
    assert snapshot.rows("store_hourly") == []


def test_the_first_line_shows_whether_the_figures_are_current(empty: Snapshot) -> None:
    away = Away(NOW, "gone")
    nothing = text_of(sections.status(BoardView(None, away), empty.settings))
    assert "There is nothing to show yet." in nothing
    assert "as of 12:20:00 UTC" in text_of(sections.status(BoardView(empty), empty.settings))


def test_the_command_line_starts_without_the_libraries_of_the_console() -> None:
    code = "import sys, cli.main; sys.exit('nicegui' in sys.modules or 'fastapi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def text_of(html: str) -> str:
    """Visible text, with single blanks."""
    inside, out = False, []
    for character in html:
        inside = character == "<" or (inside and character != ">")
        out.append(" " if inside or character == ">" else character)
    return " ".join("".join(out).split()).replace(" .", ".").replace(" ;", ";")
