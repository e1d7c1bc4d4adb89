"""What `make verify-faults` compares: each kind of difference is named, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from conf.settings import CONF_DIR
from conf.stores import load_stores
from streaming.transforms.tracks import CameraRun, Rules, drawings_by_camera
from verification.faults.oracle import HourSums, Seen, compare_frames, compare_hours, hours_of
from verification.faults.walkers import (
    CAMERA_ID,
    CYCLE_FRAMES,
    Counts,
    expected,
    frame,
)

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
STEP = timedelta(seconds=0.2)
FRAMES = [frame("run", index, TEN + index * STEP) for index in range(7 * CYCLE_FRAMES)]


# -- cameras ---------------------------------------------------------------------------------------


def test_the_streams_count_what_the_walkers_are_drawn_to_do() -> None:
    drawings = drawings_by_camera(load_stores(CONF_DIR / "stores" / "demo.toml"))
    run, directions = CameraRun(drawings[CAMERA_ID], Rules()), Counter[str]()
    for one in FRAMES:
        people = [(p["track_id"], *feet(p["bbox"])) for p in one["detections"]]
        at = int(
            datetime.fromisoformat(one["captured_at"].replace("Z", "+00:00")).timestamp() * 1e6
        )
        effects = run.receive(one["frame_index"], at, people)
        directions.update(crossing.direction for crossing in effects.crossings)
    wanted = expected(FRAMES)
    assert directions == {"entry": wanted.entries, "exit": wanted.exits} == {"entry": 5, "exit": 2}


def feet(box: list[float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, box[3]


def test_a_frame_is_the_same_whenever_it_is_made() -> None:
    assert frame("run", 3, TEN) == frame("run", 3, TEN)
    assert len({one["event_id"] for one in FRAMES}) == len(FRAMES)


def seen(wanted: Counts) -> Seen:
    """Tables that hold exactly what was sent."""
    return Seen(
        bronze=sorted(wanted.event_ids),
        silver=sorted(wanted.boxes),
        frames=dict(wanted.frames),
        entries=wanted.entries,
        exits=wanted.exits,
        late=0,
        crossings={"entry": wanted.entries, "exit": wanted.exits},
    )


WANTED = expected(FRAMES)
GOOD = seen(WANTED)
MINUTE = TEN + timedelta(minutes=1)


def test_tables_that_hold_what_was_sent_differ_in_nothing() -> None:
    assert compare_frames(WANTED, GOOD) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"bronze": GOOD.bronze[1:]}, "frames that bronze.detections lacks: 1"),
        ({"bronze": [*GOOD.bronze, GOOD.bronze[0]]}, "more than once in bronze.detections: 1"),
        ({"silver": GOOD.silver[2:]}, "boxes that silver.detections lacks: 2"),
        ({"silver": [*GOOD.silver, GOOD.silver[0]]}, "more than once in silver.detections: 1"),
        ({"silver": [*GOOD.silver, (1, "nobody")]}, "boxes that nobody sent"),
        ({"frames": {**GOOD.frames, MINUTE: 7}}, "minutes of footfall_minute"),
        ({"late": 3}, "3 frames came too late"),
        ({"entries": 6}, "footfall_minute: 6 entries and 2 exits, the frames show 5 and 2"),
        ({"crossings": {"entry": 5}}, "crossings: 5 entries and 0 exits"),
    ],
)
def test_each_difference_of_the_cameras_is_named(changes: dict[str, Any], named: str) -> None:
    (difference,) = compare_frames(WANTED, replace(GOOD, **changes))
    assert named in difference


# -- order metrics ---------------------------------------------------------------------------------


def line(order_id: str = "O-1", minute: int = 0, **changes: Any) -> Mapping[str, Any]:
    """A line of a ledger: an order of 10.00 in B01, created at ten."""
    return {
        "order_id": order_id,
        "outcome": "accepted",
        "late": False,
        "branch_id": "B01",
        "event_time": f"2024-05-01T10:{minute:02}:00.000000Z",
        "created_at": "2024-05-01T10:00:00.000000Z",
        "status": "pending",
        "payment_method": "cash",
        "total_price": "10.00",
        "topic": "order-created",
        "partition": 0,
        "offset": minute,
        **changes,
    }


CHANGE = {"created_at": None, "total_price": None, "payment_method": None}


def test_an_order_counts_once_with_its_newest_total_and_status() -> None:
    ledger = [
        line(minute=2, status="completed", **CHANGE),
        line(),
        line(),  # sent twice
        line(minute=1, total_price="12.50"),
        line("O-2", payment_method="online", status="cancelled"),
    ]
    assert hours_of(ledger) == {
        ("B01", TEN): HourSums(
            2,
            Decimal("22.50"),
            Decimal("12.50"),
            (("cancelled", 1), ("completed", 1)),
            (("cash", 1), ("online", 1)),
        )
    }


def test_broken_late_and_unknown_orders_do_not_count() -> None:
    ledger = [
        line(outcome="poisoned"),
        line("O-2", late=True),
        line("O-3", outcome="failed"),
        line("O-4", status="completed", **CHANGE),
    ]
    assert hours_of(ledger) == {}


def test_an_hour_that_differs_or_is_missing_is_named() -> None:
    wanted = hours_of([line(), line("O-2", created_at="2024-05-01T11:00:00.000000Z")])
    assert compare_hours(wanted, wanted) == []
    changed = {hour: replace(sums, order_count=2) for hour, sums in wanted.items()}
    assert len(compare_hours(wanted, changed)) == 2
    (difference,) = compare_hours(wanted, {key: wanted[key] for key in list(wanted)[:1]})
    assert "order_metrics of B01 at 2024-05-01 11:00" in difference
