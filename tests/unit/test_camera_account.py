"""The account of `make verify-cameras`: every published frame is everywhere, once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from verification.cameras.frames import Evidence, Frame, find_faults

NOON = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
DOOR, TILL = "B01-entrance", "B01-till"
TOPICS = {DOOR: "detections", TILL: "persistent://retail/metadata/events"}


def frames(topic: str, count: int, people: int = 2) -> list[Frame]:
    return [
        Frame(topic, "run", index, NOON + timedelta(seconds=index / 5), people)
        for index in range(count)
    ]


WHOLE = Evidence(
    bronze={DOOR: frames("detections", 3), TILL: frames(TOPICS[TILL] + "-partition-1", 2, 1)},
    silver={DOOR: 6, TILL: 2},
    counted={DOOR: 3, TILL: 2},
    late=0,
    quarantined=0,
    twice={"silver.detections": 0},
)
PUBLISHED = {DOOR: 3, TILL: 2}


def test_a_run_of_which_all_is_there_once_has_no_faults() -> None:
    assert find_faults(WHOLE, PUBLISHED, TOPICS) == []


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (
            replace(WHOLE, counted={DOOR: 2, TILL: 2}),
            "B01-entrance: 3 frames published, 2 frames counted",
        ),
        (
            replace(WHOLE, silver={DOOR: 6, TILL: 3}),
            "B01-till: 2 boxes in bronze, 3 in silver",
        ),
        (replace(WHOLE, late=1), "1 frames came too late to be followed"),
        (replace(WHOLE, quarantined=4), "4 frames in quarantine"),
        (replace(WHOLE, twice={"silver.detections": 5}), "5 keys more than once in silver"),
        (
            replace(WHOLE, bronze={**WHOLE.bronze, TILL: frames("detections", 2, 1)}),
            "B01-till: came over detections",
        ),
        (
            replace(WHOLE, bronze={**WHOLE.bronze, "B03-entrance": []}),
            "cameras that nobody played: B03-entrance",
        ),
    ],
)
def test_what_does_not_hold_is_one_sentence(found: Evidence, fault: str) -> None:
    (said,) = find_faults(found, PUBLISHED, TOPICS)
    assert said.startswith(fault)


def test_a_frame_that_is_lost_is_missed_in_bronze() -> None:
    found = replace(WHOLE, bronze={**WHOLE.bronze, DOOR: frames("detections", 2, 3)})
    assert find_faults(found, PUBLISHED, TOPICS) == [
        "B01-entrance: 3 frames published, 2 rows in bronze",
        "B01-entrance: 3 frames published, 2 different frames in bronze",
    ]


def test_a_frame_in_the_place_of_another_is_no_substitute() -> None:
    twice = [*frames("detections", 2), frames("detections", 1)[0]]
    found = replace(WHOLE, bronze={**WHOLE.bronze, DOOR: twice})
    assert find_faults(found, PUBLISHED, TOPICS) == [
        "B01-entrance: 3 frames published, 2 different frames in bronze"
    ]


def test_a_camera_of_which_nothing_came_is_lost_altogether() -> None:
    empty = replace(WHOLE, bronze={}, silver={}, counted={})
    assert len(find_faults(empty, PUBLISHED, TOPICS)) == 6
