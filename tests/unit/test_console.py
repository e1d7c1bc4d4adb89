"""The live console without a browser: how it shows rows and faults."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from conf.settings import Settings, load_settings
from conf.stores import Stores
from dashboard import charts, queries, sections, words
from dashboard.app import find_report
from dashboard.board import Away, Board, BoardView, ReadFault, Snapshot
from dashboard.branches import FigureChange, add_up, branches_today, change, compare, points
from dashboard.floor import cameras_now
from dashboard.pipeline import StreamNow, pipeline_now
from dashboard.quality import layers_now
from dashboard.queries import QUERIES, Query
from dashboard.streams import Reported, lag
from streaming.registry import STREAMS

pytestmark = pytest.mark.requirement("M1")

NOW = datetime(2024, 5, 8, 12, 20, tzinfo=timezone.utc)
"""A Wednesday; 14:20 in Berlin, where B01 is."""
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(var_dir=tmp_path)


def hour(local: int, *, days_ago: int = 0, **overrides: Any) -> queries.StoreHour:
    """An hour of B01 by its clock: ten visitors, two orders, 5.00 in all."""
    there = datetime(2024, 5, 8, local, tzinfo=BERLIN) - timedelta(days=days_ago)
    row = queries.StoreHour(
        branch_id="B01",
        hour=there.astimezone(timezone.utc),
        local_hour=there.replace(tzinfo=None),
        visitors=10,
        orders=2,
        revenue=Decimal("5.00"),
        camera_coverage=1.0,
        updated_at=NOW,
    )
    return replace(row, **overrides)


def answered(**answers: Sequence[Any] | ReadFault) -> Snapshot:
    """A snapshot of an empty database, except for these answers by the name of the query."""
    known = {query.name: query for query in QUERIES}
    assert answers.keys() <= known.keys()
    return Snapshot(NOW, {name: answers.get(name, []) for name in known})


def seen(minute: datetime = NOW, camera_id: str = "B01-entrance") -> queries.CameraSeen:
    return queries.CameraSeen(camera_id, minute.replace(second=0), 3)


def test_finished_hours_are_compared_with_the_same_ones_a_week_before() -> None:
    hours = [hour(12), hour(13, visitors=20), hour(14, visitors=500)]
    before = [hour(h, days_ago=7, visitors=8) for h in (11, 12, 13, 14)]
    yesterday = [hour(12, days_ago=1), hour(13, days_ago=1)]

    found = compare(hours, [*before, *yesterday, *hours], NOW.date(), NOW)

    assert found is not None
    assert (f"{found.day:%d %b}", found.hours) == ("01 May", 2)
    assert (found.now.visitors, found.before.visitors) == (30, 16)


def test_without_figures_of_the_week_before_it_is_the_day_before() -> None:
    hours = [hour(12), hour(12, days_ago=1, orders=1)]
    found = compare([hours[0]], hours, NOW.date(), NOW)
    assert found is not None
    assert (f"{found.day:%d %b}", found.before.orders) == ("07 May", 1)


def test_an_hour_that_only_one_of_the_days_has_is_not_compared() -> None:
    hours = [hour(11), hour(12), hour(12, days_ago=7)]
    found = compare(hours[:2], hours, NOW.date(), NOW)
    assert found is not None
    assert found.hours == 1
    assert compare([hour(14)], [hour(14), hour(14, days_ago=7)], NOW.date(), NOW) is None


def test_rates_are_of_sums_and_only_of_hours_whose_visitors_are_known() -> None:
    figures = add_up([hour(11, visitors=30), hour(12), hour(13, visitors=None, orders=7)])

    assert (figures.visitors, figures.orders) == (40, 11)
    assert figures.conversion == pytest.approx(4 / 40)
    assert figures.revenue_per_visitor == Decimal("0.25")
    assert figures.revenue == Decimal("15.00")


def test_visitors_that_nobody_counted_are_not_known_and_not_none() -> None:
    figures = add_up([hour(11, visitors=None, camera_coverage=None)])
    assert (figures.visitors, figures.conversion, figures.coverage) == (None, None, None)
    none_came = add_up([hour(11, visitors=0)])
    assert (none_came.visitors, none_came.conversion) == (0, None)


def test_a_change_is_shown_by_a_sign_and_a_word() -> None:
    assert change(12, 10) == FigureChange("▲", "up 20.0 %")
    assert change(Decimal(5), 0) is None
    assert points(0.21, 0.25) == FigureChange("▼", "down 4.0 points")
    assert points(0.2, 0.2) == FigureChange("=", "no change")


def test_a_day_begins_where_the_branch_is(stores: Stores) -> None:
    kolkata = ZoneInfo("Asia/Kolkata")
    half_past = datetime(2024, 5, 7, 23, 30, tzinfo=kolkata)
    hours = [
        hour(
            1, branch_id="B03", hour=at.astimezone(timezone.utc), local_hour=at.replace(tzinfo=None)
        )
        for at in (half_past, half_past + HOUR)
    ]
    today = branches_today(stores, hours, [], now=NOW, stale_after=2 * MINUTE)[2]
    assert [h.local_hour.hour for h in today.hours] == [0]


def test_a_card_shows_its_figures_with_the_time_zone_of_the_branch(
    settings: Settings, stores: Stores
) -> None:
    rows = [hour(12), hour(13, revenue=Decimal("1234.565")), hour(12, days_ago=7, visitors=8)]
    snapshot = answered(store_hourly=rows, cameras=[seen(), seen(camera_id="B01-till")])
    today = sections.today_of(snapshot, settings, stores)
    assert not isinstance(today, ReadFault)
    card = text_of(sections.branch_cards(today, snapshot)).split("Market Square")[0]

    assert "14:20 Europe/Berlin · open" in card
    assert "Visitors 20 ▲ up 25.0 % from 8" in card
    assert "Conversion 20.0 %" in card
    assert "Revenue per visitor 61.98 USD" in card
    assert "Revenue 1,239.57 USD" in card
    assert "1 finished hour of today with the same of Wed 01 May" in card
    assert "silent" not in card


def test_an_empty_day_and_a_silent_camera_are_shown_as_such(
    settings: Settings, stores: Stores
) -> None:
    snapshot = answered(cameras=[seen(NOW - 14 * MINUTE)])
    today = sections.today_of(snapshot, settings, stores)
    assert not isinstance(today, ReadFault)
    cards = text_of(sections.branch_cards(today, snapshot))

    assert cards.count("No figures today yet.") == 3
    assert "Main entrance is silent. Newest frame 14 min ago" in cards
    assert "Tills is silent. No frame yet" in cards


def test_a_part_that_cannot_be_read_shows_the_reason_and_no_other_is_affected(
    settings: Settings, stores: Stores
) -> None:
    fault = ReadFault("queue_minute did not answer within 3 s")
    snapshot = answered(queue_minute=fault)

    page = text_of(sections.floor_map(snapshot, settings, stores, stores.branches[0]))
    assert "Cannot be read. queue_minute did not answer within 3 s." in page
    assert "None. No open order" in text_of(sections.stuck_orders(snapshot, settings, stores))


def test_texts_of_the_database_are_shown_and_not_run(settings: Settings, stores: Stores) -> None:
    hostile = "<script>alert(1)</script>"
    stuck = queries.StuckOrder(hostile, hostile, "pending", "USD", None, NOW, None, 1)
    page = sections.stuck_orders(answered(**{"stuck orders": [stuck]}), settings, stores)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_map_has_the_zones_of_the_layout_that_holds_and_the_way_in(stores: Stores) -> None:
    branch = stores.branches[0]
    dwell = [
        queries.ZoneDwell("B01-entrance", "lobby", 12, 30.0, 70.0),
        queries.ZoneDwell("B01-till", "snacks", 3, 60.0, 90.0),
    ]
    queue = queries.QueueNow("B01-till", "till-queue", NOW, 2.5, 4, 3, 80.0)
    old = replace(queue, camera_id="B01-entrance", zone_id="queue", minute=NOW - HOUR)
    entrance, till = cameras_now(
        stores,
        branch,
        cameras=[seen()],
        dwell=dwell,
        queues=[queue, old],
        now=NOW,
        stale_after=2 * MINUTE,
    )
    lobby, waiting = entrance.zones

    assert (lobby.heat, waiting.dwell, waiting.queue) == (0.5, None, None)
    assert till.zones[0].queue == queue
    assert till.zones[1].heat == 1.0
    (line,) = entrance.lines  # from bottom to top, so that its right is the right of the picture
    assert line.inside[0] > line.middle[0]
    assert line.inside[1] == line.middle[1]
    assert (entrance.silent, till.silent) == (False, True)


def test_lag_is_what_the_topics_have_beyond_the_written_positions(settings: Settings) -> None:
    ends = {("order-created", 0): 10, ("order-created", 1): 4, ("detections", 0): 99}
    offsets = [queries.Offset("metrics", "order-created", 0, f"{7:020d}")]

    assert lag(ends, offsets, "metrics", ("order-created",)) == 2 + 4
    assert lag(ends, offsets, "other", ("order-created",)) is None
    footfall = next(stream for stream in STREAMS if stream.name == "footfall")
    both = settings.streams.model_copy(update={"detections_from": ("pulsar",)})
    assert footfall.topics(settings.model_copy(update={"streams": both})) == ()


def streams_of(settings: Settings, snapshot: Snapshot) -> Mapping[str, StreamNow]:
    found = pipeline_now(settings, snapshot)
    assert not isinstance(found, ReadFault)
    return {one.stream.name: one for one in found}


def test_a_stream_that_failed_or_stalled_is_shown_with_its_cause(settings: Settings) -> None:
    status = {"ready": False, "failures": 9, "finished_batches": 3}
    failed = {**status, "state": "failed", "detail": "footfall failed: no <broker>"}
    stalled = {**status, "failures": 0, "state": "stalled", "detail": "its batch does not end"}
    reported = Reported(NOW, {"footfall": failed, "store_hourly": stalled})
    snapshot = replace(answered(), reported=reported)
    found = streams_of(settings, snapshot)

    assert (found["footfall"].health, found["footfall"].detail) == ("failed", failed["detail"])
    assert found["store_hourly"].health == "stalled"
    page = sections.pipeline(snapshot, settings)
    assert "✗ failed" in page
    assert "footfall failed: no &lt;broker&gt;" in page
    assert "✗ stalled" in page


def test_a_stream_runs_retries_is_silent_or_is_stopped(settings: Settings) -> None:
    status = {"ready": True, "failures": 0, "finished_batches": 3}
    reported = Reported(NOW, {"footfall": status, "store_hourly": {**status, "failures": 2}})
    found = streams_of(settings, replace(answered(), reported=reported))
    old = streams_of(settings, replace(answered(), reported=replace(reported, at=NOW - HOUR)))

    assert found["footfall"].health == "running"
    assert (found["store_hourly"].health, found["store_hourly"].failures) == ("retrying", 2)
    assert found["bronze_detections"].health == "stopped"
    assert old["footfall"].health == "silent"


def test_the_page_names_what_only_the_lake_has(settings: Settings) -> None:
    page = text_of(sections.pipeline(answered(), settings))
    assert "its positions are only in the lake" in page
    assert "only in the lake: quarantine.detections" in page
    assert "No Spark application runs here." in page
    broken = replace(answered(), ends=ReadFault("Kafka does not answer"))
    assert "Lag is not known. Kafka does not answer." in text_of(
        sections.pipeline(broken, settings)
    )


def expectation(**overrides: Any) -> queries.Expectation:
    row = queries.Expectation(
        "silver.orders",
        "rows",
        "known",
        "silver",
        "critical",
        "passed",
        NOW,
        9,
        0,
        None,
        "Meaning.",
    )
    return replace(row, **overrides)


def test_layers_come_from_raw_to_served_with_their_failed_expectations() -> None:
    rows = [
        expectation(layer="gold", severity="warning", state="failed"),
        expectation(layer="bronze"),
        expectation(layer="bronze", state="unreadable"),
    ]
    bronze, gold = layers_now(rows)
    assert (bronze.name, bronze.met, bronze.unreadable) == ("bronze", 1, 1)
    assert (gold.name, gold.critical, gold.warnings) == ("gold", 0, 1)


def test_without_a_run_and_a_report_the_page_shows_how_to_get_them(
    settings: Settings,
) -> None:
    page = text_of(sections.quality(answered(), settings))
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


def test_an_hour_without_cameras_is_a_gap_in_the_chart_and_not_a_zero(
    settings: Settings, stores: Stores
) -> None:
    found = sections.today_of(
        answered(store_hourly=[hour(11, visitors=None), hour(12)]), settings, stores
    )
    assert not isinstance(found, ReadFault)
    chart = charts.hours_chart(found[0])
    assert chart["xAxis"]["data"] == ["11:00", "12:00"]
    assert [one["data"] for one in chart["series"]] == [[None, 10], [2, 2]]


def test_the_minutes_end_with_the_present_one_by_the_clock_of_the_branch() -> None:
    row = queries.BranchMinute("B01", NOW - MINUTE, 4, 1)
    chart = charts.minutes_chart([row], NOW, "Europe/Berlin")
    assert chart["xAxis"]["data"][-1] == "14:20"
    assert chart["series"][0]["data"][-2:] == [4, 0]
    assert chart["series"][1]["data"][-2:] == [1, None]
    assert len(chart["series"][1]["data"]) == 60


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "not known"), (0.04, "under 0.1 s"), (0.84, "0.84 s"), (42, "42 s"),
     (185, "3 min 5 s"), (7800, "2 h 10 min"), (86400, "24 h")],
)  # fmt: skip
def test_durations_are_as_short_as_they_can_be_understood(value: float | None, text: str) -> None:
    assert words.seconds(value) == text


class FakeLook:
    """A database without rows, of which some queries fail."""

    def __init__(self, failing: Mapping[str, Exception]) -> None:
        self.at = NOW
        self.asked: list[str] = []
        self._failing = failing

    def ask(self, query: Query[Any], parameters: Mapping[str, Any]) -> list[Any]:
        self.asked.append(query.name)
        if query.name in self._failing:
            raise self._failing[query.name]
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


def test_heavy_queries_run_less_often(settings: Settings, stores: Stores) -> None:
    database = FakeDatabase()
    watch = Watch(settings, stores, database)
    for seconds in (0, 2, 8):
        watch.after(seconds)
    asked = [look.asked for look in database.looks]
    assert ["quality_results" in names for names in asked] == [True, False, True]
    assert ["store_hourly" in names for names in asked] == [True, True, True]


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
    assert snapshot.rows(queries.DEAD_LETTERS) == ReadFault(
        "dead_letters did not answer within 3 s"
    )
    assert snapshot.rows(queries.QUALITY) == ReadFault("permission denied: run `storelake migrate`")
    assert snapshot.rows(queries.HOURS) == []


def test_the_first_line_shows_whether_the_figures_are_current(settings: Settings) -> None:
    away = Away(NOW, "gone")
    assert "There is nothing to show yet." in text_of(
        sections.status(BoardView(None, away), settings)
    )
    assert "as of 12:20:00 UTC" in text_of(sections.status(BoardView(answered()), settings))


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
