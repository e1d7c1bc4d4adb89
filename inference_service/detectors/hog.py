"""People by OpenCV's HOG descriptor and its linear SVM (Dalal and Triggs, CVPR 2005); no weights.

The window is 64x128 pixels, so people smaller than about 100 pixels are only found after the
picture has been enlarged (`hog_upscale`): slow, but it also sees people who stand still.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from conf.settings import Settings
from inference_service.detections import Detections, FloatArray, Image

NMS_OVERLAP = 0.4
# The SVM's window has a margin of 16 of 128 pixels above and below the person, and of 16 of 64
# at its sides; what we report is the person.
MARGIN = np.array([16 / 64, 16 / 128])


class HogDetector:
    """HOG people detector with non-maximum suppression."""

    name = "hog"
    model = "opencv-default-people"
    device = "cpu"

    def __init__(self, upscale: float = 1.5, min_confidence: float = 0.3) -> None:
        self._upscale = upscale
        self._min_confidence = min_confidence
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(
            np.asarray(cv2.HOGDescriptor.getDefaultPeopleDetector(), np.float32)
        )

    def detect(self, images: Mapping[str, Image]) -> dict[str, Detections]:
        """Find people; confidence is the logistic of the SVM's distance from its boundary."""
        return {camera: self._find(image) for camera, image in images.items()}

    def _find(self, image: Image) -> Detections:
        large = cv2.resize(image, None, fx=self._upscale, fy=self._upscale)
        rects, margins = self._hog.detectMultiScale(
            large, hitThreshold=0.0, winStride=(8, 8), padding=(8, 8), scale=1.1, groupThreshold=0
        )
        if len(rects) == 0:
            return Detections.empty()
        boxes = np.asarray(rects, dtype=np.float64) / self._upscale
        confidence = _confidence(np.asarray(margins, dtype=np.float64).ravel())
        boxes[:, 2:] += boxes[:, :2]
        found = Detections.people(boxes, confidence)
        found = found.select(confidence >= self._min_confidence).suppress(NMS_OVERLAP)
        return drop_containers(Detections.people(_shrink(found.boxes), found.confidence))


def _confidence(margins: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-3 * (margins - 0.4))), dtype=np.float64)


def _shrink(boxes: FloatArray) -> FloatArray:
    inset = (boxes[:, 2:] - boxes[:, :2]) * MARGIN
    return np.hstack([boxes[:, :2] + inset, boxes[:, 2:] - inset])


def drop_containers(found: Detections) -> Detections:
    """Drop large boxes that merely hold a surer, much smaller one: overlap alone misses them."""
    low, high = found.boxes[:, :2], found.boxes[:, 2:]
    area = (high - low).prod(axis=1)
    shared = np.clip(np.minimum(high[:, None], high) - np.maximum(low[:, None], low), 0, None)
    holds = shared.prod(axis=2) >= 0.8 * area[None, :]
    surer = found.confidence[None, :] >= 0.8 * found.confidence[:, None]
    bigger = area[:, None] >= 2 * area[None, :]
    return found.select(~(holds & surer & bigger).any(axis=1))


def build(settings: Settings) -> HogDetector:
    """The detector as configured."""
    return HogDetector(settings.inference.hog_upscale, settings.inference.min_confidence)
