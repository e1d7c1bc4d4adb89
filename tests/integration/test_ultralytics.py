"""The detector `yolo` on the real ultralytics and torch, which the extra `yolo` installs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from conf.settings import Settings, SettingsError, load_settings
from conf.vendor import keep_ultralytics_at_home
from inference_service.detections import Image
from inference_service.detectors import build_detector
from inference_service.detectors.weights import SHIPPED
from tests.support.rendered_people import assert_same, rendered_people


def settings(**inference: Any) -> Settings:
    return load_settings(inference=inference)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Image]:
    return rendered_people(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    """A YOLO11n as .pt with random weights and the class names of ultralytics."""
    keep_ultralytics_at_home(tmp_path)
    import ultralytics  # noqa: PLC0415

    path = tmp_path / "untrained.pt"
    ultralytics.YOLO("yolo11n.yaml", task="detect").save(str(path))
    return path


@pytest.mark.requirement("V2")
def test_the_shipped_weights_give_the_same_as_in_onnxruntime(pictures: list[Image]) -> None:
    images = {str(n): picture for n, picture in enumerate(pictures)}
    images["small"] = np.asarray(cv2.resize(pictures[0], (320, 240)), np.uint8)
    ultralytics = build_detector(settings(weights=SHIPPED, device="cpu"), "yolo")
    seen = ultralytics.detect(images)
    expected = build_detector(settings(), "onnx").detect(
        {camera: image for camera, image in images.items() if camera != "small"}
    )
    for camera, found in expected.items():
        # A mixed batch is padded to squares, so that pixels fall a little differently.
        assert_same(ultralytics.detect({camera: images[camera]})[camera], found)
    assert len(seen["small"]) == len(seen["0"])
    assert (ultralytics.name, ultralytics.model) == ("yolo", "shop_person.onnx")


@pytest.mark.requirement("V2")
def test_a_pt_file_takes_one_batch_of_several_sizes(untrained: Path, pictures: list[Image]) -> None:
    options = {"weights": untrained, "device": "cpu", "min_confidence": 0.0, "person_class": "0"}
    seen = build_detector(settings(**options), "yolo").detect(
        {"door": pictures[0], "till": np.full((120, 200, 3), 90, np.uint8)}
    )
    assert list(seen) == ["door", "till"]
    assert all(set(found.classes) <= {"person"} for found in seen.values())


def test_a_file_that_is_not_a_model_is_one_sentence(tmp_path: Path) -> None:
    fake = tmp_path / "model.onnx"
    fake.write_text("no model")
    with pytest.raises(SettingsError, match=r"^the model .*model\.onnx cannot be read: [^\n]+$"):
        build_detector(settings(weights=fake), "yolo")


def test_a_gpu_that_torch_does_not_see_is_one_sentence() -> None:
    with pytest.raises(SettingsError, match="device 'cuda:7' is not there: torch sees"):
        build_detector(settings(weights=SHIPPED, device="cuda:7"), "yolo")
