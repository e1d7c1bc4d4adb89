"""A YOLO model run by ultralytics: .pt, .onnx or a TensorRT .engine, on a GPU when there is one.

ultralytics is under the AGPL-3.0 and brings torch along, so it is an extra: ``pip install
'storelake[yolo]'``. Nothing is downloaded: the weights are a file that the operator names. A .pt
file is a pickle, which can run code when it is loaded: only use one that you trust.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conf.errors import first_line
from conf.settings import Settings, SettingsError
from conf.vendor import keep_ultralytics_at_home
from inference_service.detections import Detections, Image
from inference_service.detectors.weights import IMAGE_SIZE, WARM_UP, person_class, weights_file

ENGINE = ".engine"
SUFFIXES = (".pt", ".onnx", ENGINE)
NMS_OVERLAP = 0.6


class YoloDetector:
    """An ultralytics model; the pictures of all cameras are one batch."""

    name = "yolo"

    def __init__(
        self,
        path: Path,
        *,
        person: str = "person",
        min_confidence: float = 0.3,
        image_size: int = IMAGE_SIZE,
        device: str = "auto",
    ) -> None:
        ultralytics, torch = _load()
        self.device = _choose(device, torch)
        if path.suffix.lower() == ENGINE and self.device == "cpu":
            raise SettingsError(
                f"the model {path} is a TensorRT engine, which needs an NVIDIA GPU, and the device "
                "is cpu: take a .pt or .onnx file, or set STORELAKE_INFERENCE__DEVICE=cuda:0"
            )
        self.model = path.name
        self._options: dict[str, Any] = {
            "conf": min_confidence,
            "iou": NMS_OVERLAP,
            "imgsz": image_size,
            "device": self.device,
            "quantize": None if self.device == "cpu" else 16,  # half precision, on a GPU only
            "verbose": False,
        }
        try:
            self._yolo = ultralytics.YOLO(str(path), task="detect")
            self._options["classes"] = [person_class(dict(self._yolo.names), person, path)]
            self.detect(WARM_UP)
        except SettingsError:
            raise
        except Exception as error:  # torch, pickle, onnxruntime and TensorRT each have their own
            raise SettingsError(f"the model {path} cannot be read: {first_line(error)}") from error

    def detect(self, images: Mapping[str, Image]) -> dict[str, Detections]:
        """One call for all pictures; a model with a fixed batch is fed in parts by ultralytics."""
        results = self._yolo.predict(list(images.values()), batch=len(images), **self._options)
        return {
            camera: _detections(result.boxes)
            for camera, result in zip(images, results, strict=True)
        }


def _detections(boxes: Any) -> Detections:
    rows = boxes.data.cpu().numpy().astype(np.float64)  # x1, y1, x2, y2, confidence, class
    return Detections.people(rows[:, :4], np.clip(rows[:, 4], 0.0, 1.0))


def _load() -> tuple[Any, Any]:
    try:
        import torch  # noqa: PLC0415 - an extra, and two seconds to import
        import ultralytics  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            f"the detector yolo needs ultralytics ({error}): pip install 'storelake[yolo]', or "
            "take the detector onnx, which runs exported models without it"
        ) from error
    return ultralytics, torch


def _choose(device: str, torch: Any) -> str:
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        number = int(device.partition(":")[2])
        if number >= torch.cuda.device_count():
            raise SettingsError(
                f"device {device!r} is not there: torch sees {torch.cuda.device_count()} GPUs; "
                "set STORELAKE_INFERENCE__DEVICE=cpu or auto"
            )
    return device


def build(settings: Settings) -> YoloDetector:
    """The detector as configured."""
    keep_ultralytics_at_home(settings.cache_dir)
    return YoloDetector(
        weights_file(settings.inference, SUFFIXES),
        person=settings.inference.person_class,
        min_confidence=settings.inference.min_confidence,
        image_size=settings.inference.image_size or IMAGE_SIZE,
        device=settings.inference.device,
    )
