"""What `make verify-faults` compares: it names each kind of difference, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from conf.settings import CONF_DIR
from conf.stores import load_stores
from quality.frame_reconciliation import FootfallMinute
from quality.reconciliation import ORDERS
from streaming.source import SOURCE_SCHEMA
from streaming.transforms.track import person
from streaming.transforms.tracks import CameraRun, Rules, layouts_by_camera
from verification.faults.messages import Sent
from verification.faults.oracle import (
    compare_crossings,
    compare_hours,
    compare_odd,
    hours_of,
)
from verification.faults.walkers import CAMERA_ID, CYCLE_FRAMES, expected, frame

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
STEP = timedelta(seconds=0.2)
FRAMES = [frame("run", index, TEN + index * STEP) for index in range(7 * CYCLE_FRAMES)]


# -- cameras ---------------------------------------------------------------------------------------


def test_the_streams_count_what_the_walkers_do() -> None:
    layouts = layouts_by_camera(load_stores(CONF_DIR / "stores" / "demo.toml"))
    run, directions = CameraRun(layouts[CAMERA_ID], Rules()), Counter[str]()
    for one in FRAMES:
        people = [person(p["track_id"], p["bbox"], 16 / 9) for p in one["detections"]]
        at = int(
            datetime.fromisoformat(one["captured_at"].replace("Z", "+00:00")).timestamp() * 1e6
        )
        effects = run.receive(one["frame_index"], at, people)
        directions.update(crossing.direction for crossing in effects.crossings)
    assert (directions["entry"], directions["exit"]) == expected(FRAMES) == (5, 2)


def test_what_the_walkers_do_is_what_the_tables_must_count() -> None:
    wanted, crossings = expected(FRAMES), {"entry": 5, "exit": 2}
    assert wanted == (5, 2)
    assert compare_crossings(wanted, FootfallMinute(entries=5, exits=2), crossings) == []
    (difference,) = compare_crossings(wanted, FootfallMinute(entries=6, exits=2), crossings)
    assert str(difference).startswith("footfall_minute: 6 entries and 2 exits, the frames show 5 ")
    (difference,) = compare_crossings(wanted, FootfallMinute(entries=5, exits=2), {"entry": 5})
    assert str(difference).startswith("crossings: 5 entries and 0 exits")


# -- odd messages ----------------------------------------------------------------------------------


ODD = [Sent(f"kind {n}", ("order-created", 0, n), None) for n in range(3)]


class Tables:
    """A lake that holds messages of order-created by their offsets; other tables are empty."""

    def __init__(self, bronze: Sequence[int], good: Sequence[int], bad: Sequence[int]) -> None:
        self._offsets = dict(zip((t.name for t in ORDERS), (bronze, good, bad), strict=True))

    def read(self, table: str, _columns: Sequence[str]) -> pa.Table:
        offsets = self._offsets.get(table, ())
        rows = [
            {"topic": "order-created", "partition": 0, "position": f"{n:020d}"} for n in offsets
        ]
        return pa.Table.from_pylist(rows, schema=SOURCE_SCHEMA)


def odd_faults(bronze: Sequence[int], good: Sequence[int], bad: Sequence[int]) -> list[str]:
    return [str(d) for d in compare_odd(ODD, Tables(bronze, good, bad))]  # type: ignore[arg-type]


def test_odd_messages_that_are_good_or_quarantined_once_differ_in_nothing() -> None:
    assert odd_faults([0, 1, 2, 7], [0, 7], [1, 2]) == []


@pytest.mark.parametrize(
    ("bronze", "good", "bad", "named"),
    [
        ([0, 1, 2, 2], [0], [1, 2], "more than once in bronze.order_events: 1 (such as kind 2 at"),
        ([0, 1, 2], [0], [1], "in bronze, and neither good nor quarantined: 1 (such as kind 2"),
        ([0, 1, 2], [0], [0, 1, 2], "both good and quarantined: 1 (such as kind 0"),
        ([0, 1, 2], [0], [1, 2, 2], "more than once in quarantine.order_events: 1 (such as kind 2"),
    ],
)
def test_an_odd_message_that_is_elsewhere_is_named(
    bronze: list[int], good: list[int], bad: list[int], named: str
) -> None:
    (fault,) = odd_faults(bronze, good, bad)
    assert fault.startswith(named)


def test_an_odd_message_that_is_nowhere_is_missing() -> None:
    (fault,) = odd_faults([0, 1], [0], [1])
    assert fault.startswith("missing: odd messages in bronze.order_events: 1 (such as kind 2 at")


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
        "event_type": "order.created",
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
        ("B01", TEN): {
            "order_count": 2,
            "total_revenue": Decimal("22.50"),
            "net_revenue": Decimal("12.50"),
            "pending_count": 0,
            "processing_count": 0,
            "completed_count": 1,
            "cancelled_count": 1,
            "cash_count": 1,
            "online_count": 1,
        }
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
    changed = {hour: sums | {"order_count": 2} for hour, sums in wanted.items()}
    assert len(compare_hours(wanted, changed)) == 2
    (difference,) = compare_hours(wanted, {key: wanted[key] for key in list(wanted)[:1]})
    assert "order_metrics of B01 at 2024-05-01 11:00" in str(difference)
