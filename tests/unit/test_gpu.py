"""What the detectors request of a GPU, and their sentences where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest

from benchmarks import gpu
from conf.settings import SettingsError, load_settings
from inference_service.detectors import build_detector, yolo
from inference_service.detectors.onnx import CPU, CUDA

GREY = np.full((60, 120, 3), 200, np.uint8)


class FakeTorch:
    """torch on a machine with so many GPUs."""

    def __init__(self, gpus: int) -> None:
        self.cuda = self
        self.is_available = lambda: gpus > 0
        self.device_count = lambda: gpus


class FakeUltralytics:
    """Records what a model is shown, and finds nobody."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, dict[str, Any]]] = []

    def YOLO(self, path: str, task: str) -> FakeUltralytics:  # noqa: N802 - as the library has it
        self.names = {0: "person"}
        return self

    def predict(self, images: list[Any], **options: Any) -> list[Any]:
        self.shown.append((len(images), options))
        rows = np.empty((0, 6))
        rows_of = type("Rows", (), {"cpu": lambda _: rows_of(), "numpy": lambda _: rows})
        nobody = type("Result", (), {"boxes": type("Boxes", (), {"data": rows_of()})})
        return [nobody] * len(images)


Build = Callable[[str, str, int], FakeUltralytics]


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Builds `yolo` for a kind of file and a device, on so many GPUs; shows it three cameras."""

    def build(suffix: str, device: str, gpus: int) -> FakeUltralytics:
        library, weights = FakeUltralytics(), tmp_path / f"model{suffix}"
        weights.touch()
        monkeypatch.setattr(yolo, "_load", lambda: (library, FakeTorch(gpus)))
        settings = load_settings(inference={"weights": weights, "device": device})
        build_detector(settings, "yolo").detect(dict.fromkeys("abc", GREY))
        return library

    return build


@pytest.mark.parametrize(
    ("requested", "device", "precision"),
    [
        ((".pt", "auto", 1), "cuda:0", 16),
        ((".pt", "cuda:1", 2), "cuda:1", 16),
        ((".pt", "auto", 0), "cpu", None),
        ((".pt", "cpu", 2), "cpu", None),
        ((".engine", "auto", 1), "cuda:0", 16),
    ],
)
def test_yolo_shows_all_cameras_at_once_in_half_precision_on_a_gpu(
    build: Build, requested: tuple[str, str, int], device: str, precision: int | None
) -> None:
    cameras, options = build(*requested).shown[-1]
    assert (cameras, options["batch"]) == (3, 3)
    assert (options["device"], options["quantize"]) == (device, precision)


@pytest.mark.parametrize(
    ("requested", "sentence"),
    [
        ((".engine", "auto", 0), "is a TensorRT engine, which needs an NVIDIA GPU"),
        ((".engine", "cpu", 1), "is a TensorRT engine, which needs an NVIDIA GPU"),
        ((".pt", "cuda:1", 1), "device 'cuda:1' is not there: torch sees 1 GPUs"),
    ],
)
def test_yolo_without_its_gpu_is_one_sentence(
    build: Build, requested: tuple[str, str, int], sentence: str
) -> None:
    with pytest.raises(SettingsError, match=sentence):
        build(*requested)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The providers with which an onnxruntime with CUDA is opened; it falls back to the CPU."""
    requested: list[Any] = []
    session = onnxruntime.InferenceSession

    def open_on_cpu(path: str, options: Any, providers: list[Any]) -> Any:
        requested.extend(providers)
        return session(path, options, [CPU])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", open_on_cpu)
    return requested


def test_onnx_requests_the_gpu_first_and_reports_where_it_runs(opened: list[Any]) -> None:
    detector = build_detector(load_settings(), "onnx")
    assert opened == [(CUDA, {"device_id": 0}), CPU]
    assert detector.device == "cpu"  # CUDA could not be loaded


def test_onnx_with_a_named_gpu_that_cannot_be_used_is_one_sentence(opened: list[Any]) -> None:
    settings = load_settings(inference={"device": "cuda:3"})
    with pytest.raises(
        SettingsError, match="device 'cuda:3' cannot be used: onnxruntime could not"
    ):
        build_detector(settings, "onnx")
    assert opened[0] == (CUDA, {"device_id": 3})


def test_the_benchmark_of_gpus_ends_with_one_sentence_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", cast("Any", FakeTorch(0)))
    with pytest.raises(SystemExit, match=r"^This benchmark needs an NVIDIA GPU, [^\n]+$"):
        gpu.main()
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit, match=r"pip install 'storelake\[yolo\]'"):
        gpu.main()
