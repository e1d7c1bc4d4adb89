"""Moving people by background subtraction (MOG2, Zivkovic, ICPR 2004) and contours; no weights.

Cheap enough for half a core. It sees what moves, not what it is: people who stand still fade into
the background after `HISTORY` pictures, and close groups may come out as fewer boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import cv2
import numpy as np

from conf.settings import Settings
from inference_service.detections import Detections, FloatArray, Image

WORK_WIDTH = 384  # pixels; the mask needs no more detail, and its cost grows with the area
HISTORY = 150
WARM_UP = 2
MIN_HEIGHT = 0.05  # shares of the picture's height
MAX_HEIGHT = 0.9
PERSON_SLIMNESS = 0.38  # width over height of one walking person
GROUP_SLIMNESS = 0.66  # from here on it is more than one
FLOOD = 0.4  # share of moving pixels above which the light changed, not the people


class _Background:
    """What stands still before one camera, as long as its picture keeps its size."""

    def __init__(self, size: tuple[int, ...]) -> None:
        self.size = size
        self.seen = 0
        self._subtractor = cv2.createBackgroundSubtractorMOG2(HISTORY, 25, detectShadows=True)

    def mask(self, small: Image) -> Image:
        """Moving pixels of the next picture: 255, else 0."""
        self.seen += 1
        raw = self._subtractor.apply(cv2.GaussianBlur(small, (3, 3), 0))
        # MOG2 marks shadows 127; a shadow is not a person and would pull the anchor to the side.
        mask = cv2.threshold(raw, 200, 255, cv2.THRESH_BINARY)[1]
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((7, 3), np.uint8))
        return np.asarray(mask, np.uint8)


class MotionDetector:
    """MOG2 mask -> blobs -> person-sized boxes; each camera has a background of its own."""

    name = "motion"
    model = "opencv-mog2"
    device = "cpu"

    def __init__(self, min_confidence: float = 0.3) -> None:
        self._min_confidence = min_confidence
        self._backgrounds: dict[str, _Background] = {}

    def detect(self, images: Mapping[str, Image]) -> dict[str, Detections]:
        """Find moving, person-shaped blobs; confidence grows with fill and upright shape."""
        return {camera: self._find(camera, image) for camera, image in images.items()}

    def _find(self, camera: str, image: Image) -> Detections:
        scale = min(1.0, WORK_WIDTH / image.shape[1])
        small = np.asarray(
            cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8
        )
        background = self._backgrounds.get(camera)
        if background is None or background.size != small.shape:
            background = self._backgrounds[camera] = _Background(small.shape)
        mask = background.mask(small)
        if background.seen <= WARM_UP or np.count_nonzero(mask) > FLOOD * mask.size:
            return Detections.empty()
        boxes = split_groups(merge_parts(_blobs(mask)), mask)
        height = boxes[:, 3] - boxes[:, 1]
        fits = (height >= MIN_HEIGHT * mask.shape[0]) & (height <= MAX_HEIGHT * mask.shape[0])
        boxes = boxes[fits]
        confidence = _confidence(boxes, mask)
        found = Detections.people(boxes / scale, confidence)
        return found.select(confidence >= self._min_confidence)


def _blobs(mask: Image) -> FloatArray:
    contours = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
    rects = [cv2.boundingRect(c) for c in contours if cv2.contourArea(c) >= 6]
    return np.array([(x, y, x + w, y + h) for x, y, w, h in rects], np.float64).reshape(-1, 4)


def merge_parts(boxes: FloatArray) -> FloatArray:
    """Join the parts of one person (head, coat, legs): one above the other, and still upright."""
    parts = [*boxes]
    joined = True
    while joined:
        joined = False
        for i in range(len(parts)):
            for j in range(i + 1, len(parts)):
                if _one_person(parts[i], parts[j]):
                    parts[i] = _union(parts[i], parts.pop(j))
                    joined = True
                    break
            if joined:
                break
    return np.array(parts, np.float64).reshape(-1, 4)


def _union(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.concatenate([np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])])


def _one_person(a: FloatArray, b: FloatArray) -> bool:
    shared = min(a[2], b[2]) - max(a[0], b[0])
    narrow = min(a[2] - a[0], b[2] - b[0])
    gap = max(a[1], b[1]) - min(a[3], b[3])
    width, height = (union := _union(a, b))[2:] - union[:2]
    both_whole = all((p[3] - p[1]) >= 1.6 * (p[2] - p[0]) for p in (a, b))
    taller = max(a[3] - a[1], b[3] - b[1])
    return bool(
        not both_whole and shared >= 0.5 * narrow and gap <= 0.3 * taller and height <= 4.0 * width
    )


def split_groups(boxes: FloatArray, mask: Image) -> FloatArray:
    """Cut boxes that are too wide for one person where the fewest pixels move."""
    people: list[FloatArray] = []
    for x1, y1, x2, y2 in boxes:
        slimness = (x2 - x1) / (y2 - y1)
        n = 1 if slimness < GROUP_SLIMNESS else max(2, round(slimness / PERSON_SLIMNESS))
        profile = np.count_nonzero(mask[int(y1) : int(y2), int(x1) : int(x2)], axis=0)
        step = len(profile) / n
        cuts = [x1]
        for i in range(1, n):
            low = int((i - 0.25) * step)
            cuts.append(x1 + low + int(np.argmin(profile[low : int((i + 0.25) * step) + 1])))
        cuts.append(x2)
        for left, right in pairwise(cuts):
            rows = np.flatnonzero(mask[int(y1) : int(y2), int(left) : int(right)].any(axis=1))
            if len(rows) and right > left:
                people.append(np.array([left, y1 + rows[0], right, y1 + rows[-1] + 1]))
    return np.array(people, np.float64).reshape(-1, 4)


def _confidence(boxes: FloatArray, mask: Image) -> FloatArray:
    """Share of moving pixels in the box, less for shapes that are not upright."""
    scores = []
    for x1, y1, x2, y2 in boxes:
        fill = np.count_nonzero(mask[int(y1) : int(y2), int(x1) : int(x2)]) / max(
            1.0, (x2 - x1) * (y2 - y1)
        )
        upright = min(1.0, (y2 - y1) / (x2 - x1) / 1.5)
        scores.append(min(1.0, 0.3 + fill) * upright)
    return np.array(scores, np.float64)


def build(settings: Settings) -> MotionDetector:
    """The detector as configured."""
    return MotionDetector(settings.inference.min_confidence)
