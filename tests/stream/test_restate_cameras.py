"""restate cameras: hours from bronze equal what the stream makes with the same layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from streaming.recompute.cameras import RestatedCameras, restate_cameras
from streaming.recompute.window import RestateError
from tests.stream.sandbox import Rows, Sandbox, later
from tests.support.builders import detection, detection_event

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("V7")]

TOGETHER = ("bronze_detections", "footfall")
START = "2024-05-01T09:59:50Z"
NINE, ELEVEN = (datetime(2024, 5, 1, hour, tzinfo=timezone.utc) for hour in (9, 11))

STORES = """
version = 1
valid_from = 2024-01-01T00:00:00Z

[[branches]]
branch_id = "B01"
name = "Harbour Street"
region = "north"
timezone = "Europe/Berlin"
currency = "USD"

[[branches.cameras]]
camera_id = "B01-entrance"
name = "Main entrance"
fps = 5.0
lines = [{ line_id = "door", a = [0.3, 1.0], b = [0.3, 0.0] }]
[[branches.cameras.zones]]
zone_id = "till"
kind = "queue"
polygon = [[0.5, 0.2], [0.9, 0.2], [0.9, 0.9], [0.5, 0.9]]
"""

NEW_LAYOUT = """
[[branches.cameras.redrawn]]
version = 2
valid_from = 2024-05-01T10:00:00Z
lines = [{ line_id = "door", a = [0.45, 1.0], b = [0.45, 0.0] }]

[[branches.cameras.redrawn.zones]]
zone_id = "till"
kind = "queue"
polygon = [[0.6, 0.2], [0.8, 0.2], [0.8, 0.9], [0.6, 0.9]]

[[branches.cameras.redrawn.zones]]
zone_id = "office"
kind = "staff"
staff_after = 3
polygon = [[0.91, 0.2], [1.0, 0.2], [1.0, 0.9], [0.91, 0.9]]
"""

COMPARED = {
    "line_crossings": {"change_id"},
    "zone_visits": {"change_id", "updated_at", "earlier_ends"},
    "footfall_minute": {"change_id", "updated_at", "revision"},
    "queue_minute": {"change_id", "updated_at", "visits_change_id"},
    "zone_dwell_hourly": {"change_id", "updated_at", "visits_change_id"},
}


def walker(track: str, index: int, starts: int) -> dict[str, Any] | None:
    """In at the left, to the till, wait six seconds, out at the right in 22 seconds."""
    step = index - starts
    if not 0 <= step < 110:
        return None
    x = 0.1 + min(step, 40) * 0.015 + max(step - 70, 0) * 0.005
    return detection(track_id=track, bbox=[x - 0.02, 0.3, x + 0.02, 0.6])


def clerk(index: int) -> dict[str, Any] | None:
    """In at the left with frame 60, straight to the office, and there to the end."""
    x = min(0.1 + (index - 60) * 0.03, 0.95)
    return detection(track_id="clerk", bbox=[x - 0.02, 0.4, x + 0.02, 0.7]) if index >= 60 else None


def a_morning(sandbox: Sandbox) -> None:
    """Two runs of 40 seconds around ten o'clock; one frame comes twice, another late."""
    for run in ("run-1", "run-2"):
        frames = []
        for index in range(200):
            people = [walker("anna", index, 5), walker("ben", index, 80), clerk(index)]
            frames.append(
                detection_event(
                    run_id=run,
                    frame_index=index,
                    captured_at=later(START, index / 5 + (60 if run == "run-2" else 0)),
                    detections=[p for p in people if p],
                )
            )
        sandbox.send_frame(*frames[:100], frames[50], *frames[102:104], frames[101], *frames[104:])
        sandbox.send_frame(frames[100])


def seen(sandbox: Sandbox) -> dict[str, Rows]:
    """The rows that are not withdrawn, without counters and times of their writes."""
    tables = {}
    for name, ignored in COMPARED.items():
        rows = sandbox.query(f"SELECT * FROM {name}")  # noqa: S608
        tables[name] = sorted(
            (
                {k: v for k, v in row.items() if k not in ignored | {"withdrawn"}}
                for row in rows
                if not row.get("withdrawn")
            ),
            key=repr,
        )
    return tables


def set_layouts(sandbox: Sandbox, folder: Path, text: str) -> None:
    file = folder / "stores.toml"
    file.write_text(text, encoding="utf-8")
    sandbox.settings = sandbox.settings.model_copy(update={"stores_file": file})


