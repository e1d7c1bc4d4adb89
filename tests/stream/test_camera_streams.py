"""Cameras: from frames to bronze, silver, quarantine, line crossings and footfall per minute.

The line of B01-entrance is at x = 0.65; who crosses it from left to right has entered. All tests
share one sequence of runs: a walk that a restart interrupts, then every failure between runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from streaming.lake.iceberg.purge import Purged
from streaming.recompute.retention import AGED, apply_retention
from tests.stream.sandbox import Rows, Sandbox, later
from tests.support.builders import detection, detection_event
from tests.support.camera_scenes import scene, steps, together, way

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("V6")]

TOGETHER = ("bronze_detections", "footfall", "silver_detections")
TEN = "2024-05-01T10:00:00Z"
HALF_WAY = datetime(2024, 5, 1, 10, 0, 0, 700_000, tzinfo=timezone.utc)
"""After the fourth frame."""


def person(track: str, x: float) -> dict[str, Any]:
    """Somebody whose feet are at (x, 0.6)."""
    return detection(track_id=track, bbox=[x - 0.03, 0.3, x + 0.03, 0.6])


def frame(index: int, *people: dict[str, Any], **overrides: Any) -> dict[str, Any]:
    """Frame `index` of B01-entrance: five a second from 10:00."""
    fields = {"frame_index": index, "captured_at": later(TEN, index / 5)} | overrides
    return detection_event(detections=list(people), **fields)


def walk_to_the_line(sandbox: Sandbox) -> None:
    """Anna walks in, Ben walks out, Carl stands on the left; one frame has no people at all."""
    way = [(0.50, 0.80), (0.58, 0.72), (0.60, 0.60), (0.62, 0.55)]
    for index, (anna, ben) in enumerate(way):
        carl = person("carl", 0.2)
        sandbox.send_frame(frame(index, person("anna", anna), person("ben", ben), carl))
    sandbox.send_frame(frame(4))
    sandbox.send_raw("detections", b"\x00\xff", b"B01-entrance")
    sandbox.send_frame(frame(5, camera_id="B99-entrance"))


def walk_over_the_line(sandbox: Sandbox) -> None:
    """Anna steps over the line; every frame comes twice, and an old one comes once more."""
    for index, anna in [(5, 0.64), (6, 0.68), (7, 0.75)]:
        step = frame(index, person("anna", anna))
        sandbox.send_frame(step, step)
    sandbox.send_frame(frame(0, person("anna", 0.50)))


def confuse_the_stream(sandbox: Sandbox) -> None:
    """Two people of whom one is named like the other, and four who share one id, each a run."""
    pair = together(way("A", *steps(0.4, 0.85, 16), y=0.5), way("B", *steps(0.4, 0.85, 16), y=0.54))
    only_b = [[p for p in people if p[0] == "B"] for people in pair[5:6]]
    only_a = [[p for p in people if p[0] == "A"] for people in pair[:5]]
    sandbox.send_frame(*scene(*only_a, *only_b, *pair[6:], run_id="flickers"))
    four = [("-1", 0.5, 0.5), ("-1", 0.55, 0.6), ("-1", 0.75, 0.5), ("-1", 0.8, 0.6)]
    sandbox.send_frame(*scene(*[four] * 10, run_id="shares"))


def expire_before(sandbox: Sandbox, moment: datetime) -> dict[str, Purged]:
    age = datetime.now(timezone.utc) - moment
    return {p.table: p for p in apply_retention(sandbox.settings, age, lambda _: None)}


def times_in_files(sandbox: Sandbox) -> dict[str, list[datetime]]:
    """Every time in the data files of the tables about people."""
    found = {}
    for table, column in AGED:
        files = sandbox.files(table.name, column)
        found[table.name] = [t for rows in files for t in rows[column].to_pylist()]
    return found


@dataclass
class Story:
    """The contents of every table after each chapter."""

    sandbox: Sandbox
    tables: dict[str, dict[str, Rows]] = field(default_factory=dict)
    ledger: dict[str, Rows] = field(default_factory=dict)
    repeated_batch: int = -1
    purged: dict[str, dict[str, Purged]] = field(default_factory=dict)
    files: dict[str, list[datetime]] = field(default_factory=dict)

    def remember(self, chapter: str) -> None:
        self.tables[chapter] = self.sandbox.look()
        self.ledger[chapter] = self.sandbox.ledger("footfall")


@pytest.fixture(scope="module")
def story(sandbox: Sandbox) -> Story:
    recorded = Story(sandbox)
    walk_to_the_line(sandbox)
    sandbox.run(*TOGETHER)
    recorded.remember("first")

    walk_over_the_line(sandbox)
    sandbox.run(*TOGETHER)
    recorded.remember("more")

    recorded.repeated_batch = sandbox.lose_newest_commit("footfall")
    sandbox.lose_newest_commit("bronze_detections", "silver_detections")
    sandbox.run(*TOGETHER)
    recorded.remember("commit lost")

    sandbox.lose_checkpoint("footfall")
    sandbox.lose_checkpoint("bronze_detections", "silver_detections")
    sandbox.run(*TOGETHER)
    recorded.remember("checkpoint lost")

    sandbox.run("silver_detections")
    recorded.remember("alone")

    recorded.purged["half"] = expire_before(sandbox, HALF_WAY)
    recorded.remember("half expired")
    sandbox.lose_checkpoint("bronze_detections", "silver_detections")
    sandbox.run(*TOGETHER)
    recorded.remember("and read again")
    recorded.purged["all"] = expire_before(sandbox, HALF_WAY + timedelta(days=1))
    recorded.remember("all expired")
    recorded.files = times_in_files(sandbox)

    confuse_the_stream(sandbox)
    sandbox.run("footfall")
    recorded.remember("confused")
    return recorded


def counts(rows: Rows) -> tuple[int, int, int]:
    """Entries, exits, frames."""
    return tuple(sum(r[name] for r in rows) for name in ("entries", "exits", "frames"))


def test_bronze_keeps_every_frame_as_it_came(story: Story) -> None:
    assert len(story.tables["first"]["bronze.detections"]) == 7
    assert len(story.tables["more"]["bronze.detections"]) == 14


def test_silver_has_one_row_per_object_and_none_for_an_empty_frame(story: Story) -> None:
    silver = story.tables["first"]["silver.detections"]

    assert len(silver) == 12
    assert {r["frame_index"] for r in silver} == {0, 1, 2, 3}
    assert {(r["track_id"], round(r["anchor_x"], 6), r["anchor_y"]) for r in silver} >= {
        ("anna", 0.5, 0.6),
        ("ben", 0.6, 0.6),
    }


def test_what_cannot_be_read_or_comes_from_an_unknown_camera_is_quarantined(story: Story) -> None:
    bad = story.tables["first"]["quarantine.detections"]

    rules = sorted(r["rules"] for r in bad)
    assert len(rules) == 2
    assert ["camera_known"] in rules


def test_the_first_run_sees_one_person_leave_and_nobody_enter(story: Story) -> None:
    assert counts(story.tables["first"]["footfall_minute"]) == (0, 1, 5)


def test_a_walk_over_the_line_that_a_restart_interrupts_is_one_entry(story: Story) -> None:
    crossings = story.tables["more"]["silver.line_crossings"]

    found = sorted((r["track_id"], r["line_id"], r["direction"]) for r in crossings)
    assert found == [("anna", "door", "entry"), ("ben", "door", "exit")]
    assert counts(story.tables["more"]["footfall_minute"])[:2] == (1, 1)


def test_every_visit_to_a_zone_is_in_the_database_and_in_the_lake(story: Story) -> None:
    lake, served = (story.tables["more"][n] for n in ("silver.zone_visits", "zone_visits"))

    found = sorted((r["track_id"], r["zone_id"], r["kind"], r["dwell_seconds"]) for r in lake)
    fifth = Decimal("0.200")
    assert found == [("anna", "lobby", "browse", fifth), ("ben", "lobby", "browse", fifth)]
    assert lake == [{name: row[name] for name in lake[0]} for row in served]


def test_a_repeated_frame_is_not_counted_twice(story: Story) -> None:
    assert counts(story.tables["more"]["footfall_minute"])[2] == 8


def test_the_lake_has_the_same_minutes_as_the_database(story: Story) -> None:
    lake = story.tables["more"]["gold.footfall_minute"]
    served = story.tables["more"]["footfall_minute"]

    assert lake
    assert lake == [{name: row[name] for name in lake[0]} for row in served]


@pytest.mark.parametrize(
    ("chapter", "before"),
    [("commit lost", "more"), ("checkpoint lost", "commit lost"), ("alone", "checkpoint lost")],
    ids=["a commit is lost", "the checkpoint is lost", "a stream moves to a query of its own"],
)
def test_no_row_of_any_table_changes_when(story: Story, chapter: str, before: str) -> None:
    assert story.tables[chapter] == story.tables[before]


def test_the_ledger_shows_a_batch_that_came_again(story: Story) -> None:
    batches = {b["batch_id"]: b for b in story.ledger["commit lost"]}
    again = batches[story.repeated_batch]

    assert again["runs"] == 2
    assert again["rows_in"] == 2 * again["rows_new"]


@pytest.mark.requirement("V8")
def test_retention_deletes_old_rows_and_keeps_the_others(story: Story) -> None:
    before, after = story.tables["alone"], story.tables["half expired"]

    for name, column in (("silver.detections", "captured_at"), ("zone_visits", "entered_at")):
        assert after[name] == [r for r in before[name] if r[column] >= HALF_WAY]
        assert 0 < len(after[name]) < len(before[name])
    assert after["gold.footfall_minute"] == before["gold.footfall_minute"]
    assert after["bronze.detections"] == before["bronze.detections"]


@pytest.mark.requirement("V8")
def test_retention_reports_what_the_files_hold(story: Story) -> None:
    silver = story.purged["half"]["silver.detections"]

    assert silver.rows_deleted == 13
    assert silver.files_deleted > 0
    assert (silver.rows_left, silver.left_in) == (0, ())
    assert silver.oldest is not None
    assert silver.oldest >= HALF_WAY


@pytest.mark.requirement("V8")
def test_deleted_rows_do_not_come_back_from_the_topic(story: Story) -> None:
    assert story.tables["and read again"] == story.tables["half expired"]


@pytest.mark.requirement("V8")
def test_in_the_end_no_file_holds_anybody(story: Story) -> None:
    assert story.files == {table.name: [] for table, _ in AGED}
    assert {p.rows_left for p in story.purged["all"].values()} == {0}
    assert story.tables["all expired"]["gold.footfall_minute"]


def test_ids_that_flicker_or_are_shared_stop_nothing_and_count_right(story: Story) -> None:
    before, after = story.tables["all expired"], story.tables["confused"]
    crossings = [(c["run_id"], c["direction"]) for c in after["line_crossings"]]

    assert crossings == [("flickers", "entry")] * 2
    entries, exits, frames = counts(after["footfall_minute"])
    assert (entries, exits, frames) == tuple(
        n + more for n, more in zip(counts(before["footfall_minute"]), (2, 0, 26), strict=True)
    )
