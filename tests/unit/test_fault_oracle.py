"""What `make verify-faults` compares: it names each kind of difference, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from conf.settings import CONF_DIR, load_settings
from conf.stores import load_stores
from quality.frame_reconciliation import FootfallMinute
from quality.reconciliation import DETECTIONS, LATE_ORDERS, ORDERS, POSITION
from streaming.lake.iceberg.lake import IcebergLake
from streaming.source import SOURCE_SCHEMA
from streaming.transforms.track import person
from streaming.transforms.tracks import CameraRun, Rules, layouts_by_camera
from tests.support.builders import order_event
from tests.support.small_lake import open_lake
from verification.faults.messages import Sent
from verification.faults.oracle import (
    compare_crossings,
    compare_odd,
)
from verification.faults.recompute import recompute
from verification.faults.walkers import CROWDED, ENTRANCE, PULSAR, Camera, expected, frame

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)


def frames_of(camera: Camera) -> list[dict[str, Any]]:
    """Seven walkers."""
    step = timedelta(seconds=1 / camera.fps)
    return [frame(camera, "run", n, TEN + n * step) for n in range(7 * camera.cycle)]


# -- cameras ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("camera", [ENTRANCE, PULSAR, CROWDED], ids=lambda one: one.camera_id)
def test_the_streams_count_what_the_walkers_do(camera: Camera) -> None:
    layouts = layouts_by_camera(load_stores(CONF_DIR / "stores" / "demo.toml"))
    run, directions = CameraRun(layouts[camera.camera_id], Rules()), Counter[str]()
    frames = frames_of(camera)
    for one in frames:
        people = [person(p["track_id"], p["bbox"], 16 / 9) for p in one["detections"]]
        at = int(
            datetime.fromisoformat(one["captured_at"].replace("Z", "+00:00")).timestamp() * 1e6
        )
        effects = run.receive(one["frame_index"], at, people)
        directions.update(crossing.direction for crossing in effects.crossings)
    assert (directions["entry"], directions["exit"]) == expected(camera, frames) == (5, 2)


def test_what_the_walkers_do_is_what_the_tables_must_count() -> None:
    wanted, crossings = expected(ENTRANCE, frames_of(ENTRANCE)), {"entry": 5, "exit": 2}
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


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "not guarded"])
def test_without_the_guard_of_positions_the_oracle_reports_a_repeated_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, guarded: bool
) -> None:
    if not guarded:
        monkeypatch.setattr("streaming.lake.iceberg.lake.fresh", lambda rows, _: rows)
    sent = [Sent("event", (topic, 0, 7), None) for topic in ("order-created", "detections")]
    with closing(open_lake(tmp_path)) as catalog:
        lake = IcebergLake(load_settings(), catalog)
        for flow, message in zip((ORDERS, DETECTIONS), sent, strict=True):
            for table in flow:
                catalog.create_namespace_if_not_exists(table.name.split(".")[0])
                catalog.create_table(table.name, POSITIONS)
            for table in (flow.received, flow.good) * 2:
                lake.append(table, at(message), 1)
        found = [str(one).partition(":")[0] for one in compare_odd(sent, lake)]
    repeated = ["more than once in bronze.order_events", "more than once in bronze.detections"]
    assert found == ([] if guarded else repeated)


POSITIONS = pa.schema([SOURCE_SCHEMA.field(name) for name in POSITION])


def at(message: Sent) -> pa.Table:
    topic, partition, offset = message.position
    row = {"topic": topic, "partition": partition, "position": f"{offset:020d}"}
    return pa.Table.from_pylist([row], schema=POSITIONS)


# -- recomputed from bronze ------------------------------------------------------------------------


class StoredSums:
    """A database whose order_metrics has one row: an order of 2.50, and another cancelled."""

    def __init__(self, **changes: Any) -> None:
        row = {"branch_id": "B01", "hour": TEN, "currency": "USD", "order_count": 2}
        self._row = {**row, "total_revenue": 5, "net_revenue": 2.5, **changes}

    def fetch(self, _query: str) -> list[dict[str, Any]]:
        return [self._row]


class Messages:
    """A lake whose bronze tables hold messages; one of the orders is late, one not UTF-8."""

    def __init__(self, orders: Sequence[bytes], frames: Sequence[dict[str, Any]]) -> None:
        sent = {"order-created": orders, "detections": [json.dumps(one).encode() for one in frames]}
        rows = {
            topic: [
                {"topic": topic, "partition": 0, "position": f"{n:020d}", "value": value}
                for n, value in enumerate(values)
            ]
            for topic, values in sent.items()
        }
        events = rows["order-created"]
        self._tables = dict(zip((t.name for t in ORDERS), (events, events[:-1], ()), strict=True))
        seen = (rows["detections"], rows["detections"], ())
        self._tables |= dict(zip((t.name for t in DETECTIONS), seen, strict=True))
        self._tables[LATE_ORDERS.name] = events[-2:-1]

    def read(self, table: str, columns: Sequence[str]) -> pa.Table:
        schema = pa.schema([SOURCE_SCHEMA.field(name) for name in columns])
        return pa.Table.from_pylist(list(self._tables[table]), schema=schema)


def event(order_id: str, minute: int, kind: str = "order.created", **order: Any) -> bytes:
    at = f"2024-05-01T10:{minute:02}:00Z"
    return json.dumps(
        order_event(order_id=order_id, event_type=kind, event_time=at, **order)
    ).encode()


EVENTS = (
    event("O-1", 0),
    event("O-2", 1),
    event("O-2", 1),
    event("O-2", 2, "order.cancelled", status="cancelled"),
    event("O-3", 3),
    b"\xff",
)


def recomputed(stored: StoredSums, frames: Sequence[dict[str, Any]]) -> list[str]:
    found = recompute(stored, Messages(EVENTS, frames))  # type: ignore[arg-type]
    return [str(one) for one in found if one.ids]


def test_sums_of_order_metrics_are_those_of_the_bytes_in_bronze() -> None:
    assert recomputed(StoredSums(), frames_of(ENTRANCE)) == []


def test_an_order_that_is_counted_twice_differs_from_bronze() -> None:
    stored = StoredSums(order_count=3, total_revenue=7.5)
    unexpected, missing = recomputed(stored, frames_of(ENTRANCE))
    assert "B01 2024-05-01T10 USD 3.0000 7.5000 2.5000" in unexpected
    assert "B01 2024-05-01T10 USD 2.0000 5.0000 2.5000" in missing


def test_a_camera_whose_frames_changed_places_is_named() -> None:
    one, two, *others = frames_of(ENTRANCE)
    (found,) = recomputed(StoredSums(), [two, one, *others])
    assert found == "runs of cameras whose frames are out of order: 1 (such as run)"
