"""Follow people by where they are and what they look like: BoT-SORT and DeepSORT of trackforge.

Aharon et al., "BoT-SORT: Robust Associations Multi-Pedestrian Tracking", 2022; Wojke et al.,
"Simple Online and Realtime Tracking with a Deep Association Metric", ICIP 2017. Both take a vector
of looks for each box: here colours of the upper and the lower body, which need no weights. They are
of use where people's clothes differ; a vector lives as long as its track, in this process only.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any, Literal

import cv2
import numpy as np
import trackforge

from inference_service.detections import Detections, FloatArray, Image
from inference_service.frames import Frame
from inference_service.trackers.looks import describe

CONFIRM_HITS = 2  # pictures with the object before its id is shown
# The libraries take overlap between pictures for granted; at 5 a second a walking person leaves a
# narrow box in one step. The width of the margin is measured: benchmarks/trackers.py.
MARGIN = 0.5
MOTION_WIDTH = 160  # pixels; of the picture in which the camera's own motion is looked for
MOTION_POINTS, MOTION_LEAST = 60, 8
MAX_GAP = 25  # frames; after a longer one no track of the library is alive


class AppearanceTracker:
    """A tracker of trackforge behind `Tracker`.

    It counts in frames: skipped frames are passed to it as empty ones, by their times.
    """

    def __init__(
        self,
        name: Literal["botsort", "deepsort"],
        fps: float,
        *,
        high: float = 0.5,
        lost_seconds: float = 2.0,
    ) -> None:
        self.name: str = name
        self._fps, self._high = fps, high
        # DeepSORT keeps a track back until it is confirmed; BoT-SORT shows it at once.
        self._confirm = 1 if name == "deepsort" else CONFIRM_HITS
        self._lost_frames = max(1, round(lost_seconds * fps))
        self.reset()

    def reset(self) -> None:
        """Drop all tracks and count ids from 1 again."""
        self._tracker: Any = (
            trackforge.BOTSORT(
                track_thresh=self._high,
                det_thresh=self._high,
                track_buffer=self._lost_frames,
                match_thresh=0.9,
                second_match_thresh=0.6,
            )
            if self.name == "botsort"
            else trackforge.DEEPSORT(
                max_age=self._lost_frames, n_init=CONFIRM_HITS, max_iou_distance=0.85
            )
        )
        self._camera = CameraMotion()
        self._class_ids: dict[str, int] = {}
        self._hits: Counter[int] = Counter()
        self._last_at: datetime | None = None

    def update(self, detections: Detections, frame: Frame) -> Detections:
        """Match, open and close tracks; see `Tracker.update`."""
        self._skip(frame.captured_at)
        if self.name == "deepsort":  # it does not match doubtful boxes: each would open a track
            detections = detections.select(detections.confidence >= self._high)
        grow = (detections.boxes[:, 2:] - detections.boxes[:, :2]) * MARGIN
        low, size = detections.boxes[:, :2] - grow, detections.boxes[:, 2:] + grow
        boxes = np.hstack([low, size - low]).tolist()
        known = [self._class_ids.setdefault(c, len(self._class_ids)) for c in detections.classes]
        rows = list(zip(boxes, detections.confidence.tolist(), known, strict=True))
        looks = describe(frame.image, detections.boxes).tolist()
        if self.name == "botsort":
            moved = self._camera.estimate(frame.image, detections.boxes)
            tracks = self._tracker.update(rows, looks, moved)
        else:
            tracks = self._tracker.update(rows, looks)
        seen = {row: track_id for track_id, *_, row in tracks if row is not None}
        self._hits.update(seen.values())
        shown = sorted(
            row for row, track_id in seen.items() if self._hits[track_id] >= self._confirm
        )
        ids = tuple(str(seen[row]) for row in shown)
        chosen = detections.select(shown)
        return Detections(chosen.boxes, chosen.confidence, chosen.classes, ids)

    def _skip(self, at: datetime) -> None:
        if self._last_at is not None:
            missed = round((at - self._last_at).total_seconds() * self._fps) - 1
            for _ in range(min(missed, MAX_GAP, self._lost_frames)):
                self._tracker.update([], [])
        self._last_at = at


class CameraMotion:
    """How the picture as a whole moved since the one before, from points that can be followed."""

    def __init__(self) -> None:
        self._before: Image | None = None
        self._points: Any = None  # what OpenCV found: shape (n, 1, 2), float32

    def estimate(self, image: Image, boxes: FloatArray) -> list[float] | None:
        """The affine matrix (2 x 3, by rows) from the last picture to this one; None: unknown.

        Args:
            image: the picture.
            boxes: of the people in it, shape (n, 4), pixels: what they do is not the camera.
        """
        scale = MOTION_WIDTH / image.shape[1]
        gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)
        gray = np.asarray(cv2.resize(gray, None, fx=scale, fy=scale), np.uint8)
        matrix = self._moved(gray)
        still = np.full(gray.shape, 255, np.uint8)
        for x1, y1, x2, y2 in np.clip(boxes * scale, 0, MOTION_WIDTH).astype(int):
            still[y1 : y2 + 1, x1 : x2 + 1] = 0
        self._before = gray
        self._points = cv2.goodFeaturesToTrack(gray, MOTION_POINTS, 0.01, 8, mask=still)
        if matrix is None:
            return None
        matrix[:, 2] /= scale  # rotation and zoom know no pixels
        return [float(value) for value in matrix.ravel()]

    def _moved(self, gray: Image) -> FloatArray | None:
        before, points = self._before, self._points
        if before is None or before.shape != gray.shape:
            return None
        if points is None or len(points) < MOTION_LEAST:
            return None
        moved, found, _ = cv2.calcOpticalFlowPyrLK(before, gray, points, np.zeros_like(points))
        kept = found.ravel() == 1
        if kept.sum() < MOTION_LEAST:
            return None
        matrix, agree = cv2.estimateAffinePartial2D(points[kept], moved[kept])
        if matrix is None or not np.isfinite(matrix).all() or agree.mean() < 0.5:
            return None
        return np.asarray(matrix, np.float64)
