"""The past that `storelake seed` generates: repeatable, plausible, and counted by the streams."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator

from conf.settings import CONF_DIR, Settings
from conf.stores import OpeningHours, Stores
from quality.past_reconciliation import BranchHours, reconcile_past, truth_of
from quality.seed_state import SeedError, begin_past, note_day
from simulator.past.days import Past, PastDay
from simulator.past.demand import LAST_ARRIVAL, arrivals, openings
from simulator.past.frames import whole_hour
from streaming.sinks.postgres import Database
from streaming.source import SOURCE_SCHEMA
from streaming.transforms.order_event_processor import silver_orders
from streaming.transforms.track import person
from streaming.transforms.tracks import CameraRun, Rules, layouts_by_camera

pytestmark = pytest.mark.requirement("M3")

END = datetime(2026, 11, 30, 9, tzinfo=timezone.utc)
SATURDAY, MONDAY = date(2026, 11, 28), date(2026, 11, 23)


def past(stores: Stores, seed: int = 1, end: datetime = END) -> Past:
    return Past(stores, seed, end)


def entries(stores: Stores, frames: Sequence[dict[str, Any]]) -> Counter[tuple[str, datetime]]:
    """(branch, hour) -> entries, as the stream footfall counts them."""
    layouts, runs = layouts_by_camera(stores), dict[str, CameraRun]()
    found: Counter[tuple[str, datetime]] = Counter()
    for frame in frames:
        camera = frame["camera_id"]
        run = runs.setdefault(camera, CameraRun(layouts[camera], Rules()))
        ratio = frame["image"]["width"] / frame["image"]["height"]
        people = [person(one["track_id"], one["bbox"], ratio) for one in frame["detections"]]
        at = int(datetime.fromisoformat(frame["captured_at"]).timestamp() * 1e6)
        for crossing in run.receive(frame["frame_index"], at, people).crossings:
            if (crossing.kind, crossing.direction) == ("entrance", "entry"):
                crossed = datetime.fromtimestamp(crossing.crossed_at / 1e6, timezone.utc)
                found[frame["branch_id"], whole_hour(crossed)] += 1
    return found


def sold(day: PastDay) -> list[dict[str, Any]]:
    """The orders of a day as they were made."""
    return [e.document["order"] for e in day.orders if e.event_type == "order.created"]


def in_store(day: PastDay) -> int:
    return sum(order["channel"] == "in_store" for order in sold(day))


def test_the_same_seed_generates_the_same_day_and_another_one_other_ids(stores: Stores) -> None:
    first, again, other = (past(stores, seed).day(MONDAY) for seed in (1, 1, 2))
    assert first.orders == again.orders
    assert list(first.frames()) == list(again.frames())
    assert not {e.event_id for e in first.orders} & {e.event_id for e in other.orders}


def test_nothing_happens_from_the_end_on(stores: Stores) -> None:
    today = past(stores).day(END.date())
    assert len(today.orders) > 0
    assert max(event.event_time for event in today.orders) < END
    assert max(frame["captured_at"] for frame in today.frames()) < f"{END:%Y-%m-%dT%H:%M}"
    ended = {e.order_id for e in today.orders if e.status in {"completed", "cancelled"}}
    assert {order["order_id"] for order in sold(today)} <= ended


def test_the_streams_count_exactly_who_came_in(stores: Stores) -> None:
    for day in (past(stores).day(SATURDAY), past(stores, 5).day(END.date())):
        assert entries(stores, list(day.frames())) == day.visitors


def test_every_message_keeps_its_contract_and_breaks_no_rule(stores: Stores) -> None:
    day = past(stores).day(MONDAY)
    contract = json.loads((CONF_DIR / "contracts" / "detection_event.v1.json").read_text())
    for frame in list(day.frames())[::200]:
        Draft202012Validator(contract).validate(frame)
    rows = [
        {
            "key": event.key, "value": event.value, "topic": "t", "partition": 0,
            "position": f"{number:020d}", "timestamp": END, "headers": [],
        }
        for number, event in enumerate(day.orders)
    ]  # fmt: skip
    validated = silver_orders(stores, timedelta(minutes=10))(
        pa.Table.from_pylist(rows, SOURCE_SCHEMA)
    )
    assert {rule for rules in validated["rules"].to_pylist() for rule in rules} == set()


def test_a_camera_is_there_in_every_minute_of_the_opening_hours(stores: Stores) -> None:
    minutes: dict[str, set[str]] = {}
    for frame in past(stores).day(MONDAY).frames():
        minutes.setdefault(frame["camera_id"], set()).add(frame["captured_at"][:16])
    for branch in stores.branches:
        (opening,) = openings(branch, MONDAY)
        length = (opening.ends - opening.begins) // timedelta(minutes=1)
        wanted = {
            f"{opening.begins + n * timedelta(minutes=1):%Y-%m-%dT%H:%M}" for n in range(length)
        }
        assert all(wanted <= minutes[camera.camera_id] for camera in branch.cameras)


def test_frames_of_a_camera_come_in_order_without_gaps_in_their_index(stores: Stores) -> None:
    for camera in past(stores).day(MONDAY).cameras:
        frames = list(camera)
        assert [frame["frame_index"] for frame in frames] == list(range(len(frames)))
        assert all(a["captured_at"] < b["captured_at"] for a, b in pairwise(frames))


def test_saturday_is_busy_most_of_all_in_the_power_hour(stores: Stores) -> None:
    saturday, monday = past(stores).day(SATURDAY), past(stores).day(MONDAY)
    assert sum(saturday.visitors.values()) > 1.6 * sum(monday.visitors.values())
    by_hour: Counter[int] = Counter()
    zones = {branch.branch_id: ZoneInfo(branch.timezone) for branch in stores.branches}
    for (branch_id, hour), count in saturday.visitors.items():
        by_hour[hour.astimezone(zones[branch_id]).hour] += count
    assert by_hour[11] > 2 * by_hour[19]


def test_conversion_returns_and_cancellations_are_those_of_a_shop(stores: Stores) -> None:
    days = [past(stores).day(MONDAY + timedelta(n)) for n in range(6)]
    for day in days:
        assert 0.15 < in_store(day) / sum(day.visitors.values()) < 0.35
    types = Counter(event.event_type for day in days for event in day.orders)
    assert types["order.returned"] > 10
    assert types["order.cancelled"] > 20
    currencies = {b.branch_id: b.currency for b in stores.branches}
    orders = [order for day in days for order in sold(day)]
    assert all(order["currency"] == currencies[order["branch_id"]] for order in orders)
    assert {order["channel"] for order in orders} > {"in_store", "web"}


def test_demand_grows_towards_the_present(stores: Stores) -> None:
    def visitors(weeks: int) -> int:
        days = [MONDAY - timedelta(weeks=weeks, days=n) for n in range(7)]
        return sum(sum(past(stores).day(day).visitors.values()) for day in days)

    assert visitors(30) < 0.8 * visitors(0)


def test_a_branch_is_closed_when_its_store_file_has_it_so(stores: Stores) -> None:
    hours = OpeningHours(days=("tue",), opens="10:00", closes="12:00")
    first = stores.branches[0].model_copy(update={"opening_hours": (hours,)})
    closed = stores.model_copy(update={"branches": (first,)})
    assert past(closed).day(MONDAY).orders == []
    tuesday = past(closed).day(MONDAY + timedelta(1))
    assert {hour.hour for _, hour in tuesday.visitors} <= {9, 10}


@pytest.mark.parametrize("closes", ["11:30", "11:45", "12:00"])
def test_nobody_comes_to_a_branch_after_it_closes_within_the_power_hour(
    stores: Stores, closes: str
) -> None:
    hours = OpeningHours(days=("sat",), opens="08:00", closes=closes)
    branch = stores.branches[0].model_copy(update={"opening_hours": (hours,)})
    found = stores.model_copy(update={"branches": (branch,)})
    for seed in range(20):
        (opening,) = openings(branch, SATURDAY)
        came = arrivals(branch, opening, 0, random.Random(seed))
        assert opening.begins <= came[0] <= came[-1] < opening.ends - LAST_ARRIVAL
    assert past(found).day(SATURDAY).orders


def test_a_past_is_extended_only_with_the_branches_that_it_was_begun_with(
    settings: Settings, tmp_path: Path
) -> None:
    file, text = tmp_path / "stores.toml", (CONF_DIR / "stores" / "demo.toml").read_text()
    here = settings.model_copy(update={"var_dir": tmp_path, "stores_file": file})
    db = create_autospec(Database, instance=True)
    db.fetch.return_value = [{"first": END}]
    file.write_text(text)
    note_day(here, begin_past(here, db, 1, lambda _: None), str(MONDAY), None)

    redrawn = "\n[[branches.cameras.redrawn]]\nversion = 9\nvalid_from = 2026-12-24T00:00:00Z\n"
    file.write_text(text.replace("limit = 6", "limit = 7") + redrawn)
    assert begin_past(here, db, 1, lambda _: None).days == {str(MONDAY): None}
    for old, new in (
        ("Asia/Kolkata", "Asia/Tokyo"),
        ("b = [0.95, 0.55]", "b = [0.9, 0.55]"),
        ("region = ", 'opening_hours = [{ opens = "08:00", closes = "12:00" }]\nregion = '),
    ):
        assert old in text
        file.write_text(text.replace(old, new))
        with pytest.raises(SeedError, match="opening hours of the store file changed after this"):
            begin_past(here, db, 1, lambda _: None)


def test_gold_that_differs_by_one_visitor_or_cent_is_named_by_branch_and_hour(
    stores: Stores,
) -> None:
    truth = truth_of([past(stores).day(MONDAY)])
    assert reconcile_past(truth, truth).ok
    (branch, hour), count = next(iter(truth.visitors.items()))
    fewer = BranchHours(truth.sums, {**truth.visitors, (branch, hour): count - 1})
    (fault,) = reconcile_past(truth, fewer).faults
    assert fault == (
        f"store_hourly of {branch} at {hour:%Y-%m-%d %H}:00: visitors is {count - 1}, "
        f"{count} came in"
    )
    key, sums = next(iter(truth.sums.items()))
    dearer = {**truth.sums, key: {**sums, "net_revenue": sums["net_revenue"] + 1}}
    (fault,) = reconcile_past(truth, BranchHours(dearer, truth.visitors)).faults
    assert f"order_metrics of {key.branch_id}" in fault