@dataclass
class Story:
    """The tables after each chapter, and the results of restate."""

    tables: dict[str, dict[str, Rows]] = field(default_factory=dict)
    reported: list[RestatedCameras] = field(default_factory=list)
    lake: dict[str, Rows] = field(default_factory=dict)
    served: dict[str, Rows] = field(default_factory=dict)

    def restate(self, sandbox: Sandbox, chapter: str) -> None:
        self.reported = restate_cameras(sandbox.settings, NINE, ELEVEN, lambda _: None)
        self.tables[chapter] = seen(sandbox)


@pytest.fixture(scope="module")
def story(new_sandbox: Callable[[], Sandbox], tmp_path_factory: pytest.TempPathFactory) -> Story:
    recorded, folder = Story(), tmp_path_factory.mktemp("stores")
    sandbox = new_sandbox()
    set_layouts(sandbox, folder, STORES + NEW_LAYOUT)
    a_morning(sandbox)
    sandbox.run(*TOGETHER)
    recorded.tables["the new layout from the start"] = seen(sandbox)

    sandbox = new_sandbox()
    set_layouts(sandbox, folder, STORES)
    a_morning(sandbox)
    sandbox.run(*TOGETHER)
    recorded.tables["the old layout"] = seen(sandbox)
    recorded.restate(sandbox, "the same layout")
    set_layouts(sandbox, folder, STORES + NEW_LAYOUT)
    recorded.restate(sandbox, "a new layout")
    recorded.restate(sandbox, "twice")
    sandbox.on_interval("footfall")
    for name in ("zone_visits", "line_crossings"):
        recorded.lake[name] = sandbox.lake(f"silver.{name}")
        recorded.served[name] = sandbox.query(f"SELECT * FROM {name}")  # noqa: S608
    return recorded


def test_the_layout_makes_a_difference(story: Story) -> None:
    before, after = (story.tables[c] for c in ("the old layout", "the new layout from the start"))

    assert all(before[name] and before[name] != after[name] for name in COMPARED)


def test_without_a_new_layout_nothing_changes_but_the_late_frame(story: Story) -> None:
    streamed, restated = (story.tables[c] for c in ("the old layout", "the same layout"))

    assert sum(r["late_frames"] for r in streamed["footfall_minute"]) == 2
    assert [{**r, "late_frames": 0} for r in streamed["footfall_minute"]] == (
        restated["footfall_minute"]
    )
    assert streamed["zone_visits"] == restated["zone_visits"]
    assert streamed["line_crossings"] == restated["line_crossings"]


@pytest.mark.parametrize("chapter", ["a new layout", "twice"])
@pytest.mark.parametrize("name", ["line_crossings", "zone_visits", "zone_dwell_hourly"])
def test_the_hours_are_as_with_the_new_layout_from_the_start(
    story: Story, name: str, chapter: str
) -> None:
    assert story.tables[chapter][name] == story.tables["the new layout from the start"][name]


def test_a_clerk_is_staff_by_the_new_layout_and_leaves_the_footfall(story: Story) -> None:
    after = story.tables["a new layout"]

    assert {r["track_id"] for r in after["line_crossings"] if r["is_staff"]} == {"clerk"}
    entries = sum(r["entries"] for r in after["footfall_minute"])
    assert entries == sum(
        r["direction"] == "entry" and not r["is_staff"] for r in after["line_crossings"]
    )


def test_two_runs_of_one_camera_do_not_mix(story: Story) -> None:
    visits = [r for r in story.tables["the old layout"]["zone_visits"] if r["track_id"] == "anna"]

    assert {r["run_id"]: r["dwell_seconds"] for r in visits} == {
        "run-1": visits[0]["dwell_seconds"],
        "run-2": visits[0]["dwell_seconds"],
    }


def test_the_lake_follows_with_what_was_withdrawn(story: Story) -> None:
    for name, rows in story.lake.items():
        assert any(r["withdrawn"] for r in rows)
        columns = rows[0].keys()
        served = [{c: r[c] for c in columns} for r in story.served[name]]
        assert sorted(rows, key=repr) == sorted(served, key=repr)


def test_it_reports_what_the_hours_hold(story: Story) -> None:
    nine, ten = story.reported

    assert nine.frames + ten.frames == 400
    assert nine.visits + ten.visits == len(story.tables["twice"]["zone_visits"])


def test_a_window_that_is_none_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(RestateError):
        restate_cameras(sandbox.settings, ELEVEN, NINE, lambda _: None)
