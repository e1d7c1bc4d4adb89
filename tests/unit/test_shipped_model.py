"""The model that ships: it sees the people of the simulated shop, and its card describes it."""

from __future__ import annotations

from datetime import datetime, timezone
from importlib.resources import files
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from conf.settings import CONF_DIR, InferenceSettings, load_settings
from conf.stores import load_stores
from inference_service.detections import Detections
from inference_service.detectors import build_detector
from inference_service.trackers.bytetrack import iou
from simulator.shop import HEIGHT, WIDTH, ShopDay, Shot

MODELS = files("inference_service") / "models"
OPENING = datetime(2024, 5, 1, 8, tzinfo=timezone.utc)


def shots(camera_id: str) -> list[Shot]:
    branch = load_stores(CONF_DIR / "stores" / "demo.toml").branches[0]
    day = ShopDay(branch, shoppers=30, seed=99, start=OPENING, open_seconds=60.0)
    return [s for s in islice(day.shots(camera_id), 100, 300, 10) if s.people]


def well_inside(box: tuple[float, float, float, float]) -> bool:
    return box[0] > 4 and box[2] < WIDTH - 4 and box[1] > 0 and box[3] < HEIGHT


def matched(shot: Shot, found: Detections) -> tuple[int, int]:
    """People found, and people in the picture who are not cut by its edge."""
    people = np.array([box for _, box in shot.people if well_inside(box)], np.float64)
    if not len(people):
        return 0, 0
    if not len(found):
        return 0, len(people)
    return int((iou(people, found.boxes).max(axis=1) >= 0.5).sum()), len(people)


@pytest.mark.requirement("V2")
@pytest.mark.parametrize("camera_id", ["B01-entrance", "B01-till"])
def test_it_finds_the_people_of_the_shop(tmp_path: Path, camera_id: str) -> None:
    settings = load_settings(var_dir=tmp_path, inference=InferenceSettings(threads=1))
    detector = build_detector(settings, "onnx")
    hits = people = found = 0
    for shot in shots(camera_id):
        seen = detector.detect({camera_id: shot.image})[camera_id]
        some, all_of_them = matched(shot, seen)
        hits, people, found = hits + some, people + all_of_them, found + len(seen)
    assert people > 30
    assert hits / people > 0.85
    assert found < 1.2 * (people + 20)  # some stand at the edge


def test_its_card_lies_beside_it_and_names_its_licence() -> None:
    card = (MODELS / "shop_person.md").read_text(encoding="utf-8")
    assert "AGPL-3.0" in card
    assert "mAP50" in card


def test_it_has_one_class_and_names_no_folder() -> None:
    session = onnxruntime.InferenceSession(str(MODELS / "shop_person.onnx"))
    facts = session.get_modelmeta().custom_metadata_map
    assert facts["names"] == "{0: 'person'}"
    assert not [key for key, value in facts.items() if value.startswith("/") or "/tmp" in value]  # noqa: S108


def test_it_takes_batches_and_sizes_as_they_come() -> None:
    session = onnxruntime.InferenceSession(str(MODELS / "shop_person.onnx"))
    for shape in ((1, 3, 192, 320), (2, 3, 96, 160)):
        (boxes,) = session.run(None, {"images": np.zeros(shape, np.float32)})
        assert boxes.shape[:2] == (shape[0], 5)
