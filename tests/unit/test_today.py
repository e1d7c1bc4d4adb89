"""The page Today: each figure's formula, which hours belong to a day, and what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace as Row
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from conf.settings import load_settings
from conf.stores import Branch, OpeningHours, Stores
from dashboard import charts, today
from dashboard.board import ReadError, Snapshot
from dashboard.branches import branch_day, branch_days, queues_now
from dashboard.chain import chain_of
from dashboard.figures import RUNNING, add_up, compare
from dashboard.opening import axis_of, counted_since, hours_of, is_closed_day
from dashboard.queries import QUERIES
from dashboard.roster import RosterError, RosterLine, read_roster, visitors_per_staff_hour
from dashboard.week import power_slots, week_of
from tests.support.store_hours import store_hour as hour

pytestmark = pytest.mark.requirement("M2")

NOW = datetime(2024, 5, 8, 12, 20, tzinfo=timezone.utc)
"""A Wednesday; 14:20 in Berlin, where B01 is."""
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
BERLIN = ZoneInfo("Europe/Berlin")
SHOP = OpeningHours(days=("mon", "tue", "wed", "thu", "fri", "sat"), opens=time(9), closes=time(18))


@pytest.fixture
def empty(tmp_path: Path, stores: Stores) -> Snapshot:
    """A snapshot of a database without rows."""
    rows: dict[str, list[Any] | ReadError] = {name: [] for name in QUERIES}
    return Snapshot(load_settings(var_dir=tmp_path), stores, NOW, rows)


def answered(empty: Snapshot, **answers: Sequence[Any] | ReadError) -> Snapshot:
    return replace(empty, answers={**empty.answers, **answers})


def open_at(branch: Branch, *hours: OpeningHours) -> Branch:
    return branch.model_copy(update={"opening_hours": hours})


def of_day(local: int, **overrides: Any) -> Row:
    return hour(datetime(2024, 5, 8, local, tzinfo=BERLIN), **overrides)


# Figures


def test_a_basket_is_what_an_order_in_the_currency_of_the_branch_brings() -> None:
    foreign = of_day(10, orders=5, orders_other_currency=3, revenue=Decimal("7.00"))
    assert add_up([of_day(9), foreign], NOW).basket == Decimal("3.00")
    assert add_up([of_day(9, orders=0, revenue=Decimal(0))], NOW).basket is None


def test_capture_is_of_the_hours_in_which_passers_by_were_counted_and_trusted() -> None:
    counted = of_day(9, passers_by=30, capture_rate=0.25)
    withheld = of_day(10, passers_by=5)
    assert add_up([counted, withheld, of_day(11)], NOW).capture == 0.25
    assert add_up([withheld], NOW).capture is None


def test_the_running_hour_is_no_fault_of_the_cameras() -> None:
    running = of_day(14, conversion_withheld="coverage below 0.5", camera_coverage=0.3)
    figures = add_up([running], NOW)
    assert (figures.withheld, figures.coverage) == (RUNNING, None)
    quiet = of_day(3, visitors=0, orders_in_store=0, conversion_withheld="no visitors counted")
    assert add_up([quiet], NOW).withheld is None


def test_more_orders_than_visitors_are_never_a_rate(empty: Snapshot) -> None:
    absurd = of_day(10, visitors=3, orders_in_store=23, conversion_withheld="above 100 %")
    figures = add_up([absurd], NOW)
    assert (figures.conversion, figures.revenue_per_visitor) == (None, None)
    page = today.branch_cards(answered(empty, store_hourly=[absurd]))
    assert "766" not in page
    assert "withheld in the others: above 100 %" in page


def test_an_hour_that_the_clock_repeats_is_compared_once() -> None:
    end = datetime(2024, 10, 27, 2, tzinfo=BERLIN)
    twice = [hour(end), hour(end.replace(fold=1))]
    found = compare(twice, [*twice, hour(end - timedelta(days=7))], NOW + timedelta(days=200))
    assert twice[0].hour + HOUR == twice[1].hour
    assert found is not None
    assert (found.hours, found.now.visitors, found.before.visitors) == (1, 10, 10)


# Days and opening hours


@pytest.mark.parametrize(
    ("day", "hours"), [("2024-05-08", 24), ("2024-03-31", 23), ("2024-10-27", 25)]
)
def test_a_day_has_the_hours_of_its_clock(stores: Stores, day: str, hours: int) -> None:
    found = hours_of(stores.branches[0], date.fromisoformat(day))
    assert len(found) == hours
    assert f"{found[0].astimezone(BERLIN):%H:%M}" == "00:00"


def test_hours_of_a_half_hour_zone_begin_at_half_past(stores: Stores) -> None:
    first, *_ = hours_of(stores.branches[2], date(2024, 5, 8))
    assert first == datetime(2024, 5, 7, 19, tzinfo=timezone.utc)  # 00:30 in Kolkata


def test_the_axis_has_the_opening_hours_and_what_happened_outside(stores: Stores) -> None:
    branch, day = open_at(stores.branches[0], SHOP), date(2024, 5, 8)
    clock = [f"{at.astimezone(BERLIN):%H}" for at in axis_of(branch, day, ())]
    assert (clock[0], clock[-1], len(clock)) == ("09", "17", 9)
    early = axis_of(branch, day, {of_day(7).hour})
    assert (early[0], len(early)) == (of_day(7).hour, 11)
    assert axis_of(stores.branches[0], day, ()) == []
    assert axis_of(branch, date(2024, 5, 12), ()) == []  # a Sunday


def test_a_closed_day_is_named(empty: Snapshot, stores: Stores) -> None:
    branch = open_at(stores.branches[0], SHOP)
    assert is_closed_day(branch, date(2024, 5, 12))
    assert not is_closed_day(stores.branches[0], date(2024, 5, 12))
    closed = stores.model_copy(update={"branches": (branch,)})
    page = today.branch_cards(replace(empty, stores=closed, day=date(2024, 5, 12)))
    assert "no opening hours on this day" in page


def test_people_inside_are_counted_since_the_latest_opening(stores: Stores) -> None:
    branch = stores.branches[0]
    lunch = (
        OpeningHours(opens=time(9), closes=time(12)),
        OpeningHours(opens=time(14), closes=time(18)),
    )
    assert counted_since(open_at(branch, *lunch), NOW) == of_day(14).hour
    assert counted_since(open_at(branch, *lunch), NOW - HOUR) == of_day(9).hour
    assert counted_since(open_at(branch, SHOP), of_day(8).hour) == of_day(0).hour
    assert counted_since(branch, NOW) == of_day(0).hour
    kolkata = counted_since(stores.branches[2], NOW)
    assert kolkata == datetime(2024, 5, 7, 18, 30, tzinfo=timezone.utc)


# Now


def seen(camera_id: str, minute: datetime = NOW) -> Row:
    return Row(camera_id=camera_id, minute=minute.replace(second=0), people_peak=3)


def test_people_inside_are_not_known_while_an_entrance_is_silent(empty: Snapshot) -> None:
    inside = [Row(branch_id="B01", since=of_day(0).hour, people=7)]
    live = answered(empty, people_inside=inside, cameras=[seen("B01-entrance")])
    found = branch_days(live)[0].inside
    assert found is not None
    assert found.people == 7
    old = answered(empty, people_inside=inside, cameras=[seen("B01-entrance", NOW - HOUR)])
    assert branch_days(old)[0].inside is None


def length(camera_id: str, zone_id: str, people: float, minute: datetime = NOW) -> Row:
    return Row(camera_id=camera_id, zone_id=zone_id, minute=minute, length_mean=people)


def test_the_queue_nearest_to_its_limit_comes_first(empty: Snapshot, stores: Stores) -> None:
    queues = [length("B01-entrance", "queue", 3.0), length("B01-till", "till-queue", 6.5)]
    snapshot = answered(empty, queue_minute=queues, store_hourly=[of_day(9)])
    first, second = queues_now(snapshot, stores.branches[0])
    assert (first.zone_id, first.limit, first.is_over) == ("till-queue", 6, True)
    assert not second.is_over
    assert "over its limit of 6" in today.branch_cards(snapshot)


def test_an_old_length_is_not_the_queue_now(empty: Snapshot, stores: Stores) -> None:
    queues = [length("B01-till", "till-queue", 9.0, NOW - 4 * MINUTE)]
    first, _ = queues_now(answered(empty, queue_minute=queues), stores.branches[0])
    assert (first.length, first.is_over) == (None, False)


def test_units_that_cannot_be_read_are_not_known_and_the_card_remains(empty: Snapshot) -> None:
    units = [Row(branch_id="B01", orders=4, units=Decimal(10))]
    snapshot = answered(empty, units=units)
    assert branch_day(snapshot, snapshot.stores.branches[0]).units_per_basket == 2.5
    assert chain_of(snapshot, branch_days(snapshot)).units_per_basket == 2.5
    late = answered(empty, units=ReadError("units did not answer within 3 s"))
    assert branch_day(late, late.stores.branches[0]).units_per_basket is None


# The chain


def sold(branch_id: str, currency: str, orders: int, revenue: str) -> Row:
    return Row(branch_id=branch_id, currency=currency, orders=orders, revenue=Decimal(revenue))


def test_several_currencies_are_never_one_sum(empty: Snapshot, stores: Stores) -> None:
    berlin, york, _ = stores.branches
    euro = berlin.model_copy(update={"currency": "EUR"})
    snapshot = answered(
        replace(empty, stores=stores.model_copy(update={"branches": (euro, york)})),
        store_hourly=[of_day(9), of_day(9, branch_id="B02", revenue_in_store=Decimal("20.00"))],
        order_metrics=[sold("B01", "EUR", 2, "5.00"), sold("B02", "USD", 3, "60.00"),
                       sold("B01", "USD", 1, "20.00")],
    )  # fmt: skip
    dollars, euros = chain_of(snapshot, branch_days(snapshot)).money
    assert (dollars.revenue, dollars.basket) == (Decimal("80.00"), Decimal("20.00"))
    assert dollars.revenue_per_visitor == Decimal("2.00")
    assert (euros.currency, euros.revenue_per_visitor) == ("EUR", Decimal("0.50"))
    assert "85.00" not in today.chain(snapshot)


def test_the_chain_counts_each_branch_on_its_own_day(empty: Snapshot) -> None:
    kolkata = datetime(2024, 5, 8, 0, 30, tzinfo=ZoneInfo("Asia/Kolkata"))
    hours = [of_day(9), hour(kolkata, branch_id="B03"),
             hour(kolkata - HOUR, branch_id="B03", visitors=500)]  # fmt: skip
    snapshot = answered(empty, store_hourly=hours)
    chain = chain_of(snapshot, branch_days(snapshot))
    assert chain.figures is not None
    assert (chain.figures.visitors, chain.counted, chain.branches) == (20, 2, 3)
    assert chain.inside is None


def test_branches_are_compared_each_with_itself(empty: Snapshot) -> None:
    week = timedelta(days=7)
    other = of_day(9, branch_id="B02", visitors=900)  # without a week before
    before = hour(datetime(2024, 5, 8, 9, tzinfo=BERLIN) - week, visitors=8)
    snapshot = answered(empty, store_hourly=[before, of_day(9), other])
    compared = chain_of(snapshot, branch_days(snapshot)).compared
    assert compared is not None
    assert (compared.now.visitors, compared.before.visitors) == (10, 8)


# Staff


HEAD = "branch_id,start,end,staff\n"
GOOD = "B01,2024-05-08T09:00+02:00,2024-05-08T11:00+02:00,2\n"


def shifts(tmp_path: Path, text: str) -> tuple[RosterLine, ...]:
    file = tmp_path / "roster.csv"
    file.write_bytes(text.encode("utf-8-sig"))
    return read_roster(file, {"B01", "B02"})


def test_visitors_per_staff_hour_are_of_staffed_hours_alone(tmp_path: Path) -> None:
    half = "B01,2024-05-08T10:00+02:00,2024-05-08T10:30+02:00,2\n"
    roster = shifts(tmp_path, HEAD + GOOD + "\n" + half)
    hours = [of_day(9), of_day(10), of_day(11), of_day(10, branch_id="B02")]
    assert visitors_per_staff_hour(roster, hours, NOW) == 20 / 5
    assert visitors_per_staff_hour(roster, [of_day(9, visitors=None)], NOW) is None
    running = visitors_per_staff_hour(roster, [of_day(9)], of_day(9).hour + HOUR / 2)
    assert running == 10.0


def test_a_roster_that_cannot_be_used_is_named_on_the_page(empty: Snapshot) -> None:
    page = today.branch_cards(replace(empty, roster=ReadError("roster r.csv, line 3: start")))
    assert "roster r.csv, line 3: start" in page


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("branch;start;end;staff\n", "line 1: the columns must be branch_id,start,end,staff"),
        ("", "line 1: the columns must be"),
        (HEAD + GOOD + "B01,2024-05-08T09:00,2024-05-08T11:00+02:00,2\n", "line 3: start"),
        (HEAD + "B01,9,10,2\n", "line 2: start '9'"),
        (HEAD + "B01,2024-05-08T09:00Z,2024-05-08T08:00Z,2\n", "line 2: end must be later"),
        (HEAD + "B9,2024-05-08T09:00Z,2024-05-08T10:00Z,2\n", "line 2: branch 'B9' is not in"),
        (HEAD + "B01,2024-05-08T09:00Z,2024-05-08T10:00Z,-1\n", "line 2: staff '-1'"),
        (HEAD + "B01,2024-05-08T09:00Z,2024-05-08T10:00Z\n", "line 2: 3 values for 4 columns"),
        (HEAD + '"B01\n', "line 2: unexpected end of data"),
    ],
)
def test_a_bad_line_of_the_roster_is_named(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(RosterError, match=fault):
        shifts(tmp_path, text)


def test_a_roster_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_bytes(b"\xff\xfe\x00")
    for file in (tmp_path / "roster.csv", tmp_path / "missing.csv", tmp_path):
        with pytest.raises(RosterError, match=r"roster .* (is not UTF-8|cannot be read: )"):
            read_roster(file, {"B01"})


# The weeks before


def slot(weekday: int, at: int, visitors: int, **overrides: Any) -> Row:
    row = {"days": 4, "came": visitors, "bought": visitors // 5, "revenue": Decimal(visitors)}
    return Row(branch_id="B01", weekday=weekday, hour=at, visitors=visitors, **row | overrides)


def test_power_hours_are_the_fewest_that_make_half() -> None:
    assert power_slots({(0, 9): 1, (0, 10): 5, (1, 9): 4}) == {(0, 10)}
    assert power_slots({(0, 9): 5, (0, 10): 5, (1, 9): 5}) == {(0, 9), (0, 10)}
    assert power_slots({(0, 9): 0}) == set()


def test_power_hours_in_a_row_are_one_span(empty: Snapshot, stores: Stores) -> None:
    rows = [slot(5, 16, 40), slot(5, 17, 44), slot(6, 11, 40), slot(1, 9, 20),
            slot(2, 9, 60, revenue=Decimal(0)), slot(3, 9, 0, revenue=Decimal(0))]  # fmt: skip
    week = week_of(answered(empty, weekday_hours=rows), stores.branches[0])
    assert week is not None
    assert week.by_visitors is not None
    assert week.by_revenue is not None
    assert week.by_visitors.spans == ("Tue 9-10", "Fri 17-18")
    assert (week.by_visitors.slots, week.by_visitors.of) == (2, 5)
    assert week.by_revenue.spans == ("Fri 16-18",)
    assert week.hours == range(9, 18)
    assert week.cells[1, 9].visitors == 15
    assert week.cells[1, 9].is_power
    assert week.cells[1, 9].levels == (4, 4)


def test_few_visitors_make_no_rate_of_an_hour(empty: Snapshot, stores: Stores) -> None:
    rows = [slot(5, 16, 9), slot(5, 17, 40, came=0, bought=0)]
    snapshot = answered(empty, weekday_hours=rows)
    week = week_of(snapshot, stores.branches[0])
    assert week is not None
    assert week.cells[4, 16].conversion is None
    assert week.cells[4, 17].conversion is None
    assert "not known" not in today.week(snapshot, stores.branches[0])


def test_without_a_past_there_is_no_map(empty: Snapshot, stores: Stores) -> None:
    assert "No figures of the four weeks before" in today.week(empty, stores.branches[0])


# The chart and the day


def test_the_chart_has_the_week_before_as_a_ghost(empty: Snapshot, stores: Stores) -> None:
    branch = open_at(stores.branches[0], SHOP)
    week = timedelta(days=7)
    before = [hour(datetime(2024, 5, 8, at, tzinfo=BERLIN) - week, visitors=at) for at in (9, 17)]
    chain = stores.model_copy(update={"branches": (branch,)})
    snapshot = answered(replace(empty, stores=chain), store_hourly=[*before, of_day(9)])
    chart = charts.hours_chart(snapshot, branch)
    assert chart is not None
    assert chart["xAxis"][0]["data"][0] == "09:00"
    assert chart["xAxis"][0]["data"][-1] == "17:00"
    visitors, orders, ghost = chart["series"]
    assert visitors["data"] == [10, *[None] * 8]
    assert orders["data"][0] == 2
    assert (ghost["name"], ghost["data"]) == ("Visitors Wed 01 May", [9, *[None] * 7, 17])


@pytest.mark.parametrize(
    ("asked", "day", "fault"),
    [
        (None, None, ""),
        ("", None, ""),
        ("2024-05-08", None, ""),
        ("2024-05-01", date(2024, 5, 1), ""),
        ("2024-05-09", None, "in the future"),
        ("0001-01-01", None, "before 2000-01-01"),
        ("yesterday", None, "is no date"),
    ],
)
def test_a_day_is_taken_from_the_address(asked: str | None, day: date | None, fault: str) -> None:
    found, why = today.parse_day(asked, date(2024, 5, 8))
    assert found == day
    assert fault in why


def test_today_is_the_day_where_the_chosen_branch_is(stores: Stores) -> None:
    branch = stores.branches[0]
    first, last = (
        today.latest_day(branch.model_copy(update={"timezone": zone}))
        for zone in ("Pacific/Kiritimati", "Pacific/Honolulu")  # 24 hours apart
    )
    assert first - last == timedelta(days=1)


def test_a_hostile_date_is_shown_and_not_run(stores: Stores) -> None:
    _, fault = today.parse_day("<script>", date(2024, 5, 8))
    assert "<script>" not in today.day_picker(stores.branches[0], None, date(2024, 5, 8), fault)


def test_a_day_in_the_past_has_no_now(empty: Snapshot) -> None:
    before = hour(datetime(2024, 5, 7, 9, tzinfo=BERLIN))
    past = answered(replace(empty, day=date(2024, 5, 7)), store_hourly=[before, of_day(9)])
    found = branch_days(past)[0]
    assert (len(found.hours), found.inside, found.queues, found.silent) == (1, None, (), ())
    assert "In the shop now" not in today.branch_cards(past)
