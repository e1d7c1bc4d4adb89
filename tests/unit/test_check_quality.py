"""What a verification of quality counts: damage that nobody names, and alarms without damage."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from conf.settings import load_settings
from conf.stores import Stores, load_stores
from quality.results import Result
from simulator.history import HOUR, Span, frame_history, order_history
from simulator.orders import OrderEvent
from verification.quality.fault_injection import (
    DRIFT_BRANCH,
    MISSING_BRANCH,
    PLANTS,
    STALE_CAMERA,
    Plant,
    frames_with_a_stale_camera,
    late_burst,
    through_the_front_door,
)
from verification.quality.run import account

pytestmark = pytest.mark.requirement("Q1")

START = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
BAD = Span(START, START + 2 * HOUR)
PRICE = Plant("negative price", (r"silver\.orders\..*price.*",), ("side-door",), (r".*sums",))


def failure(name: str, samples: str = "side-door") -> Result:
    table, suite, expectation = name.rsplit(".", 2)
    return Result(
        table=table,
        suite=suite,
        name=expectation,
        kind="expect_something",
        severity="critical",
        state="failed",
        snapshot_id=1,
        rows=10,
        unexpected=1,
        observed=None,
        samples=json.dumps([{"position": samples}]),
        says="It is wrong.",
    )


def test_damage_counts_as_found_only_when_a_failure_shows_it() -> None:
    named = failure("silver.orders.rows.price")
    assert account([PRICE], [named]) == ([], [])
    assert account([PRICE], []) == (["negative price"], [])
    elsewhere = failure("silver.orders.rows.price", "another row")
    assert account([PRICE], [elsewhere]) == (["negative price"], [elsewhere])


def test_what_follows_from_damage_is_no_false_alarm_and_does_not_name_it() -> None:
    follows, stranger = failure("gold.order_hourly.facts.sums"), failure("gold.x.facts.y")
    assert account([PRICE], [follows, stranger]) == (["negative price"], [stranger])


def test_there_are_ten_kinds_of_damage_with_names_of_their_own() -> None:
    assert len({plant.name for plant in PLANTS}) == 10


@pytest.fixture(scope="module")
def stores() -> Stores:
    return load_stores(load_settings().stores_file)


@pytest.fixture(scope="module")
def events(stores: Stores) -> list[OrderEvent]:
    return list(order_history(stores.branches, BAD, mean=30.0, seed=1, run_id="bad"))


def total(document: dict[str, Any]) -> float:
    items = document["order"]["items"]
    return round(sum(line["quantity"] * line["unit_price"] for line in items), 2)


def test_a_bad_span_has_a_silent_branch_and_dear_orders_that_still_add_up(
    events: list[OrderEvent],
) -> None:
    damaged = list(through_the_front_door(events, BAD))
    silent = [e for e in damaged if e.branch_id == MISSING_BRANCH]
    assert silent
    assert min(e.event_time for e in silent) >= START + HOUR
    before = {e.event_id: e for e in events}
    for event in damaged:
        if "items" in event.document["order"]:
            assert event.document["order"]["total_price"] == total(event.document)
            dearer = event.document["order"]["total_price"] > 10 * total(
                before[event.event_id].document
            )
            assert dearer == (event.branch_id == DRIFT_BRANCH)


def test_a_late_burst_is_of_valid_orders_with_ids_of_their_own(events: list[OrderEvent]) -> None:
    late = list(late_burst(events, START - timedelta(hours=6), BAD.end))
    known = {e.event_id for e in events}
    assert len({e.event_id for e in late} - known) == len(late) > 50
    assert {e.document["event_time"][:13] for e in late} == {"2024-05-01T04"}


def test_a_stale_camera_falls_silent_and_no_other_does(stores: Stores) -> None:
    frames = list(frame_history(stores, Span(START, START + HOUR), run_id="bad"))
    left = list(frames_with_a_stale_camera(frames, START + HOUR / 2))
    gone = [f for f in frames if f not in left]
    assert {f["camera_id"] for f in gone} == {STALE_CAMERA}
    assert min(f["captured_at"] for f in gone) >= "2024-05-01T10:30"
