"""Measured crossings and visits, compared with the truth."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from benchmarks.accuracy import Seen, follow, measured
from conf.settings import load_settings
from conf.stores import load_stores
from simulator.shop import ShopDay
from streaming.transforms.tracks import LineCrossing
from tests.support.builders import as_json, detection, detection_event
from verification.cameras.truth import Measured, compare, compare_zone, pair
from verification.watch import FrameCounts

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)


def test_visits_that_overlap_most_match() -> None:
    true, measured = [(0.0, 10.0), (8.0, 20.0)], [(7.0, 21.0), (1.0, 9.0)]
    assert pair(true, measured) == [((0.0, 10.0), (1.0, 9.0)), ((8.0, 20.0), (7.0, 21.0))]


def test_visits_that_do_not_overlap_do_not_match() -> None:
    assert pair([(0.0, 1.0)], [(1.0, 2.0)]) == []
    assert pair([], [(1.0, 2.0)]) == []


def test_a_visit_that_is_split_is_one_match_with_a_large_error() -> None:
    zone = compare_zone([(0.0, 20.0)], [(0.0, 9.0), (11.0, 20.0)])
    assert (zone["visits"], zone["true_visits"], zone["found"]) == (2, 1, 1)
    assert zone["dwell_error_s"] == 11.0


def test_an_empty_zone_has_no_error() -> None:
    assert compare_zone([], [])["dwell_error_s"] is None


def walk_in(path: Path) -> Path:
    """Somebody walks in from the left, 20 frames at 5 a second."""
    lines = []
    for index in range(20):
        x = 0.3 + index * 0.03
        event = detection_event(
            branch_id="B01",
            camera_id="B01-entrance",
            frame_index=index,
            captured_at=f"{NOON + timedelta(seconds=index / 5):%Y-%m-%dT%H:%M:%S.%fZ}",
            detections=[detection(track_id="7", bbox=[x - 0.03, 0.4, x + 0.03, 0.8])],
        )
        lines.append(as_json(event) + b"\n")
    path.write_bytes(b"".join(lines))
    return path


def test_events_become_crossings_and_visits_as_in_the_streams(tmp_path: Path) -> None:
    events = walk_in(tmp_path / "events.ndjson")
    seen = follow(load_settings(var_dir=tmp_path), "B01-entrance", events)
    assert (seen.frames, seen.tracks) == (20, {"7": 20})
    assert (seen.count("entry"), seen.count("exit")) == (1, 0)
    ((start, end),) = seen.visits["lobby"]
    assert start == pytest.approx(2.4, abs=0.21)
    assert end == pytest.approx(3.8)


def crossings(entries: int, exits: int) -> list[LineCrossing]:
    return [
        LineCrossing(
            str(n),
            "entrance",
            "entrance",
            "entry" if n < entries else "exit",
            n,
            False,
            1,
        )
        for n in range(entries + exits)
    ]


@pytest.mark.parametrize(("exits", "within"), [(40, True), (39, True), (38, False), (42, False)])
def test_a_count_may_be_wrong_by_three_in_a_hundred(
    tmp_path: Path, exits: int, within: bool
) -> None:
    branch = load_stores(load_settings(var_dir=tmp_path).stores_file).branches[0]
    day = ShopDay(branch, shoppers=40, seed=1, start=NOON)
    truths = day.truth()
    visits = {
        camera_id: {
            zone_id: [
                (v.enters, v.leaves) for t in truths for v in t.visits if v.zone_id == zone_id
            ]
            for zone_id in ("lobby", "till-queue", "snacks")
        }
        for camera_id in day.camera_ids
    }
    seen = {
        "B01-entrance": Seen(1, {}, crossings(40, exits), visits["B01-entrance"]),  # type: ignore[arg-type]
        "B01-till": Seen(1, {}, [], visits["B01-till"]),  # type: ignore[arg-type]
    }
    result = compare(truths, measured(day, seen))
    assert result["within"]["exits"] is within
    assert result["within"]["entries"]
    assert result["within"]["conversion"]
    assert (result["dwell_error_s"], result["within"]["dwell"]) == (0, True)
    assert result["conversion"] == result["true_conversion"]
    json.dumps(result)  # no numpy types


def test_the_bound_of_the_dwell_holds_in_every_zone(tmp_path: Path) -> None:
    branch = load_stores(load_settings(var_dir=tmp_path).stores_file).branches[0]
    truths = ShopDay(branch, shoppers=40, seed=1, start=NOON).truth()
    visits: dict[str, list[tuple[float, float]]] = {}
    for visit in (v for t in truths for v in t.visits):
        short = 4.0 if visit.zone_id == "snacks" else 0.0
        key = f"{visit.camera_id}/{visit.zone_id}"
        visits.setdefault(key, []).append((visit.enters, visit.leaves - short))
    result = compare(truths, Measured(40, 40, 40, 0, None, visits))
    assert (result["dwell_error_s"] < 1.5, result["within"]["dwell"]) == (True, False)


def test_a_day_that_no_camera_saw_is_out_of_every_bound(tmp_path: Path) -> None:
    branch = load_stores(load_settings(var_dir=tmp_path).stores_file).branches[0]
    truths = ShopDay(branch, shoppers=40, seed=1, start=NOON, passers=9).truth()
    within = compare(truths, Measured(0, 0, 0, 0, None, {}))["within"]
    assert set(within.values()) == {False}


def test_a_frame_is_as_late_as_the_first_look_that_counts_it() -> None:
    taken = [NOON + timedelta(seconds=second) for second in range(4)]
    looks = [(NOON + timedelta(seconds=2), 2), (NOON + timedelta(seconds=5), 3)]
    counts = FrameCounts(seen={"B01-till": looks})
    found = counts.latencies({"B01-till": taken, "B01-entrance": taken})
    assert [seconds for _, seconds in found.pairs] == [2, 1, 3]


def test_frames_that_were_counted_before_the_first_look_have_no_latency() -> None:
    counts = FrameCounts(before={"B01-till": 7})
    for total in (7, 9, 9):
        counts.saw({"B01-till": total})
    assert [frames for _, frames in counts.seen["B01-till"]] == [2]
