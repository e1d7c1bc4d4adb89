"""Detectors: a picture in, `Detections` out. One back end per file, chosen by the settings.

A back end is a module with ``build(settings: InferenceSettings) -> Detector`` and one line in
`BACKENDS`; it is imported when it is chosen, so that a heavy one costs nothing otherwise.
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from conf.settings import InferenceSettings, SettingsError
from inference_service.detections import Detections, Image

BACKENDS = {
    "hog": "inference_service.detectors.hog",
    "motion": "inference_service.detectors.motion",
}


class Detector(Protocol):
    """Finds objects in one picture. May keep state between the pictures of one stream.

    Attributes:
        name: the back end, as in the settings (``runtime.detector`` of an event).
        model: what it was taught with (``runtime.model``).
        device: where it computes (``runtime.device``).
    """

    name: str
    model: str
    device: str

    def detect(self, image: Image) -> Detections:
        """Find objects in a BGR picture of shape (height, width, 3); boxes in its pixels."""
        ...


class _Backend(Protocol):
    def build(self, settings: InferenceSettings) -> Detector: ...


def build_detector(settings: InferenceSettings, name: str | None = None) -> Detector:
    """The detector that the settings (or `name`) choose.

    Raises:
        SettingsError: no such back end; the message names the known ones.
    """
    chosen = name or settings.detector
    if chosen not in BACKENDS:
        raise SettingsError(f"detector {chosen!r} is unknown; known: {', '.join(sorted(BACKENDS))}")
    backend = cast(_Backend, import_module(BACKENDS[chosen]))
    return backend.build(settings)
