"""How people walk at an entrance, what trackers report, and the right counts."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from conf.stores import Stores
from streaming.transforms.footfall import by_index, track_frames
from streaming.transforms.tracks import CameraRun, Rules, layouts_by_camera
from tests.support.camera_scenes import (
    CAMERA_ID,
    Person,
    follow,
    follow_frames,
    parsed,
    scene,
    steps,
    together,
    way,
)

pytestmark = pytest.mark.requirement("V6")

INSIDE, OUTSIDE = 0.85, 0.4
SWAPPED = {"A": "B", "B": "A"}


def renamed(frames: list[list[Person]], names: dict[int, dict[str, str]]) -> list[list[Person]]:
    """The same frames, with other ids in some of them; an empty name removes the box."""
    return [
        [(names.get(n, {}).get(i, i), x, y) for i, x, y in people if names.get(n, {}).get(i, i)]
        for n, people in enumerate(frames)
    ]


def pair(*xs: float, apart: float = 0.04) -> list[list[Person]]:
    """Anna and Ben side by side."""
    return together(way("A", *xs, y=0.5), way("B", *xs, y=0.5 + apart))


def test_two_people_of_whom_one_is_named_like_the_other_for_a_frame_are_two(
    stores: Stores,
) -> None:
    """Only Ben is seen where Anna was, under an id of his own; then both walk on."""
    frames = renamed(pair(*steps(OUTSIDE, INSIDE, 20)), {n: {"B": ""} for n in range(5)})
    seen = follow(stores, scene(*renamed(frames, {5: {"A": ""}})))

    assert seen.counts == (2, 0)
    assert len(seen.keys) == len(set(seen.keys))
    assert len({key[2] for key in seen.crossings}) == 2


@pytest.mark.parametrize("at", range(4, 16))
def test_two_people_who_get_new_ids_at_once_and_their_old_ones_back_are_two(
    stores: Stores, at: int
) -> None:
    frames = pair(*steps(OUTSIDE, INSIDE, 20))
    seen = follow(stores, scene(*renamed(frames, {at: {"A": "C", "B": "D"}})))
    assert seen.counts == (2, 0)


@pytest.mark.parametrize("at", range(4, 16))
def test_two_people_whose_ids_are_swapped_for_good_are_two(stores: Stores, at: int) -> None:
    frames = pair(*steps(OUTSIDE, INSIDE, 20))
    seen = follow(stores, scene(*renamed(frames, dict.fromkeys(range(at, 20), SWAPPED))))
    assert seen.counts == (2, 0)


def test_one_after_the_other_with_ids_that_are_swapped_on_the_line_are_two(
    stores: Stores,
) -> None:
    """Anna is just inside and Ben just outside when the tracker mixes them up."""
    frames = together(way("A", *steps(0.46, 0.9, 23)), way("B", *steps(0.42, 0.86, 23)))
    swaps = dict.fromkeys(range(11, 23), SWAPPED)
    seen = follow(stores, scene(*renamed(frames, swaps)))
    assert seen.count("entry") - seen.count("exit") == 2
    assert seen.count("entry") <= 3


def test_one_id_on_several_boxes_is_nobody_in_particular(stores: Stores) -> None:
    four = [("-1", 0.5, 0.45), ("-1", 0.55, 0.6), ("-1", 0.75, 0.5), ("-1", 0.8, 0.6)]
    seen = follow(stores, scene(*[four] * 50))

    assert seen.counts == (0, 0)
    assert not seen.visits
    assert set(seen.queue) == {1}  # one of them stands in the queue


def test_a_repeated_id_far_away_moves_nobody_over_the_line(stores: Stores) -> None:
    both = [("7", 0.5, 0.6), ("7", 0.8, 0.6)]
    seen = follow(stores, scene(*[[both[0]], both, both, [both[0]], both] * 10))
    assert seen.counts == (0, 0)


def test_who_shares_an_id_with_another_for_a_moment_is_followed_before_and_after(
    stores: Stores,
) -> None:
    frames = pair(*steps(OUTSIDE, INSIDE, 20))
    shared = {n: {"B": "A"} for n in (9, 10, 11)}
    seen = follow(stores, scene(*renamed(frames, shared)))
    assert seen.counts == (2, 0)


def test_of_several_boxes_with_one_id_the_one_that_moves_on_is_followed(stores: Stores) -> None:
    walker = way("7", *steps(OUTSIDE, INSIDE, 20))
    stands = [*[[]] * 3, *way("7", *[0.3] * 17, y=0.3)]
    also = [*[[]] * 6, *way("7", *[0.9] * 14, y=0.3)]
    seen = follow(stores, scene(*together(walker, stands, also)))
    assert seen.counts == (1, 0)


def test_who_has_no_identity_yet_does_not_disturb_those_who_have_one(stores: Stores) -> None:
    unconfirmed = [way("-1", *[x] * 20, y=0.3) for x in (0.55, 0.75)]
    walker = way("A", *steps(OUTSIDE, INSIDE, 20))
    assert follow(stores, scene(*together(walker, *unconfirmed))).counts == (1, 0)
    # One box at a time, here and there.
    alone = [[("-1", 0.5 if n % 6 < 3 else 0.8, 0.6)] for n in range(60)]
    assert follow(stores, scene(*alone)).counts == (0, 0)


@pytest.mark.parametrize("bad_id", ["", 7, None, "x" * 65])
def test_an_id_that_is_none_rejects_its_frame_and_no_other(stores: Stores, bad_id: object) -> None:
    frames = way("A", *steps(OUTSIDE, INSIDE, 20))
    frames[3] = [*frames[3], (bad_id, 0.2, 0.6)]
    seen = follow(stores, scene(*frames))
    assert (seen.rejected, seen.counts) == (1, (1, 0))


@pytest.mark.parametrize("sway", [0.015, 0.02, 0.03, 0.04, 0.05])
@pytest.mark.parametrize("frames_a_side", [2, 5, 10])
@pytest.mark.parametrize("fps", [5.0, float("inf")], ids=["in time", "within one time stamp"])
def test_who_stands_in_the_doorway_and_sways_enters_at_most_once(
    stores: Stores, sway: float, frames_a_side: int, fps: float
) -> None:
    xs = [0.65 + (sway if n // frames_a_side % 2 else -sway) for n in range(300)]
    seen = follow(stores, scene(*way("S", *xs), fps=fps))
    assert seen.count("entry") <= 1
    assert seen.count("exit") == 0


@pytest.mark.parametrize("frames_a_track", [7, 25])
def test_who_sways_in_the_doorway_and_is_lost_again_and_again_enters_at_most_once(
    stores: Stores, frames_a_track: int
) -> None:
    """Each time for longer than an id is continued by another."""
    frames: list[list[Person]] = []
    for number in range(20):
        xs = [0.65 + (0.04 if n // 4 % 2 else -0.04) for n in range(frames_a_track)]
        frames += [*way(f"S{number}", *xs), *[[]] * 8]
    seen = follow(stores, scene(*frames))
    assert seen.count("entry") <= 1
    assert seen.count("exit") <= 1


def test_who_comes_to_the_doorway_sways_and_walks_off_again_has_come_and_left(
    stores: Stores,
) -> None:
    sways = [0.65 + (0.03 if n // 3 % 2 else -0.03) for n in range(60)]
    xs = [*steps(OUTSIDE, 0.62, 8), *sways, *steps(0.62, OUTSIDE, 8)]
    assert follow(stores, scene(*way("S", *xs))).counts == (1, 1)


def test_who_comes_to_the_doorway_sways_and_walks_in_has_entered(stores: Stores) -> None:
    sways = [0.65 + (0.03 if n // 3 % 2 else -0.03) for n in range(60)]
    xs = [*steps(OUTSIDE, 0.62, 8), *sways, *steps(0.68, INSIDE, 8)]
    assert follow(stores, scene(*way("S", *xs))).counts == (1, 0)


@pytest.mark.parametrize("depth", [0.7, 0.75, 0.9])
def test_who_walks_in_and_out_again_has_come_and_left(stores: Stores, depth: float) -> None:
    there, back = steps(OUTSIDE, depth, 12), steps(depth, OUTSIDE, 12)
    assert follow(stores, scene(*way("A", *there, *back))).counts == (1, 1)


def test_frames_with_one_time_stamp_give_every_crossing_a_time_of_its_own(stores: Stores) -> None:
    """A clock that stands still: in, out and in again at once."""
    xs = [*steps(OUTSIDE, 0.8, 8), *steps(0.8, OUTSIDE, 8), *steps(OUTSIDE, 0.8, 8)]
    seen = follow(stores, scene(*way("A", *xs), fps=float("inf")))
    assert seen.counts == (2, 1)
    assert len(seen.keys) == len(set(seen.keys)) == 3


def test_who_walks_in_and_out_three_times_has_come_and_left_three_times(stores: Stores) -> None:
    there, back = steps(0.5, 0.8, 8), steps(0.8, 0.5, 8)
    assert follow(stores, scene(*way("A", *[*there, *back] * 3))).counts == (3, 3)


@pytest.mark.parametrize(
    ("frames", "fps"), [(5, 2.0), (8, 5.0), (20, 5.0), (90, 30.0), (400, 5.0), (2_000, 30.0)]
)
def test_a_walk_in_is_one_entry_at_any_pace(stores: Stores, frames: int, fps: float) -> None:
    assert follow(stores, scene(*way("A", *steps(0.3, 0.95, frames)), fps=fps)).counts == (1, 0)


@pytest.mark.parametrize("seed", range(10))
def test_who_trembles_while_crossing_slowly_enters_once(stores: Stores, seed: int) -> None:
    chance = random.Random(seed)
    xs = [x + chance.uniform(-0.025, 0.025) for x in steps(0.5, 0.8, 200)]
    assert follow(stores, scene(*way("A", *xs))).counts == (1, 0)


@pytest.mark.parametrize("ids_that_change", [0, 1, 3, 6])
def test_a_group_that_walks_in_close_together_is_counted_one_by_one(
    stores: Stores, ids_that_change: int
) -> None:
    xs = steps(0.4, 0.9, 25)
    ways = [way(f"p{n}", *xs, y=0.3 + 0.07 * n) for n in range(6)]
    others = {f"p{n}": f"q{n}" for n in range(ids_that_change)}
    frames = renamed(together(*ways), dict.fromkeys(range(12, 25), others))
    assert follow(stores, scene(*frames)).counts == (6, 0)


@pytest.mark.parametrize("label", ["person", "Person", "PERSON", " person ", "\tPerson\n"])
def test_a_label_means_a_person_in_upper_and_lower_case(stores: Stores, label: str) -> None:
    frames = [f for n in range(5) for f in way(f"w{n}", *steps(OUTSIDE, INSIDE, 12))]
    assert follow(stores, scene(*frames, label=label)).counts == (5, 0)


def test_a_label_that_only_contains_the_word_person_is_nobody(stores: Stores) -> None:
    frames = way("A", *steps(OUTSIDE, INSIDE, 20))
    assert follow(stores, scene(*frames, label="person on a poster")).counts == (0, 0)


# -- recordings of the kind, built here; the files themselves where they are present ---------------

CASES = Path(__file__).parents[3] / "shared" / "cases"


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("two_people_one_id_flickers", {2}),
        ("one_id_on_four_boxes", {0}),
        ("stands_in_the_doorway", {0, 1}),
        ("label_with_a_capital", {5}),
    ],
)
def test_a_recording_is_counted_as_it_happened(
    stores: Stores, name: str, entries: set[int]
) -> None:
    recording = CASES / f"{name}.ndjson"
    if not recording.is_file():
        pytest.skip("the recordings are not part of the repository")
    events = [json.loads(line) for line in recording.read_text(encoding="utf-8").splitlines()]
    seen = follow(stores, on_the_morning_of_the_scenes(events))
    assert (seen.rejected, seen.count("exit")) == (0, 0)
    assert seen.count("entry") in entries


def on_the_morning_of_the_scenes(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same events of that day, from ten on."""
    return [
        e | {"captured_at": f"{e['captured_at'][:11]}10{e['captured_at'][13:]}"} for e in events
    ]


