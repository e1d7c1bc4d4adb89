"""The detectors that need a model: exports in every layout, the shipped weights, bad files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from conf.settings import Settings, SettingsError, load_settings
from inference_service.detectors import build_detector, onnx
from inference_service.detectors.onnx import Fit, OnnxDetector, letterbox
from inference_service.detectors.weights import SHIPPED
from inference_service.footage import draw_clip
from inference_service.publishers.memory import MemoryEventPublisher
from inference_service.service import CameraStream, InferenceService
from inference_service.sources import SourceOptions, open_source
from inference_service.trackers.bytetrack import ByteTracker
from tests.support.rendered_people import assert_same, rendered_people

GREY = np.full((60, 120, 3), 200, np.uint8)


class FakeSession:
    """An onnxruntime session of a model that gives the same rows for each picture."""

    def __init__(
        self,
        output: np.ndarray,
        shape: tuple[Any, ...] = ("batch", 3, "height", "width"),
        names: str = "{0: 'car', 1: 'Person'}",
        kind: str = "tensor(float)",
    ) -> None:
        self.output = output
        self.fed: list[np.ndarray] = []  # the first one is the warm-up
        self._input = type("In", (), {"name": "images", "shape": list(shape), "type": kind})()
        self._meta = type("Meta", (), {"custom_metadata_map": {"names": names}})()

    def get_inputs(self) -> list[Any]:
        return [self._input]

    def get_outputs(self) -> list[Any]:
        return [self._input]

    def get_modelmeta(self) -> Any:
        return self._meta

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.fed.append(inputs["images"])
        return [np.repeat(self.output[None], len(inputs["images"]), axis=0)]


def detector(monkeypatch: pytest.MonkeyPatch, session: FakeSession, **options: Any) -> OnnxDetector:
    monkeypatch.setattr(onnx, "_open", lambda *_: session)
    return OnnxDetector(Path("model.onnx"), image_size=128, **options)


# Two classes. In the 128 x 64 pixels of the model: one person twice, a car, and doubtful people.
RAW = np.array(
    [
        # centre x, centre y, width, height, car, person
        [64, 32, 20, 40, 0.1, 0.9],
        [65, 32, 20, 40, 0.1, 0.8],
        [20, 32, 20, 20, 0.9, 0.2],
        [100, 32, 10, 40, 0.0, 0.6],
        [100, 32, 10, 40, 0.0, 0.1],
        [30, 40, 10, 20, 0.0, 0.2],
        [40, 40, 10, 20, 0.7, 0.6],
    ],
    np.float32,
).T
END_TO_END = np.array(
    [
        [54, 12, 74, 52, 0.9, 1],
        [95, 12, 105, 52, 0.6, 1],
        [10, 22, 30, 42, 0.9, 0],
        [10, 22, 30, 42, 0.1, 1],
    ],
    np.float32,
)


@pytest.mark.requirement("V2")
@pytest.mark.parametrize("output", [RAW, END_TO_END], ids=["raw", "end-to-end"])
def test_both_layouts_of_an_export_give_the_people_in_the_pixels_of_the_picture(
    monkeypatch: pytest.MonkeyPatch, output: np.ndarray
) -> None:
    seen = detector(monkeypatch, FakeSession(output)).detect({"entrance": GREY})["entrance"]
    # 120 x 60 pixels are scaled to 128 x 64, by 16 / 15.
    scale = 15 / 16
    assert seen.boxes == pytest.approx(
        np.array([[54, 12, 74, 52], [95, 12, 105, 52]]) * scale, abs=0.01
    )
    assert seen.confidence == pytest.approx([0.9, 0.6])
    assert set(seen.classes) == {"person"}


def test_an_open_batch_takes_all_cameras_at_once_at_their_own_sizes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = FakeSession(END_TO_END)
    wide, tall = GREY, np.full((240, 120, 3), 9, np.uint8)
    seen = detector(monkeypatch, session).detect({"wide": wide, "tall": tall})
    assert [batch.shape for batch in session.fed[1:]] == [(2, 3, 128, 128)]
    assert list(seen) == ["wide", "tall"]
    assert seen["wide"].boxes[0, 0] != seen["tall"].boxes[0, 0]


def test_a_fixed_batch_and_size_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession(END_TO_END, shape=(1, 3, 96, 160))
    seen = detector(monkeypatch, session).detect(dict.fromkeys("abc", GREY))
    assert [batch.shape for batch in session.fed[1:]] == [(1, 3, 96, 160)] * 3
    assert {len(found) for found in seen.values()} == {2}


def test_a_model_in_half_precision_is_fed_so(monkeypatch: pytest.MonkeyPatch) -> None:
    session = FakeSession(END_TO_END, kind="tensor(float16)")
    detector(monkeypatch, session).detect({"entrance": GREY})
    assert session.fed[1].dtype == np.float16


def test_colours_reach_the_model_as_red_green_blue_in_0_to_1(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = FakeSession(END_TO_END)
    blue = np.zeros((64, 128, 3), np.uint8)
    blue[..., 0] = 255
    detector(monkeypatch, session).detect({"entrance": blue})
    assert session.fed[1][0, :, 32, 64] == pytest.approx([0.0, 0.0, 1.0])


@pytest.mark.parametrize("shape", [(60, 120), (120, 60), (333, 77), (1, 400), (1080, 1920)])
def test_a_letterbox_can_be_undone(shape: tuple[int, int]) -> None:
    canvas = np.zeros((192, 320, 3), np.uint8)
    fit = letterbox(np.full((*shape, 3), 255, np.uint8), canvas)
    rows, columns = np.flatnonzero(canvas.any(axis=(1, 2))), np.flatnonzero(canvas.any(axis=(0, 2)))
    box = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float64)
    assert fit.undo(box) == pytest.approx(np.array([[0, 0, shape[1], shape[0]]]), abs=1 / fit.scale)
    assert isinstance(fit, Fit)


@pytest.mark.parametrize(
    ("names", "person", "number"),
    [
        ("{0: 'car', 1: 'Person'}", "person", 1),
        ("{0: 'car', 1: 'Person'}", "1", 1),
        ("{0: 'pedestrian', 1: 'x'}", "pedestrian", 0),
        ("", "1", 1),
    ],
)
def test_the_person_is_found_by_name_or_number(
    monkeypatch: pytest.MonkeyPatch, names: str, person: str, number: int
) -> None:
    rows = END_TO_END.copy()
    rows[:, 5] = number
    session = FakeSession(rows, names=names)
    seen = detector(monkeypatch, session, person=person).detect({"entrance": GREY})["entrance"]
    assert len(seen) == 3
    assert set(seen.classes) == {"person"}  # whatever the model calls it


@pytest.mark.parametrize(
    ("names", "person", "sentence"),
    [
        ("{0: 'cat', 1: 'dog'}", "person", r"no class 'person': it has cat \(0\), dog \(1\)"),
        ("", "person", "its file does not name its classes"),
        ("{0: 'cat'}", "7", "no class '7'"),
        ("{broken", "person", "its file does not name its classes"),
    ],
)
def test_weights_without_a_class_person_are_refused_with_their_classes(
    monkeypatch: pytest.MonkeyPatch, names: str, person: str, sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        detector(monkeypatch, FakeSession(RAW, names=names), person=person)


@pytest.mark.parametrize(
    "session",
    [
        FakeSession(RAW, shape=("batch", 10)),
        FakeSession(np.zeros((3, 7), np.float32)),
        FakeSession(np.zeros(9, np.float32)),
    ],
)
def test_a_model_that_is_no_yolo_export_is_named(
    monkeypatch: pytest.MonkeyPatch, session: FakeSession
) -> None:
    with pytest.raises(SettingsError, match="is no YOLO export"):
        detector(monkeypatch, session).detect({"entrance": GREY})


def settings(**inference: Any) -> Settings:
    return load_settings(inference=inference)


def test_a_file_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    fake = tmp_path / "model.onnx"
    fake.write_text("no model")
    with pytest.raises(SettingsError, match=r"^the model .*model\.onnx cannot be read: [^\n]+$"):
        build_detector(settings(weights=fake), "onnx")


@pytest.mark.parametrize(
    ("file", "sentence"),
    [("gone.onnx", "does not exist; name yours with"), ("weights.zip", "is none of .onnx")],
)
def test_missing_weights_are_one_sentence(file: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=sentence):
        build_detector(settings(weights=tmp_path / file), "onnx")


def test_a_missing_gpu_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(SettingsError, match="device 'cuda:0' is not there"):
        build_detector(settings(device="cuda:0"), "onnx")


def test_a_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ultralytics", None)
    with pytest.raises(SettingsError, match=r"pip install 'storelake\[yolo\]'"):
        build_detector(settings(weights=SHIPPED), "yolo")


@pytest.mark.requirement("V2")
def test_the_shipped_model_sees_rendered_people_alone_and_in_a_batch(tmp_path: Path) -> None:
    pictures = rendered_people(tmp_path)
    shipped = build_detector(settings(), "onnx")
    batch = shipped.detect({str(n): picture for n, picture in enumerate(pictures)})
    alone = [shipped.detect({"entrance": picture})["entrance"] for picture in pictures]
    for n, found in enumerate(alone):
        assert_same(batch[str(n)], found)
        height = found.boxes[:, 3] - found.boxes[:, 1]
        assert ((height > 60) & (height < 160)).all()
    assert (shipped.name, shipped.model, shipped.device) == ("onnx", "shop_person.onnx", "cpu")


@pytest.mark.requirement("V9")
def test_four_cameras_under_load_account_for_every_frame(tmp_path: Path) -> None:
    clip = draw_clip(tmp_path / "clip.avi", seconds=1, fps=10)
    streams = [
        CameraStream(
            "B01", camera, open_source(str(clip), SourceOptions(latest=True)), ByteTracker()
        )
        for camera in ("a", "b", "c", "d")
    ]
    publisher = MemoryEventPublisher()
    shipped = build_detector(settings(), "onnx")
    summary = InferenceService(streams, detector=shipped, publisher=publisher).run()
    assert {counts.read for counts in summary.cameras.values()} == {10}
    for camera, counts in summary.cameras.items():
        own = [event for key, event in publisher.messages if key.endswith(camera.encode())]
        assert counts.processed + counts.dropped == counts.read
        assert 0 < counts.processed == len(own)
