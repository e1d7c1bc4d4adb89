"""Ids stay with their people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

import pytest

from inference_service.detections import Detections
from inference_service.tracker import ByteTracker

START = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
STEP = timedelta(seconds=0.2)
Place = tuple[float, float]


def people(*places: Place, confidence: float = 0.9) -> Detections:
    """People of 40 x 100 pixels whose feet are at these places."""
    boxes = [[x - 20, y - 100, x + 20, y] for x, y in places]
    return Detections.people(boxes, [confidence] * len(boxes)) if boxes else Detections.empty()


def follow(pictures: Iterable[Detections], tracker: ByteTracker | None = None) -> list[dict]:
    """What the tracker shows: one {track id: x of the feet} per picture, at 5 a second."""
    tracker = tracker or ByteTracker()
    shown = []
    for number, picture in enumerate(pictures):
        out = tracker.update(picture, START + number * STEP)
        centres = (out.boxes[:, 0] + out.boxes[:, 2]) / 2
        shown.append(dict(zip(out.track_ids or (), centres.tolist(), strict=True)))
    return shown


def test_an_id_is_shown_from_the_second_picture_on() -> None:
    shown = follow([people((100 + 15 * i, 300)) for i in range(5)])
    assert [list(s) for s in shown] == [[], ["1"], ["1"], ["1"], ["1"]]
    assert shown[-1]["1"] == pytest.approx(160, abs=8)


def test_a_flicker_of_one_picture_gets_no_id() -> None:
    pictures = [people((100, 300)), people(), people((400, 300)), people()]
    assert follow(pictures) == [{}, {}, {}, {}]


def test_an_id_survives_a_short_occlusion() -> None:
    hidden = range(8, 13)  # one second
    shown = follow([people() if i in hidden else people((100 + 15 * i, 300)) for i in range(20)])
    assert all(not shown[i] for i in hidden)
    assert {key for s in shown for key in s} == {"1"}
    assert shown[-1]["1"] == pytest.approx(100 + 15 * 19, abs=8)


def test_an_id_ends_after_a_long_absence() -> None:
    gone = range(5, 25)
    shown = follow([people() if i in gone else people((100, 300)) for i in range(30)])
    assert list(shown[-1]) == ["2"]


def test_two_people_who_cross_keep_their_ids() -> None:
    pictures = [people((100 + 18 * i, 300), (460 - 18 * i, 320)) for i in range(20)]
    shown = follow(pictures)
    start, end = shown[1], shown[-1]
    assert set(start) == set(end) == {"1", "2"}
    (left, right) = sorted(start, key=lambda key: start[key])
    assert end[left] > end[right]


def test_a_doubtful_box_keeps_a_track_but_opens_none() -> None:
    doubtful = [people((100 + 10 * i, 300), confidence=0.4) for i in range(6)]
    assert follow(doubtful) == [{}] * 6
    sure = [people((100 + 10 * i, 300)) for i in range(3)]
    shown = follow([*sure, *doubtful[3:]])
    assert [list(s) for s in shown[3:]] == [["1"]] * 3


def test_a_camera_that_drops_pictures_keeps_its_tracks() -> None:
    tracker = ByteTracker()
    ids = set()
    for i in [0, 1, 2, 5, 6, 10, 11]:
        out = tracker.update(people((100 + 15 * i, 300)), START + i * STEP)
        ids.update(out.track_ids or ())
    assert ids == {"1"}


def test_a_reset_counts_from_one_again() -> None:
    tracker = ByteTracker()
    follow([people((100, 300))] * 3, tracker)
    tracker.reset()
    assert [list(s) for s in follow([people((300, 300))] * 2, tracker)] == [[], ["1"]]


def test_classes_are_not_mixed() -> None:
    person = people((100, 300))
    cart = Detections(person.boxes, person.confidence, ("cart",))
    assert follow([person, cart, person]) == [{}, {}, {}]