# -- the width of a body, not a share of the picture, is the measure -------------------------------


@pytest.mark.parametrize("width", [0.02, 0.08, 0.15])
@pytest.mark.parametrize("bodies", [0.15, 0.7, 1.4])
@pytest.mark.parametrize("frames_a_side", [3, 15])
def test_who_sways_in_the_doorway_enters_at_most_once_near_and_far_from_the_camera(
    stores: Stores, width: float, bodies: float, frames_a_side: int
) -> None:
    sways = [0.65 + width * bodies * (1 if n // frames_a_side % 2 else -1) for n in range(300)]
    seen = follow(stores, scene(*way("S", *sways), width=width))
    assert seen.count("entry") <= 1
    assert seen.count("exit") == 0


@pytest.mark.parametrize("width", [0.02, 0.08, 0.3])
def test_who_walks_in_by_less_than_two_bodies_turns_and_leaves_has_come_and_left(
    stores: Stores, width: float
) -> None:
    outside, inside = 0.65 - 2 * width, min(0.65 + 1.5 * width, 0.99)
    there, back = steps(outside, inside, 12), steps(inside, outside, 12)
    stands = [inside] * 10
    assert follow(stores, scene(*way("A", *there, *stands, *back), width=width)).counts == (1, 1)


def test_a_box_that_trembles_before_the_line_has_not_crossed_it(stores: Stores) -> None:
    chance = random.Random(7)
    xs = [0.64 + chance.uniform(-0.02, 0.02) for _ in range(300)]
    assert follow(stores, scene(*way("A", *xs), width=0.3)).counts == (0, 0)


# -- ids that move from one person to another ------------------------------------------------------


@pytest.mark.parametrize("at", range(6, 14))
def test_two_people_who_cross_each_other_and_exchange_ids_are_one_in_and_one_out(
    stores: Stores, at: int
) -> None:
    frames = together(
        way("A", *steps(OUTSIDE, INSIDE, 20), y=0.5), way("B", *steps(INSIDE, OUTSIDE, 20), y=0.52)
    )
    seen = follow(stores, scene(*renamed(frames, dict.fromkeys(range(at, 20), SWAPPED))))
    assert seen.counts == (1, 1)


def test_an_id_that_is_handed_across_the_picture_takes_nobody_over_the_line(
    stores: Stores,
) -> None:
    """Anna stands outside, Ben inside; the id of the one is again and again on the other."""
    frames = together(way("A", *[0.3] * 40), way("B", *[0.9] * 40))
    swaps = {n: SWAPPED for n in range(40) if n // 5 % 2}
    assert follow(stores, scene(*renamed(frames, swaps))).counts == (0, 0)
    # There is one id only, and it is on one of them at a time.
    alone = way("7", *[0.3 if n // 5 % 2 else 0.9 for n in range(60)])
    assert follow(stores, scene(*alone)).counts == (0, 0)


def test_a_box_in_the_wrong_place_for_a_frame_does_not_end_a_visit(stores: Stores) -> None:
    frames = way("A", *[0.8] * 20)
    frames[9] = [("A", 0.1, 0.6)]
    seen = follow(stores, scene(*frames))
    assert seen.counts == (0, 0)
    assert [v["track_id"] for v in seen.visits.values()] == ["A"]


def test_an_id_that_comes_back_after_an_outage_is_another_person(stores: Stores) -> None:
    """The camera sends nothing for 50 minutes; its tracker gives the id to who comes next."""
    events = scene(*way("7", *steps(OUTSIDE, INSIDE, 20)) * 2)
    for index, event in enumerate(events[20:]):
        event["captured_at"] = f"2024-05-01T10:50:{index // 5:02}.{index % 5 * 2}00000Z"
    assert follow(stores, events).counts == (2, 0)


# -- the edge of the picture -----------------------------------------------------------------------


def at_the_edge(stores: Stores, x: float) -> Stores:
    """The chain with the line of B01-entrance at another place."""
    chain = stores.model_dump()
    camera = chain["branches"][0]["cameras"][0]
    camera["lines"] = [{"line_id": "door", "kind": "entrance", "a": (x, 0.95), "b": (x, 0.05)}]
    return Stores.model_validate(chain)


def test_at_a_line_beside_the_edge_who_appears_beyond_it_came_in_over_it(stores: Stores) -> None:
    inwards = steps(0.06, 0.5, 14)
    seen = follow(at_the_edge(stores, 0.03), scene(*way("A", *inwards), *[[]] * 15))
    assert seen.counts == (1, 0)


def test_at_a_line_beside_the_edge_who_vanishes_on_it_went_out_over_it(stores: Stores) -> None:
    outwards = steps(0.5, 0.05, 14)
    seen = follow(at_the_edge(stores, 0.03), scene(*way("A", *outwards), *[[]] * 15))
    assert seen.counts == (0, 1)


def test_who_stands_beside_the_edge_and_is_lost_has_not_left(stores: Stores) -> None:
    frames = [*way("A", *[0.08] * 20), *[[]] * 15] * 3
    assert follow(at_the_edge(stores, 0.03), scene(*frames)).counts == (0, 0)


def test_who_is_lost_one_frame_beyond_the_line_has_crossed_it(stores: Stores) -> None:
    frames = [*way("A", *steps(OUTSIDE, 0.69, 12)), *[[]] * 15]
    assert follow(stores, scene(*frames)).counts == (1, 0)


# -- frame numbers, sizes, and the end of a run ----------------------------------------------------


@pytest.mark.parametrize("at", [3, 12, 30])
def test_a_camera_that_counts_its_frames_from_zero_again_goes_on(stores: Stores, at: int) -> None:
    frames = [*way("A", *steps(OUTSIDE, INSIDE, 20)), *[[]] * 15, *way("B", *steps(0.4, 0.9, 20))]
    events = scene(*frames)
    for number, event in enumerate(events[at:]):
        event["frame_index"] = number
    assert follow(stores, events, cuts=[at, at + 1]).counts == (2, 0)
    in_order = by_index(parsed(stores, events))
    assert follow_frames(stores, in_order).counts == (2, 0)


def test_one_absurd_frame_number_does_not_make_all_others_late(stores: Stores) -> None:
    events = scene(*way("A", *steps(OUTSIDE, INSIDE, 20)))
    events[3]["frame_index"] = 2**60
    assert follow(stores, events).counts == (1, 0)


def test_a_picture_that_changes_its_size_moves_nobody(stores: Stores) -> None:
    events = scene(*way("A", *[0.62] * 10, *steps(0.62, INSIDE, 12)))
    for event in events[8:]:
        event["image"] = {"width": 1920, "height": 1440}
    assert follow(stores, events).counts == (1, 0)


def test_of_a_camera_that_leaves_out_frames_the_last_second_counts(stores: Stores) -> None:
    events = scene(*way("A", *[0.5] * 10, *steps(0.5, 0.72, 10)))
    for event in events:
        event["frame_index"] *= 2
    assert follow(stores, events).counts == (1, 0)


def test_who_crosses_in_the_last_frame_of_a_run_is_counted_when_the_run_is_over(
    stores: Stores,
) -> None:
    events = scene(*way("A", *steps(0.4, 0.7, 12)))
    events[-1]["frame_index"] += 1  # and the frame before it is lost
    run = CameraRun(layouts_by_camera(stores)[CAMERA_ID], Rules())
    list(track_frames(("B01", CAMERA_ID, "run-1"), parsed(stores, events), run))
    ended = run.end()
    assert [c.direction for c in ended.crossings] == ["entry"]
    assert not list(run.open_visits())
    assert run.end().crossings == []
