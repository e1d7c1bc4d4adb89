"""From frames to crossings and visits: one camera run, frame by frame, five frames a second."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.stores import Layout, Line, Zone
from streaming.transforms import identities
from streaming.transforms.track import Person, Spot, Track
from streaming.transforms.tracks import (
    REMEMBERED_FRAMES,
    CameraRun,
    CameraState,
    Effects,
    LineCrossing,
    Rules,
    ZoneVisit,
)

pytestmark = pytest.mark.requirement("V6")

TEN = int(datetime(2024, 5, 1, 10, tzinfo=timezone.utc).timestamp() * 1e6)
SECOND = 1_000_000
STEP = SECOND // 5

ENTRANCE = Line(line_id="entrance", a=(0.5, 0.9), b=(0.5, 0.1))
TILL = Zone(zone_id="till", kind="queue", polygon=((0.6, 0.4), (0.9, 0.4), (0.9, 0.8), (0.6, 0.8)))
OFFICE = Zone(
    zone_id="office",
    kind="staff",
    polygon=((0.1, 0.1), (0.3, 0.1), (0.3, 0.3), (0.1, 0.3)),
    staff_after=4,
)
BODY = 0.06
IN_QUEUE, IN_OFFICE, OUTSIDE = (0.7, 0.6), (0.2, 0.2), (0.55, 0.6)
FRAMES_OF_GRACE = 10


def layout(version: int = 1, hour: int = 0, **changes: object) -> Layout:
    fields = {"lines": (ENTRANCE,), "zones": (TILL, OFFICE)} | changes
    valid_from = datetime(2024, 5, 1, hour, tzinfo=timezone.utc)
    return Layout.model_validate({"version": version, "valid_from": valid_from, **fields})


RULES = Rules()
Feet = tuple[str, float, float]
"""track_id and anchor."""


def bodies(people: Iterable[Feet]) -> list[Person]:
    """The same people, all of one size."""
    return [(*person, BODY, BODY) for person in people]


@dataclass
class Watched:
    """A run, and the effects of its frames."""

    layouts: Sequence[Layout] = (layout(),)
    rules: Rules = RULES
    text: str | None = None
    crossings: list[LineCrossing] = field(default_factory=list)
    visits: dict[tuple[str, str, int], ZoneVisit] = field(default_factory=dict)
    queue: list[int] = field(default_factory=list)
    staff: list[str] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)

    def receive(self, index: int, people: Iterable[Feet] = (), at: int | None = None) -> Effects:
        """One frame; the state is written as text and read again each time."""
        run = CameraRun(self.layouts, self.rules, json.loads(self.text) if self.text else None)
        effects = run.receive(index, TEN + index * STEP if at is None else at, bodies(people))
        self.crossings += effects.crossings
        for visit in (*effects.visits, *run.open_visits()):
            self.visits[visit.track_id, visit.zone_id, visit.entered_at] = visit
        for visit in effects.visits:
            self.visits[visit.track_id, visit.zone_id, visit.entered_at] = visit
        self.queue += [q.people for q in effects.queues]
        self.staff += effects.staff
        self.late += [index] if effects.is_late else []
        self.repeated += [] if effects.is_new else [index]
        self.text = json.dumps(run.state())
        return effects

    def play(self, *frames: Iterable[Feet], start: int = 0) -> int:
        """Frames one after the other; the index of the next one."""
        for index, people in enumerate(frames, start):
            self.receive(index, people)
        return start + len(frames)

    def directions(self) -> list[tuple[str, str]]:
        return [(c.track_id, c.direction) for c in self.crossings]


def one(track: str, spot: tuple[float, float]) -> list[Feet]:
    return [(track, *spot)]


def in_zone(track: str, spot: tuple[float, float], frames: int) -> list[list[Feet]]:
    return [one(track, spot)] * frames


def nobody(frames: int) -> list[list[Feet]]:
    return [[]] * frames


def walk(track: str, *xs: float, y: float = 0.2) -> list[list[Feet]]:
    return [one(track, (x, y)) for x in xs]


def test_a_visit_begins_with_the_first_frame_inside_and_ends_with_the_last() -> None:
    seen = Watched()
    seen.play(
        *in_zone("anna", OUTSIDE, 3),
        *in_zone("anna", IN_QUEUE, 21),
        *in_zone("anna", OUTSIDE, 12),
    )
    (visit,) = seen.visits.values()

    assert (visit.track_id, visit.zone_id, visit.is_open) == ("anna", "till", False)
    assert (visit.entered_at, visit.exited_at) == (TEN + 3 * STEP, TEN + 23 * STEP)


def test_a_visit_is_open_until_the_grace_is_over() -> None:
    seen = Watched()
    last = seen.play(*in_zone("anna", IN_QUEUE, 5), *nobody(FRAMES_OF_GRACE))
    assert next(iter(seen.visits.values())).is_open

    seen.play([], start=last)
    assert not next(iter(seen.visits.values())).is_open


def test_one_frame_inside_is_no_visit() -> None:
    seen = Watched()
    seen.play(*(in_zone("anna", OUTSIDE, 2) + in_zone("anna", IN_QUEUE, 1)) * 5, *nobody(20))
    assert not seen.visits


def test_who_is_lost_for_less_than_the_grace_is_still_visiting() -> None:
    seen = Watched()
    seen.play(
        *in_zone("anna", IN_QUEUE, 5),
        *nobody(FRAMES_OF_GRACE - 1),
        *in_zone("anna", IN_QUEUE, 5),
        *nobody(20),
    )
    (visit,) = seen.visits.values()
    assert visit.exited_at - visit.entered_at == (5 + FRAMES_OF_GRACE - 1 + 5 - 1) * STEP


def test_who_comes_back_after_the_grace_visits_again() -> None:
    seen = Watched()
    seen.play(
        *in_zone("anna", IN_QUEUE, 5), *nobody(20), *in_zone("anna", IN_QUEUE, 5), *nobody(20)
    )
    assert len(seen.visits) == 2


def test_a_new_id_where_one_has_just_vanished_is_the_same_person() -> None:
    seen = Watched()
    seen.play(*in_zone("1", IN_QUEUE, 5), *nobody(2), *in_zone("2", (0.72, 0.62), 5), *nobody(20))
    assert [v.track_id for v in seen.visits.values()] == ["1"]


def test_a_line_crossed_while_the_id_changes_is_crossed_once() -> None:
    seen = Watched()
    seen.play(*walk("1", 0.40, 0.44, 0.48), *walk("2", 0.52, 0.56, 0.60), *walk("3", 0.62, 0.66))
    assert seen.directions() == [("1", "entry")]


@pytest.mark.parametrize(
    ("pause", "spot"), [(6, (0.72, 0.62)), (1, (0.85, 0.5))], ids=["too late", "too far away"]
)
def test_a_new_id_elsewhere_or_much_later_is_somebody_else(
    pause: int, spot: tuple[float, float]
) -> None:
    seen = Watched()
    seen.play(*in_zone("1", IN_QUEUE, 5), *nobody(pause), *in_zone("2", spot, 5), *nobody(20))
    assert sorted(v.track_id for v in seen.visits.values()) == ["1", "2"]


def test_each_of_many_new_ids_on_one_spot_is_compared_with_few_vanished_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[Track] = []

    def counted(track: Track, spot: Spot) -> float:
        compared.append(track)
        return 0.0

    monkeypatch.setattr(identities, "distance", counted)
    seen = Watched()
    for frame in range(2):
        seen.receive(frame, [(f"{frame}-{number}", *IN_QUEUE) for number in range(300)])
    assert 0 < len(compared) <= 300 * identities.CROWD


def test_two_people_side_by_side_are_two() -> None:
    seen = Watched()
    pair = [("1", *IN_QUEUE), ("2", 0.72, 0.62)]
    seen.play(*[pair] * 5, *nobody(20))
    assert len(seen.visits) == 2


def test_a_track_that_flickers_on_the_line_crosses_it_once() -> None:
    seen = Watched()
    seen.play(
        *walk("anna", 0.4, 0.45),
        [],
        *walk("anna", 0.55),
        [],
        *walk("anna", 0.56, 0.57),
        *nobody(3),
        *walk("anna", 0.6, 0.6),
    )
    assert seen.directions() == [("anna", "entry")]


def test_the_queue_is_as_long_as_each_frame_shows() -> None:
    seen = Watched()
    two = [("1", *IN_QUEUE), ("2", 0.65, 0.5), ("3", *OUTSIDE)]
    seen.play(*[two] * 3, *in_zone("1", IN_QUEUE, 2), [])
    assert seen.queue == [0, 2, 2, 1, 1, 0]


def test_who_stands_long_in_the_staff_zone_is_staff_and_does_not_queue() -> None:
    seen = Watched()
    to_till = walk("eve", 0.36, 0.53, y=0.4)
    seen.play(*in_zone("eve", IN_OFFICE, 22), *to_till, *in_zone("eve", IN_QUEUE, 5), *nobody(20))

    assert seen.staff == ["eve"]
    assert {v.zone_id: v.is_staff for v in seen.visits.values()} == {"office": True, "till": True}
    assert set(seen.queue) == {0}


def test_a_short_time_in_the_staff_zone_makes_nobody_staff() -> None:
    seen = Watched()
    seen.play(*in_zone("anna", IN_OFFICE, 15), *nobody(20))
    assert not seen.staff


def test_without_a_limit_the_staff_zone_is_a_zone_like_others() -> None:
    free = OFFICE.model_copy(update={"staff_after": None})
    seen = Watched([layout(zones=(free,))])
    seen.play(*in_zone("eve", IN_OFFICE, 100))
    assert not seen.staff


def test_a_frame_that_comes_again_changes_nothing() -> None:
    seen = Watched()
    seen.play(*walk("anna", 0.4, 0.45, 0.55))
    before = seen.text
    seen.receive(1, one("anna", (0.1, 0.1)))

    assert seen.repeated == [1]
    assert seen.text == before


def test_a_frame_that_comes_too_late_is_counted_and_not_followed() -> None:
    seen = Watched()
    seen.receive(0)
    seen.receive(2)
    for index in range(3, 10):
        seen.receive(index)
    seen.receive(1, one("anna", IN_QUEUE))

    assert (seen.late, seen.repeated) == ([1], [])
    seen.receive(1)
    assert seen.repeated == [1]


def test_a_gap_holds_frames_back_no_longer_than_the_delay() -> None:
    seen = Watched()
    seen.play(*in_zone("anna", IN_QUEUE, 2))
    for index in (3, 4, 5):
        seen.receive(index, one("anna", IN_QUEUE))
    assert next(iter(seen.visits.values())).exited_at == TEN + STEP

    seen.receive(8, one("anna", IN_QUEUE))
    assert next(iter(seen.visits.values())).exited_at == TEN + 5 * STEP  # not 8, which waits


def test_where_the_clock_stands_still_a_gap_holds_back_a_bounded_number_of_frames() -> None:
    run = CameraRun([layout()], RULES)
    found = [run.receive(2 * n, TEN, bodies(one("anna", IN_QUEUE))) for n in range(1_000)]
    assert len(run.state()["waiting"]) <= REMEMBERED_FRAMES
    assert sum(len(effects.visits) for effects in found) == 1


@pytest.mark.parametrize(("seconds", "visits"), [(-0.5, 1), (-3600, 2)])
def test_a_clock_that_jumps_back_far_ends_what_it_began(seconds: float, visits: int) -> None:
    seen = Watched()
    last = seen.play(*in_zone("anna", IN_QUEUE, 10))
    for index in range(last, last + 10):
        at = TEN + index * STEP + int(seconds * SECOND)
        seen.receive(index, one("anna", IN_QUEUE), at=at)

    assert len(seen.visits) == visits
    assert all(v.exited_at >= v.entered_at for v in seen.visits.values())
    assert sum(v.is_open for v in seen.visits.values()) == 1


def test_a_new_layout_holds_from_its_instant_on() -> None:
    before, after = layout(), layout(2, hour=10, zones=(), lines=(ENTRANCE,))
    seen = Watched([before, after])
    nine = TEN - 5 * STEP
    for index in range(10):
        seen.receive(index, one("anna", IN_QUEUE), at=nine + index * STEP)
    (visit,) = seen.visits.values()

    assert (visit.is_open, visit.layout_version) == (False, 1)
    assert visit.exited_at == TEN - STEP


def test_a_layout_that_was_drawn_for_the_past_does_not_change_how_older_frames_end() -> None:
    """The stream reads the store file at its start, hours after the last frame."""
    moved = Line(line_id="entrance", a=(0.482, 0.9), b=(0.482, 0.1))
    seen = Watched()
    frames = seen.play(*walk("anna", 0.44, 0.46, 0.48, 0.495, 0.495))
    seen.layouts = (layout(), layout(version=2, hour=9, lines=(moved,)))
    seen.receive(frames, [], TEN + 3600 * SECOND)
    assert seen.crossings == []


def test_before_the_first_layout_nothing_counts() -> None:
    seen = Watched([layout(hour=11)])
    seen.play(*walk("anna", 0.4, 0.45, 0.55, 0.6))
    assert not seen.crossings


@settings(deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 2**32))
def test_any_order_within_the_delay_gives_the_same_visits(rng: random.Random, seed: int) -> None:
    frames = _a_busy_minute(seed)
    in_order, shuffled = Watched(), Watched()
    for index, people in frames:
        in_order.receive(index, people)
    # A frame comes less than the delay (5 frames) after its turn.
    for index, people in sorted(frames, key=lambda f: f[0] + rng.uniform(0, 4.9)):
        shuffled.receive(index, people)

    assert not shuffled.late
    assert sorted(shuffled.crossings) == sorted(in_order.crossings)
    assert shuffled.visits == in_order.visits
    assert shuffled.queue == in_order.queue


def _a_busy_minute(seed: int) -> list[tuple[int, list[Feet]]]:
    """Frames with gaps, of people who wander, vanish and come back."""
    rng = random.Random(seed)
    spots = {f"p{n}": [rng.random(), rng.random()] for n in range(4)}
    frames: list[tuple[int, list[Feet]]] = []
    for index in range(60):
        people: list[Feet] = []
        for track, spot in spots.items():
            spot[:] = [min(max(v + rng.uniform(-0.15, 0.15), 0.0), 1.0) for v in spot]
            if rng.random() < 0.8:
                people.append((track, spot[0], spot[1]))
        if rng.random() < 0.8 or index > 50:
            frames.append((index, people))
    # Empty frames at the end, so that all of it has its turn.
    return frames + [(index, []) for index in range(60, 80)]


def test_the_state_of_many_visitors_is_small() -> None:
    run = CameraRun([layout()], Rules(expire=timedelta(seconds=60)))
    for index in range(5_000):
        people = bodies(one(f"t{index // 5}", ((index * 0.37) % 1, 0.5)))
        run.receive(index, TEN + index * STEP, people)
    assert len(json.dumps(run.state())) < 60_000


def seen(camera: CameraState, run_id: str, index: int, seconds: float, *people: Feet) -> Effects:
    """One message, so many seconds after ten, and as late at the broker."""
    at = TEN + int(seconds * SECOND)
    return camera.run(run_id, at).receive(index, at, bodies(people))


def next_batch(camera: CameraState) -> CameraState:
    """The state after a batch, as the next one reads it."""
    return CameraState([layout()], RULES, camera.to_text())


def test_runs_of_one_camera_never_meet() -> None:
    text: str | None = None
    for index in range(4):
        camera = CameraState([layout()], RULES, text)
        for run_id, spot in (("morning", IN_QUEUE), ("evening", OUTSIDE)):
            seen(camera, run_id, index, index / 5, ("anna", *spot))
        text = camera.to_text()

    camera = CameraState([layout()], RULES, text)
    assert [v.zone_id for v in camera.run("morning", TEN).open_visits()] == ["till"]
    assert list(camera.run("evening", TEN).open_visits()) == []


def test_a_run_that_is_silent_for_long_ends_once_another_speaks() -> None:
    limit = RULES.expire.total_seconds()
    camera = CameraState([layout()], RULES)
    for index in range(3):
        seen(camera, "morning", index, index / 5, ("anna", *IN_QUEUE))
    camera = next_batch(camera)
    seen(camera, "evening", 0, limit)
    assert not list(camera.end_expired())
    camera = next_batch(camera)
    seen(camera, "evening", 1, limit + 1)

    ((run_id, at, effects),) = camera.end_expired()
    assert (run_id, at) == ("morning", TEN + 2 * STEP)
    assert [v.is_open for v in effects.visits] == [False]
    assert set(json.loads(camera.to_text())) == {"evening"}


def test_a_run_is_followed_across_batches_after_a_clock_that_was_an_hour_ahead_is_right() -> None:
    camera = CameraState([layout()], RULES)
    seen(camera, "ahead", 0, 3600)
    crossings, over = [], []
    for index, x in enumerate((0.3, 0.38, 0.46, 0.54, 0.62, 0.7)):
        camera = next_batch(camera)
        crossings += seen(camera, "right", index, index / 5, ("anna", x, 0.2)).crossings
        over += [run_id for run_id, _, _ in camera.end_expired()]

    assert [(c.track_id, c.direction) for c in crossings] == [("anna", "entry")]
    assert over == []


def test_the_last_run_of_a_camera_is_remembered_however_long_it_is_silent() -> None:
    camera = CameraState([layout()], RULES)
    seen(camera, "morning", 0, 0, ("anna", *IN_QUEUE))
    assert set(json.loads(CameraState([layout()], RULES, camera.to_text()).to_text())) == {
        "morning"
    }


def test_frames_that_were_kept_back_for_hours_are_followed_by_when_they_arrive() -> None:
    """A spool that is drained: taken long ago, at the broker only now."""
    camera = CameraState([layout()], RULES)
    late = TEN + 3 * 3600 * SECOND
    seen(camera, "evening", 0, 3 * 3600)
    text = camera.to_text()
    for index in range(3):
        camera = CameraState([layout()], RULES, text)
        at = TEN + index * STEP
        camera.run("morning", late + index).receive(index, at, bodies(one("anna", IN_QUEUE)))
        text = camera.to_text()

    (visit,) = CameraState([layout()], RULES, text).run("morning", late).open_visits()
    assert visit.entered_at == TEN
