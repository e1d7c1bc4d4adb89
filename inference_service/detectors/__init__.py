"""Detectors: pictures in, `Detections` out. One back end per file, chosen by the settings.

A back end is a module with ``build(settings: Settings) -> Detector`` and one line in
`BACKENDS`; it is imported when it is chosen, so that a heavy one costs nothing otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

from conf.settings import Settings, SettingsError
from inference_service.detections import Detections, Image
from inference_service.model_files import SHIPPED

BACKENDS = {
    "hog": "inference_service.detectors.hog",
    "motion": "inference_service.detectors.motion",
    "onnx": "inference_service.detectors.onnx",
    "ssd": "inference_service.detectors.ssd",
    "yolo": "inference_service.detectors.yolo",
}


class Detector(Protocol):
    """Finds objects in a batch of pictures. May keep state between the pictures of one camera.

    Attributes:
        name: the back end, as in the settings (``runtime.detector`` of an event).
        model: what it was taught with (``runtime.model``).
        device: where it computes (``runtime.device``).
    """

    name: str
    model: str
    device: str

    def detect(self, images: Mapping[str, Image]) -> dict[str, Detections]:
        """Find objects in one picture of each camera.

        Args:
            images: camera id -> BGR picture of shape (height, width, 3), not empty; each camera's
                own size.

        Returns:
            For each of these cameras what was seen, boxes in the pixels of its picture.
        """
        ...


def describe(detector: Detector) -> str:
    """One line for the operator: which detector runs, and what its model was made for."""
    limit = "; it finds people of the simulated shop only" if detector.model == SHIPPED.name else ""
    return f"detector {detector.name}: {detector.model} on {detector.device}{limit}"


class _Backend(Protocol):
    def build(self, settings: Settings) -> Detector: ...


def build_detector(settings: Settings, name: str | None = None) -> Detector:
    """The detector that the settings (or `name`) choose.

    Raises:
        SettingsError: no such back end (the message names the known ones), or it cannot work as
            configured: no weights, no such device, a package that is not installed.
    """
    chosen = name or settings.inference.detector
    if chosen not in BACKENDS:
        raise SettingsError(f"detector {chosen!r} is unknown; known: {', '.join(sorted(BACKENDS))}")
    backend = cast(_Backend, import_module(BACKENDS[chosen]))
    return backend.build(settings)
