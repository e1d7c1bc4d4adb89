"""Weeks of a chain in a moment: events that came in order, and people who walk in."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from conf.settings import CONF_DIR
from conf.stores import Stores
from simulator.history import HOUR, Span, frame_history, order_history
from simulator.orders import SimulatedOrderEvent
from udfs.geometry import signed_distance

pytestmark = pytest.mark.requirement("Q1")

START = datetime(2024, 5, 1, tzinfo=timezone.utc)
DAY = Span(START, START + timedelta(days=1))


def orders(stores: Stores, **changes: Any) -> list[SimulatedOrderEvent]:
    arguments = {"mean": 10.0, "seed": 3, "run_id": "test"} | changes
    return list(order_history(stores.branches, DAY, **arguments))


def test_events_come_in_the_order_of_their_times_and_every_order_ends(stores: Stores) -> None:
    events = orders(stores)
    assert all(a.event_time < b.event_time for a, b in pairwise(events))
    last = {event.order_id: event.status for event in events}
    assert set(last.values()) <= {"completed", "cancelled"}
    assert events[0].event_time >= START
    created = [e for e in events if e.event_type == "order.created"]
    assert max(e.event_time for e in created) < DAY.end


def test_the_same_seed_gives_the_same_day_and_another_run_has_other_ids(stores: Stores) -> None:
    first, again, other = orders(stores), orders(stores), orders(stores, run_id="other")
    assert first == again
    assert [e.total_price for e in first] == [e.total_price for e in other]
    assert not {e.order_id for e in first} & {e.order_id for e in other}


def test_every_branch_sells_in_every_hour_and_most_in_the_afternoon(stores: Stores) -> None:
    created = [e for e in orders(stores) if e.event_type == "order.created"]
    made = Counter(e.event_time.hour for e in created)
    assert made[16] > 2 * made[4]
    for branch in stores.branches:
        mine = {e.event_time.hour for e in created if e.branch_id == branch.branch_id}
        assert mine == set(range(24))


def test_in_each_minute_one_person_walks_in_at_each_entrance(stores: Stores) -> None:
    frames = list(frame_history(stores, Span(START, START + HOUR), run_id="test"))
    contract = json.loads((CONF_DIR / "contracts" / "detection_event.v1.json").read_text())
    for frame in frames:
        Draft202012Validator(contract).validate(frame)
    for branch in stores.branches:
        for camera in branch.cameras:
            mine = [f for f in frames if f["camera_id"] == camera.camera_id]
            assert [f["frame_index"] for f in mine] == list(range(1, len(mine) + 1))
            assert all(a["captured_at"] < b["captured_at"] for a, b in pairwise(mine))
            walks: dict[str, list[Any]] = {}
            for frame in mine:
                for seen in frame["detections"]:
                    walks.setdefault(seen["track_id"], []).append(seen["bbox"])
            doors = [line for line in camera.lines if line.kind == "entrance"]
            assert len(walks) == (60 if doors else 0)
            for boxes in walks.values():
                sides = [
                    signed_distance(doors[0].a, doors[0].b, ((x1 + x2) / 2, y2))
                    for x1, _, x2, y2 in boxes
                ]
                assert sides[0] * sides[-1] < 0, "from one side to the other"
