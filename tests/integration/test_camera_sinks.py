"""Crossings, visits, dwell, queues and the hour of a branch, as the serving database keeps them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest

from conf.settings import Settings
from streaming.jobs import footfall
from streaming.sinks.postgres import Database
from streaming.transforms.footfall import to_output
from tests.stream.sandbox import empty_tables
from tests.support.camera_scenes import OUTPUT_SCHEMA

pytestmark = pytest.mark.requirement("V6")

TEN = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
BERLIN = {
    "branch_id": "B01",
    "timezone": "Europe/Berlin",
    "currency": "EUR",
    "cameras": 2,
    "entrances": ["B01-entrance"],
    "passing": ["B01-entrance"],
}


def us(at: datetime) -> int:
    return int(at.timestamp() * 1e6)


def crossing(direction: str, at: datetime = TEN, **overrides: Any) -> dict[str, Any]:
    """Anna crosses the line of the entrance."""
    fields = {
        "track_id": "anna",
        "line_id": "door",
        "kind": "entrance",
        "direction": direction,
        "crossed_at": us(at),
        "is_staff": False,
        "layout_version": 1,
        "group_id": None,
        "group_entered_at": None,
    }
    return fields | overrides


def visit(seconds: float, start: datetime = TEN, **overrides: Any) -> dict[str, Any]:
    """A finished visit of the queue."""
    fields = {
        "track_id": "anna",
        "zone_id": "till",
        "kind": "queue",
        "entered_at": us(start),
        "exited_at": us(start + timedelta(seconds=seconds)),
        "is_open": False,
        "is_staff": False,
        "layout_version": 1,
    }
    return fields | overrides


def frame(at: datetime = TEN, **overrides: Any) -> dict[str, Any]:
    """The counts of one frame."""
    fields = {
        "branch_id": "B01",
        "camera_id": "B01-entrance",
        "run_id": "run-1",
        "captured_at": us(at),
        "frames": 1,
        "late_frames": 0,
        "people": 0,
        "crossings": [],
        "visits": [],
        "queues": [],
        "staff": [],
    }
    return fields | overrides


@pytest.fixture(autouse=True)
def empty(services: Settings) -> None:
    empty_tables(services)


def write(db: Database, *frames: dict[str, Any]) -> None:
    """One batch."""
    with db.transaction() as connection:
        footfall._upsert(connection, pa.Table.from_pylist(list(frames), schema=OUTPUT_SCHEMA))


def on_interval(db: Database, *branches: dict[str, Any]) -> None:
    with db.transaction() as connection:
        connection.execute("SELECT upsert_zone_dwell_hourly(), upsert_queue_waits()")
        connection.execute("SELECT upsert_store_hourly(%s, 0)", (json.dumps(branches or [BERLIN]),))


def test_entries_count_in_the_minute_of_the_crossing_not_of_the_message(db: Database) -> None:
    late = frame(TEN + timedelta(seconds=61), crossings=[crossing("entry", TEN)])
    write(db, frame(), late)
    rows = db.fetch("SELECT entries, frames FROM footfall_minute ORDER BY minute")

    assert [(r["entries"], r["frames"]) for r in rows] == [(1, 1), (0, 1)]


def entries_and_crossings(db: Database) -> tuple[int, int]:
    """Entries of all minutes, and entries of visitors among the crossings."""
    (minutes,) = db.fetch("SELECT coalesce(sum(entries), 0)::int AS n FROM footfall_minute")
    (crossings,) = db.fetch(
        "SELECT count(*) AS n FROM line_crossings WHERE NOT withdrawn AND NOT is_staff "
        "AND kind = 'entrance' AND direction = 'entry'"
    )
    return minutes["n"], crossings["n"]


def test_two_crossings_and_visits_of_one_key_in_one_batch_are_one(db: Database) -> None:
    there_and_back = [crossing("entry"), crossing("exit"), crossing("entry")]
    seen = [visit(10, is_open=True), visit(12)]
    write(db, frame(crossings=there_and_back, visits=seen), frame(crossings=there_and_back))
    (visited,) = db.fetch("SELECT is_open, dwell_seconds FROM zone_visits")

    assert entries_and_crossings(db) == (1, 1)
    assert db.fetch("SELECT exits FROM footfall_minute")[0]["exits"] == 0
    assert (visited["is_open"], float(visited["dwell_seconds"])) == (False, 12)


def test_a_crossing_that_comes_again_in_a_later_batch_is_not_counted_again(db: Database) -> None:
    write(db, frame(crossings=[crossing("entry"), crossing("entry", track_id="ben")]))
    write(db, frame(crossings=[crossing("entry"), crossing("entry", track_id="carl")]))
    assert entries_and_crossings(db) == (3, 3)


def test_a_crossing_of_staff_that_comes_again_does_not_come_back_as_a_visitor(
    db: Database,
) -> None:
    write(db, frame(crossings=[crossing("entry")], staff=["anna"]))
    write(db, frame(crossings=[crossing("entry")]))
    write(db, frame(staff=["anna", "anna"]))
    assert entries_and_crossings(db) == (0, 0)


def test_a_crossing_that_was_withdrawn_and_comes_again_counts_again(db: Database) -> None:
    write(db, frame(crossings=[crossing("entry")]))
    with db.transaction() as connection:
        connection.execute("UPDATE line_crossings SET withdrawn = true")
        connection.execute("UPDATE footfall_minute SET entries = 0")
    write(db, frame(crossings=[crossing("entry")]))
    assert entries_and_crossings(db) == (1, 1)


def test_a_counting_line_makes_no_visitors(db: Database) -> None:
    write(db, frame(crossings=[crossing("entry", kind="count")]))
    (row,) = db.fetch("SELECT entries FROM footfall_minute")

    assert row["entries"] == 0
    assert len(db.fetch("SELECT 1 FROM line_crossings")) == 1


def test_who_turns_out_to_be_staff_leaves_what_was_counted_before(db: Database) -> None:
    write(
        db,
        frame(crossings=[crossing("entry"), crossing("entry", track_id="ben")]),
        frame(visits=[visit(30)]),
    )
    write(db, frame(TEN + timedelta(minutes=5), staff=["anna"]))
    on_interval(db)
    (minute,) = db.fetch("SELECT entries FROM footfall_minute WHERE minute = %s", (TEN,))
    (dwell,) = db.fetch("SELECT visits, dwell_mean FROM zone_dwell_hourly")

    assert minute["entries"] == 1
    assert (dwell["visits"], dwell["dwell_mean"]) == (0, None)
    write(db, frame(TEN + timedelta(minutes=6), staff=["anna"]))
    (minute,) = db.fetch("SELECT entries FROM footfall_minute WHERE minute = %s", (TEN,))
    assert minute["entries"] == 1


def test_dwell_is_counted_in_the_hour_in_which_a_visit_began(db: Database) -> None:
    seconds = (10, 20, 30, 40, 100)
    visits = [visit(s, track_id=f"t{s}") for s in seconds]
    write(db, frame(visits=[*visits, visit(50, TEN + HOUR)]))
    on_interval(db)
    first, second = db.fetch("SELECT * FROM zone_dwell_hourly ORDER BY hour")

    assert (first["visits"], first["dwell_mean"], first["dwell_p50"]) == (5, 40, 30)
    assert first["dwell_p95"] == pytest.approx(88)
    assert (second["visits"], second["dwell_p50"]) == (1, 50)


def test_an_open_visit_has_no_dwell_until_it_is_over(db: Database) -> None:
    write(db, frame(visits=[visit(10, is_open=True)]))
    on_interval(db)
    assert not db.fetch("SELECT 1 FROM zone_dwell_hourly")

    write(db, frame(visits=[visit(25)]))
    on_interval(db)
    (row,) = db.fetch("SELECT visits, dwell_p50 FROM zone_dwell_hourly")
    assert (row["visits"], row["dwell_p50"]) == (1, 25)


def test_a_visit_that_nobody_receives_of_is_closed_where_it_was_last_seen(db: Database) -> None:
    write(db, frame(visits=[visit(10, is_open=True), visit(3, track_id="ben", is_open=True)]))
    with db.transaction() as connection:
        connection.execute(
            "UPDATE zone_visits SET updated_at = now() - interval '1 hour' WHERE track_id = 'anna'"
        )
        connection.execute("SELECT close_silent_visits('10 minutes')")
    rows = db.fetch("SELECT track_id, is_open, dwell_seconds FROM zone_visits ORDER BY track_id")

    assert [(r["track_id"], r["is_open"], float(r["dwell_seconds"])) for r in rows] == [
        ("anna", False, 10),
        ("ben", True, 3),
    ]


def test_a_wait_that_goes_on_after_it_was_closed_counts_once_where_it_ends(db: Database) -> None:
    def waits() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        on_interval(db)
        minutes = db.fetch("SELECT minute AS at, waits AS n FROM queue_minute ORDER BY minute")
        hours = db.fetch("SELECT hour AS at, queue_waits AS n FROM store_hourly ORDER BY hour")
        of_minutes, of_hours = ([(r["at"].hour, r["n"]) for r in rows] for rows in (minutes, hours))
        return of_minutes, of_hours

    start = TEN + timedelta(minutes=59)
    write(db, frame(start, visits=[visit(10, start, is_open=True)]))
    with db.transaction() as connection:
        connection.execute("SELECT close_silent_visits('-1 minute')")
    assert waits() == ([(10, 1)], [(10, 1)])

    write(db, frame(start, visits=[visit(50, start, is_open=True)]))
    assert waits() == ([(10, 0)], [(10, 0)])
    write(db, frame(start, visits=[visit(130, start)]))
    expected = ([(10, 0), (11, 1)], [(10, 0), (11, 1)])
    assert waits() == waits() == expected


def test_a_minute_of_the_queue_has_its_length_and_the_waits_that_ended_then(db: Database) -> None:
    lengths = [
        {"zone_id": "till", "captured_at": us(TEN + timedelta(seconds=s)), "people": n}
        for s, n in enumerate((1, 2, 3, 2))
    ]
    before = TEN - timedelta(minutes=2)
    write(db, frame(queues=lengths[:2]), frame(queues=lengths[2:]))
    write(db, frame(visits=[visit(125, before), visit(121, before, track_id="ben")]))
    write(db, frame(visits=[visit(10, zone_id="lobby", kind="browse")]))
    on_interval(db)
    (row,) = db.fetch("SELECT * FROM queue_minute")

    assert (row["frames"], row["length_mean"], row["length_max"]) == (4, 2, 3)
    assert (row["waits"], row["wait_p50"]) == (2, 123)
    assert row["wait_p95"] == pytest.approx(124.8)


def test_settling_twice_changes_nothing(db: Database) -> None:
    write(db, frame(visits=[visit(10)], crossings=[crossing("entry")]))
    tables = ("zone_dwell_hourly", "queue_minute", "store_hourly")
    on_interval(db)
    before = [db.fetch(f"TABLE {t}") for t in tables]
    on_interval(db)

    assert [db.fetch(f"TABLE {t}") for t in tables] == before
    assert all(before)


@pytest.mark.requirement("J1")
def test_the_hour_of_a_branch_has_queue_wait_and_the_peak_of_its_occupancy(db: Database) -> None:
    minutes = ((-60, "entry"), (0, "entry"), (1, "entry"), (2, "exit"), (61, "exit"))
    crossings = [crossing(way, TEN + timedelta(minutes=m), track_id=f"t{m}") for m, way in minutes]
    write(db, *(frame(TEN + timedelta(minutes=m)) for m, _ in minutes))
    write(db, frame(crossings=crossings, visits=[visit(30), visit(50, track_id="ben")]))
    on_interval(db)
    nine, ten, eleven = db.fetch("SELECT * FROM store_hourly ORDER BY hour")

    assert [r["occupancy_peak"] for r in (nine, ten, eleven)] == [1, 3, 1]
    assert [r["visitors"] for r in (nine, ten, eleven)] == [1, 2, 0]
    assert (ten["queue_waits"], ten["queue_wait_p50"]) == (2, 40)
    assert ten["camera_coverage"] == pytest.approx(3 / 120)
    assert ten["local_hour"] == datetime(2024, 5, 1, 12)  # noqa: DTZ001 - a wall clock


@pytest.mark.requirement("J1")
@pytest.mark.parametrize("expired", [TEN + HOUR, TEN + timedelta(minutes=5)], ids=["all", "some"])
def test_the_wait_of_an_hour_remains_when_its_visits_are_expired(
    db: Database, expired: datetime
) -> None:
    later = visit(50, TEN + timedelta(minutes=10), track_id="ben")
    write(db, frame(visits=[visit(30), later]))
    on_interval(db)
    with db.transaction() as connection:
        connection.execute("DELETE FROM zone_visits WHERE entered_at < %s", (expired,))
    write(db, frame(crossings=[crossing("entry")]))
    on_interval(db)
    (row,) = db.fetch("SELECT visitors, queue_waits, queue_wait_p50 FROM store_hourly")

    assert (row["visitors"], row["queue_waits"], row["queue_wait_p50"]) == (1, 2, 40)


@pytest.mark.requirement("J1")
def test_who_comes_late_to_light_was_inside_in_the_later_hours_too(db: Database) -> None:
    for minute in (0, 60):
        write(db, frame(TEN + timedelta(minutes=minute), crossings=[]))
    on_interval(db)
    write(db, frame(crossings=[crossing("entry")]))
    on_interval(db)
    ten, eleven = db.fetch("SELECT visitors, occupancy_peak FROM store_hourly ORDER BY hour")

    assert (ten["visitors"], ten["occupancy_peak"]) == (1, 1)
    assert (eleven["visitors"], eleven["occupancy_peak"]) == (0, 1)


@pytest.mark.requirement("J1")
def test_occupancy_begins_at_midnight_where_the_branch_is(db: Database) -> None:
    midnight = datetime(2024, 4, 30, 22, tzinfo=timezone.utc)  # in Berlin
    evening = midnight - timedelta(minutes=1)
    write(db, frame(evening, crossings=[crossing("entry", evening)]), frame(midnight))
    on_interval(db)
    before, after = db.fetch("SELECT occupancy_peak FROM store_hourly ORDER BY hour")

    assert (before["occupancy_peak"], after["occupancy_peak"]) == (1, 0)


@pytest.mark.requirement("J1")
def test_who_leaves_without_having_been_seen_coming_makes_nobody_less(db: Database) -> None:
    out, came = crossing("exit"), crossing("entry", TEN + timedelta(minutes=1))
    write(db, frame(crossings=[out]), frame(TEN + timedelta(minutes=1), crossings=[came]))
    on_interval(db)
    (row,) = db.fetch("SELECT occupancy_peak FROM store_hourly")

    assert row["occupancy_peak"] == 1


@pytest.mark.requirement("J1")
def test_a_camera_without_an_entrance_leaves_the_visitors_unknown(db: Database) -> None:
    write(db, frame(camera_id="B01-till"))
    on_interval(db)
    (row,) = db.fetch("SELECT visitors, conversion_rate, camera_coverage FROM store_hourly")

    assert (row["visitors"], row["conversion_rate"]) == (None, None)
    assert row["camera_coverage"] == pytest.approx(1 / 120)


def passes(track_id: str, at: datetime = TEN, direction: str = "entry") -> dict[str, Any]:
    """Somebody crosses the line on the pavement."""
    return crossing(direction, at, track_id=track_id, line_id="pavement", kind="passing")


def enters(track_id: str, at: datetime = TEN, first: str | None = None) -> dict[str, Any]:
    """Somebody enters, alone or in the group of who entered first at ten."""
    group = {"group_id": first or track_id, "group_entered_at": us(TEN if first else at)}
    return crossing("entry", at, track_id=track_id, **group)


def people(db: Database) -> list[tuple[int, int, int]]:
    """Entries, groups and passers-by, minute by minute."""
    rows = db.fetch("SELECT entries, groups, passers_by FROM footfall_minute ORDER BY minute")
    return [(r["entries"], r["groups"], r["passers_by"]) for r in rows]


MINUTE = timedelta(minutes=1)


@pytest.mark.requirement("V13")
def test_passers_by_are_who_cross_the_passing_line_and_do_not_enter(db: Database) -> None:
    back = passes("ben", TEN + MINUTE, "exit")
    write(db, frame(crossings=[passes("anna"), passes("ben"), passes("carl")]))
    write(db, frame(TEN + MINUTE, crossings=[enters("anna", TEN + MINUTE), back]))

    assert people(db) == [(0, 0, 2), (1, 1, 0)]


@pytest.mark.requirement("V13")
def test_who_leaves_the_shop_over_the_pavement_is_no_passer_by(db: Database) -> None:
    write(db, frame(crossings=[crossing("exit"), passes("anna", TEN + timedelta(seconds=2))]))
    assert people(db) == [(0, 0, 0)]


@pytest.mark.requirement("V13")
def test_a_group_counts_once_in_the_minute_of_its_first_person(db: Database) -> None:
    second = TEN + MINUTE
    write(db, frame(crossings=[enters("anna"), enters("ben", first="anna"), enters("carl")]))
    write(db, frame(second, crossings=[enters("dora", second, first="anna")]))

    assert people(db) == [(3, 2, 0), (1, 0, 0)]


@pytest.mark.requirement("V13")
def test_staff_neither_pass_by_nor_make_a_group_but_their_company_does(db: Database) -> None:
    together = [enters("anna"), enters("ben", first="anna")]
    write(db, frame(crossings=[*together, enters("carl"), passes("dora")]))
    write(db, frame(TEN + MINUTE, staff=["anna", "carl", "dora"]))

    assert people(db)[0] == (1, 1, 0)


@pytest.mark.requirement("V13")
def test_the_hour_has_capture_rate_and_conversion_by_groups(db: Database) -> None:
    together = [enters("anna"), enters("ben", first="anna")]
    write(db, frame(crossings=[*together, passes("carl"), passes("dora")]))
    on_interval(db)
    (row,) = db.fetch("SELECT * FROM store_hourly")

    assert (row["groups"], row["passers_by"], row["capture_rate"]) == (1, 2, 0.5)
    assert row["conversion_by_groups"] == 0  # no orders


@pytest.mark.requirement("V13")
def test_without_a_passing_line_the_passers_by_are_unknown(db: Database) -> None:
    write(db, frame(crossings=[enters("anna")]))
    on_interval(db, BERLIN | {"passing": []})
    (row,) = db.fetch("SELECT passers_by, capture_rate FROM store_hourly")

    assert (row["passers_by"], row["capture_rate"]) == (None, None)


def test_a_repeated_frame_counts_nothing(db: Database) -> None:
    output = to_output(pa.Table.from_pylist([frame(frames=0, people=5)], schema=OUTPUT_SCHEMA))
    assert output.counts.num_rows == 1
    write(db, frame(frames=0, people=5))
    assert not db.fetch("SELECT 1 FROM footfall_minute")
