"""The default detector on real people: its model by npm, Debian's clip, boxes found by eye."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.footage import ANNOTATIONS, compare
from cli.main import app
from conf.settings import Settings, load_settings
from inference_service.detections import Image
from inference_service.detectors import Detector, build_detector
from inference_service.footage import fetch_clip

pytestmark = pytest.mark.timeout(600)  # the clip is in a package of 96 MB


@pytest.fixture(scope="module")
def defaults() -> Settings:
    return load_settings()


@pytest.fixture(scope="module")
def detector(defaults: Settings) -> Detector:
    return build_detector(defaults)


@pytest.fixture(scope="module")
def frames(defaults: Settings) -> dict[int, Image]:
    """The annotated frames of the clip."""
    clip = fetch_clip(defaults.cache_dir)
    assert clip is not None, "the clip is in Debian's package opencv-doc"
    capture = cv2.VideoCapture(str(clip))
    wanted = {int(index) for index in ANNOTATIONS["people"]}
    pictures = (capture.read()[1] for _ in range(max(wanted) + 1))
    return {n: np.asarray(one, np.uint8) for n, one in enumerate(pictures) if n in wanted}


def event(index: int, image: Image, detector: Detector) -> dict[str, Any]:
    """What the detector finds, in the layout of an event."""
    height, width = image.shape[:2]
    found = detector.detect({"street": image})["street"]
    shares = (found.boxes / [width, height, width, height]).tolist()
    seen = [
        {"bbox": box, "confidence": sure}
        for box, sure in zip(shares, found.confidence, strict=True)
    ]
    return {"frame_index": index, "image": {"width": width, "height": height}, "detections": seen}


@pytest.mark.requirement("V2")
def test_nine_of_ten_people_of_a_street_are_found_and_few_others(
    detector: Detector, frames: dict[int, Image], tmp_path: Path
) -> None:
    events = tmp_path / "events.ndjson"
    lines = [json.dumps(event(n, image, detector)) for n, image in frames.items()]
    events.write_text("\n".join(lines))
    found = compare(events)
    assert found["recall"] >= 0.9
    assert found["precision"] >= 0.9
    assert (detector.name, detector.device) == ("ssd", "cpu")


def test_people_are_found_at_other_sizes_of_the_picture(
    detector: Detector, frames: dict[int, Image]
) -> None:
    street = frames[376]  # four people, all apart
    sizes = {"small": (480, 360), "large": (1920, 1440), "odd": (701, 533)}
    batch = {name: np.asarray(cv2.resize(street, size), np.uint8) for name, size in sizes.items()}
    people = np.array(ANNOTATIONS["people"]["376"])
    for name, found in detector.detect(batch).items():
        centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2 * street.shape[1] / sizes[name][0]
        inside = (centres[:, None] > people[:, :2]) & (centres[:, None] < people[:, 2:])
        assert inside.all(axis=2).any(axis=0).sum() >= 3, name


def test_nobody_is_found_where_nobody_is(detector: Detector) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    plain = {"grey": np.full((480, 640, 3), 128, np.uint8), "noise": noise, "tiny": noise[:1, :1]}
    assert {len(found) for found in detector.detect(plain).values()} == {0}


def test_the_list_of_models_has_licence_and_place(detector: Detector) -> None:
    listed = CliRunner().invoke(app, ["models", "list"]).output.splitlines()
    (ssd,) = [line for line in listed if line.split()[:1] == ["ssd"]]
    assert ssd.split()[-4:-1] == ["Apache-2.0", "10.0", "yes"]
    assert ssd.endswith("ssd_mobilenetv2_oidv4.tflite")
