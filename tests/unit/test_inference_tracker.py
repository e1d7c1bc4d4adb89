"""Each person keeps one id."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

import cv2
import numpy as np
import pytest

from conf.settings import InferenceSettings, SettingsError
from inference_service.detections import Detections
from inference_service.frames import Frame
from inference_service.trackers import KNOWN, Tracker, build_tracker
from inference_service.trackers.appearance import CameraMotion, describe
from inference_service.trackers.bytetrack import ByteTracker

START = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)
STEP = timedelta(seconds=0.2)
Place = tuple[float, float]


def people(*places: Place, confidence: float = 0.9) -> Detections:
    """People of 40 x 100 pixels whose feet are at these places."""
    boxes = [[x - 20, y - 100, x + 20, y] for x, y in places]
    return Detections.people(boxes, [confidence] * len(boxes)) if boxes else Detections.empty()


def at(number: int, image: np.ndarray | None = None) -> Frame:
    """Picture `number` of a camera with five a second."""
    image = np.full((480, 640, 3), 128, np.uint8) if image is None else image
    return Frame(image, number, START + number * STEP)


def follow(pictures: Iterable[Detections], tracker: Tracker | None = None) -> list[dict]:
    """Output of the tracker: one {track id: x of the feet} per picture, at 5 a second."""
    tracker = tracker or ByteTracker()
    shown = []
    for number, picture in enumerate(pictures):
        out = tracker.update(picture, at(number))
        centres = (out.boxes[:, 0] + out.boxes[:, 2]) / 2
        shown.append(dict(zip(out.track_ids or (), centres.tolist(), strict=True)))
    return shown


@pytest.fixture(params=KNOWN)
def tracker(request: pytest.FixtureRequest) -> Tracker:
    """Each of the trackers, at five pictures a second."""
    return build_tracker(InferenceSettings(), 5.0, request.param)


@pytest.mark.requirement("V3")
def test_an_id_is_shown_from_the_second_picture_on(tracker: Tracker) -> None:
    shown = follow([people((100 + 15 * i, 300)) for i in range(5)], tracker)
    assert [list(s) for s in shown] == [[], ["1"], ["1"], ["1"], ["1"]]
    assert shown[-1]["1"] == pytest.approx(160, abs=8)


def test_a_flicker_of_one_picture_gets_no_id(tracker: Tracker) -> None:
    pictures = [people((100, 300)), people(), people((400, 300)), people()]
    assert follow(pictures, tracker) == [{}, {}, {}, {}]


def test_an_id_survives_a_short_occlusion(tracker: Tracker) -> None:
    hidden = range(8, 13)  # one second
    walk = [people() if i in hidden else people((100 + 15 * i, 300)) for i in range(20)]
    shown = follow(walk, tracker)
    assert all(not shown[i] for i in hidden)
    assert {key for s in shown for key in s} == {"1"}
    assert shown[-1]["1"] == pytest.approx(100 + 15 * 19, abs=8)


def test_an_id_ends_after_a_long_absence(tracker: Tracker) -> None:
    gone = range(5, 25)
    shown = follow([people() if i in gone else people((100, 300)) for i in range(30)], tracker)
    assert list(shown[-1]) == ["2"]


def test_two_people_who_cross_keep_their_ids(tracker: Tracker) -> None:
    pictures = [people((100 + 18 * i, 300), (460 - 18 * i, 320)) for i in range(20)]
    shown = follow(pictures, tracker)
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


def test_a_camera_that_drops_pictures_keeps_its_tracks(tracker: Tracker) -> None:
    ids = set()
    for i in [0, 1, 2, 5, 6, 10, 11]:
        ids.update(tracker.update(people((100 + 15 * i, 300)), at(i)).track_ids or ())
    assert ids == {"1"}


def test_a_reset_counts_from_one_again(tracker: Tracker) -> None:
    follow([people((100, 300))] * 3, tracker)
    tracker.reset()
    assert [list(s) for s in follow([people((300, 300))] * 2, tracker)] == [[], ["1"]]


def test_an_empty_picture_shows_nobody_with_an_id(tracker: Tracker) -> None:
    out = tracker.update(Detections.empty(), at(0))
    assert len(out) == 0


def test_boxes_outside_of_the_picture_are_followed_like_others(tracker: Tracker) -> None:
    outside = Detections.people([[-80, -80, -20, -10], [630, 470, 700, 600]], [0.9, 0.9])
    assert [len(s) for s in follow([outside] * 3, tracker)] == [0, 2, 2]


def test_an_unknown_tracker_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="'sort' is unknown; known: botsort, bytetrack"):
        build_tracker(InferenceSettings(), 5.0, "sort")


def dressed(*coats: tuple[float, float, tuple[int, int, int]]) -> tuple[np.ndarray, Detections]:
    """A picture with people at (x, y) in coats of these colours, and their boxes."""
    image = np.full((480, 640, 3), 128, np.uint8)
    found = people(*[(x, y) for x, y, _ in coats])
    for (x1, y1, x2, y2), (_, _, coat) in zip(found.boxes.astype(int), coats, strict=True):
        cv2.rectangle(image, (x1, y1), (x2, y2), coat, -1)
    return image, found


def test_looks_distinguish_a_red_coat_from_a_blue_one() -> None:
    image, found = dressed(
        (100, 300, (0, 0, 200)), (300, 300, (200, 0, 0)), (500, 300, (0, 0, 190))
    )
    one, other, same = describe(image, found.boxes)
    assert one @ same == pytest.approx(1.0)
    assert one @ other < 0.2


def test_a_person_who_comes_back_elsewhere_is_recognised_by_the_coat() -> None:
    tracker = build_tracker(InferenceSettings(), 5.0, "deepsort")
    ids: list[str] = []
    for number, x in enumerate([100, 110, 120, None, None, None, 190, 200]):
        coats = [] if x is None else [(x, 300, (0, 0, 200))]
        image, found = dressed(*coats)
        ids += tracker.update(found, at(number, image)).track_ids or ()
    assert set(ids) == {"1"}


def test_a_camera_that_is_pushed_is_not_taken_for_people_who_move() -> None:
    grain = np.random.default_rng(3).integers(0, 255, (60, 80, 3), np.uint8)
    scene = cv2.resize(grain, (800, 600), interpolation=cv2.INTER_NEAREST)
    motion = CameraMotion()
    nobody = np.empty((0, 4))
    assert motion.estimate(scene[50:530, 50:690], nobody) is None
    moved = motion.estimate(scene[50:530, 70:710], nobody)
    assert moved == pytest.approx([1, 0, -20, 0, 1, 0], abs=1.5)


def test_classes_are_not_mixed() -> None:
    person = people((100, 300))
    cart = Detections(person.boxes, person.confidence, ("cart",))
    assert follow([person, cart, person]) == [{}, {}, {}]
