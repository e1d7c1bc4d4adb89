"""Detections as a value, and the two detectors without a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conf.settings import InferenceSettings, Settings, SettingsError
from inference_service.detections import Detections
from inference_service.detectors import build_detector
from inference_service.detectors.hog import drop_containers
from inference_service.detectors.motion import MotionDetector, merge_parts
from inference_service.footage import draw_clip
from inference_service.sources import SourceOptions, open_source

BOX = [[10.0, 20.0, 30.0, 80.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": np.zeros((1, 3))}, "shape"),
        ({"boxes": np.array([[30.0, 20.0, 10.0, 80.0]])}, "x1 <= x2"),
        ({"boxes": np.array([[np.nan, 20.0, 10.0, 80.0]])}, "finite"),
        ({"confidence": np.array([1.5])}, "0..1"),
        ({"confidence": np.array([np.nan])}, "0..1"),
        ({"confidence": np.array([0.5, 0.5])}, "shape"),
        ({"classes": ()}, "1 boxes need 1 classes"),
        ({"classes": ("",)}, "empty"),
        ({"track_ids": ("1", "2")}, "track_ids"),
    ],
)
def test_detections_that_do_not_fit_are_refused(change: dict, message: str) -> None:
    fields = {"boxes": np.array(BOX), "confidence": np.array([0.9]), "classes": ("person",)}
    with pytest.raises(ValueError, match=message):
        Detections(**{**fields, **change})


def test_detections_cannot_be_changed_from_outside() -> None:
    buffer = np.array(BOX)
    seen = Detections.people(buffer, [0.9])
    buffer[0, 0] = -1
    assert seen.boxes[0, 0] == 10
    with pytest.raises(ValueError, match="read-only"):
        seen.boxes[0, 0] = -1


def test_rows_are_selected_by_mask_or_position() -> None:
    both = Detections.people([*BOX, [0, 0, 5, 5]], [0.9, 0.4])
    assert both.select([1]).confidence.tolist() == [0.4]
    assert both.select(both.confidence > 0.5).boxes.tolist() == BOX
    assert len(both.select([])) == 0
    assert len(Detections.empty().select([])) == 0


def test_an_unknown_detector_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(
        SettingsError, match="'yolo9' is unknown; known: hog, motion, onnx, ssd, yolo"
    ):
        build_detector(Settings(), "yolo9")


@pytest.mark.parametrize("name", ["hog", "motion"])
def test_a_detector_sees_nobody_in_an_empty_picture(name: str) -> None:
    detector = build_detector(Settings(inference=InferenceSettings(hog_upscale=1.0)), name)
    image = np.full((240, 320, 3), 128, np.uint8)
    for _ in range(4):
        seen = detector.detect({"a": image, "b": image[:120]})
        assert {camera: len(found) for camera, found in seen.items()} == {"a": 0, "b": 0}
    assert detector.name == name


def test_motion_finds_the_figures_as_upright_boxes(tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "clip.mp4", seconds=6, fps=10)
    detector = MotionDetector()
    frames = open_source(str(clip), SourceOptions(fps=5))
    seen = [detector.detect({"entrance": f.image})["entrance"] for f in frames]
    boxes = np.vstack([s.boxes for s in seen[5:]])
    size = boxes[:, 2:] - boxes[:, :2]
    assert len(boxes) > 25
    assert np.median(size[:, 1] / size[:, 0]) > 1.5
    assert 80 < np.median(size[:, 1]) < 140


def test_each_camera_has_its_own_background() -> None:
    rng = np.random.default_rng(1)
    rooms = {name: rng.integers(0, 255, (240, 320, 3), np.uint8) for name in ("a", "b")}
    person = {name: room.copy() for name, room in rooms.items()}
    person["a"][100:180, 100:130] = 250
    detector = MotionDetector()
    for _ in range(10):
        detector.detect(rooms)
    seen = detector.detect(person)
    assert (len(seen["a"]), len(seen["b"])) == (1, 0)


def test_a_camera_that_changes_its_resolution_learns_its_background_again() -> None:
    room = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)
    detector = MotionDetector()
    for _ in range(10):
        detector.detect({"a": room})
    smaller = np.ascontiguousarray(room[:120, :160])
    assert [len(detector.detect({"a": smaller})["a"]) for _ in range(5)] == [0] * 5


def test_head_and_legs_of_one_person_become_one_box() -> None:
    parts = np.array([[10, 10, 20, 20], [8, 22, 22, 50], [60, 10, 75, 50]], float)
    assert sorted(merge_parts(parts).tolist()) == [[8, 10, 22, 50], [60, 10, 75, 50]]


def test_a_large_box_around_a_surer_person_is_dropped() -> None:
    found = Detections.people([[0, 0, 100, 200], [20, 50, 50, 130], [200, 0, 240, 90]], [0.6] * 3)
    assert drop_containers(found).boxes[:, 0].tolist() == [20, 200]
