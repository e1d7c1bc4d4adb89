"""Follow people from picture to picture.

`ByteTracker` follows Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection
Box", ECCV 2022: sure boxes are matched to tracks first, then the doubtful ones to the tracks that
are still alone, both by overlap (IoU) with where a Kalman filter expects them. Time is in seconds,
not in frames, so that a camera that drops pictures keeps its tracks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from inference_service.detections import Detections, FloatArray
from inference_service.kalman import BoxFilter


class Tracker(Protocol):
    """Gives each object an id that stays with it. One tracker serves one camera.

    Attributes:
        name: ``runtime.tracker`` of an event.
    """

    name: str

    def update(self, detections: Detections, at: datetime) -> Detections:
        """The confirmed objects seen at `at`, with track ids; calls must go forward in time."""
        ...

    def reset(self) -> None:
        """Forget everything and count ids from 1 again (a new run begins)."""
        ...


@dataclass(frozen=True)
class TrackerConfig:
    """The knobs of `ByteTracker`.

    Attributes:
        high: boxes at least this sure open tracks and are matched first.
        min_overlap: IoU that a first match needs.
        min_overlap_low: IoU that a match of a doubtful box needs.
        margin: share by which boxes are widened before the IoU: at 5 frames a second a walking
            person may leave a narrow box in one step.
        confirm_hits: pictures with the object before its id is shown.
        lost_seconds: so long a track waits for its object to come back.
    """

    high: float = 0.5
    min_overlap: float = 0.15
    min_overlap_low: float = 0.35
    margin: float = 0.25
    confirm_hits: int = 2
    lost_seconds: float = 2.0


@dataclass
class _Track:
    filter: BoxFilter
    class_name: str
    seen_at: datetime
    hits: int = 1
    track_id: str | None = None


@dataclass
class ByteTracker:
    """Two-stage IoU association over a constant-velocity Kalman filter."""

    config: TrackerConfig = field(default_factory=TrackerConfig)
    name: str = "bytetrack"

    def __post_init__(self) -> None:
        self._tracks: list[_Track] = []
        self._last_at: datetime | None = None
        self._count = 0

    def reset(self) -> None:
        """Forget everything and count ids from 1 again."""
        self._tracks, self._last_at, self._count = [], None, 0

    def update(self, detections: Detections, at: datetime) -> Detections:
        """Match, open and close tracks; see `Tracker.update`."""
        self._predict(at)
        sure = detections.confidence >= self.config.high
        matched: dict[int, _Track] = {}
        confirmed = [t for t in self._tracks if t.track_id is not None]
        fresh = [t for t in self._tracks if t.track_id is None]
        for pool, rows, least in (
            (confirmed, np.flatnonzero(sure), self.config.min_overlap),
            (confirmed, np.flatnonzero(~sure), self.config.min_overlap_low),
            (fresh, np.flatnonzero(sure), self.config.min_overlap),
        ):
            free = [t for t in pool if not any(t is m for m in matched.values())]
            left = np.array([r for r in rows if r not in matched], dtype=int)
            matched.update(self._match(free, detections, left, least))
        for row, track in matched.items():
            track.filter.correct(detections.boxes[row])
            track.seen_at, track.hits = at, track.hits + 1
        self._close(at)
        self._open(detections, [int(r) for r in np.flatnonzero(sure) if r not in matched], at)
        return self._shown(detections, matched)

    def _predict(self, at: datetime) -> None:
        # A clock that was set back must not run the filters backwards.
        seconds = max(0.0, (at - self._last_at).total_seconds()) if self._last_at else 0.0
        self._last_at = at
        for track in self._tracks:
            track.filter.predict(seconds)

    def _match(
        self, tracks: list[_Track], detections: Detections, rows: np.ndarray, least: float
    ) -> dict[int, _Track]:
        if not tracks or not len(rows):
            return {}
        expected = np.array([t.filter.box for t in tracks])
        margin = self.config.margin
        overlap = iou(_widen(expected, margin), _widen(detections.boxes[rows], margin))
        other_class = [[t.class_name != detections.classes[r] for r in rows] for t in tracks]
        overlap[np.array(other_class)] = 0.0
        pairs = zip(*linear_sum_assignment(-overlap), strict=True)
        return {int(rows[j]): tracks[i] for i, j in pairs if overlap[i, j] >= least}

    def _close(self, at: datetime) -> None:
        def alive(track: _Track) -> bool:
            patience = self.config.lost_seconds if track.track_id is not None else 0.0
            return (at - track.seen_at).total_seconds() <= patience

        for track in self._tracks:
            if track.track_id is None and track.hits >= self.config.confirm_hits:
                self._count += 1
                track.track_id = str(self._count)
        self._tracks = [t for t in self._tracks if alive(t)]

    def _open(self, detections: Detections, rows: list[int], at: datetime) -> None:
        for row in rows:
            box = detections.boxes[row]
            # A box without height would give the filter no scale for its noise.
            if box[3] - box[1] >= 1 and box[2] - box[0] >= 1:
                self._tracks.append(_Track(BoxFilter(box), detections.classes[row], at))

    def _shown(self, detections: Detections, matched: dict[int, _Track]) -> Detections:
        shown = [(row, t) for row, t in sorted(matched.items()) if t.track_id is not None]
        if not shown:
            return Detections.empty()
        return Detections(
            boxes=np.array([t.filter.box for _, t in shown]),
            confidence=detections.confidence[[row for row, _ in shown]],
            classes=tuple(t.class_name for _, t in shown),
            track_ids=tuple(t.track_id or "" for _, t in shown),
        )


def iou(left: FloatArray, right: FloatArray) -> FloatArray:
    """Intersection over union of every box in `left` (m, 4) with every one in `right` (n, 4)."""
    low = np.maximum(left[:, None, :2], right[None, :, :2])
    high = np.minimum(left[:, None, 2:], right[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    area = (left[:, 2:] - left[:, :2]).prod(axis=1)[:, None] + (right[:, 2:] - right[:, :2]).prod(
        axis=1
    )
    return np.asarray(shared / np.maximum(area - shared, 1e-9), dtype=np.float64)


def _widen(boxes: FloatArray, margin: float) -> FloatArray:
    grow = (boxes[:, 2:] - boxes[:, :2]) * margin
    return np.hstack([boxes[:, :2] - grow, boxes[:, 2:] + grow])
