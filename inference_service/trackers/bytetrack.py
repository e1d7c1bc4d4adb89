"""Follow people from picture to picture by where they are, and what they look like.

Follows Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV
2022: sure boxes are matched to tracks first, then the doubtful ones to the tracks that are still
alone, both by overlap (IoU) with where a Kalman filter expects them, times the likeness of their
colours: so two people who pass in front of each other keep their ids (ADR 0039). Time is in
seconds, not in frames, so that a camera that drops pictures keeps its tracks (ADR 0010 has it
measured).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from inference_service.detections import Detections, FloatArray
from inference_service.frames import Frame
from inference_service.trackers.kalman import BoxFilters, Rows
from inference_service.trackers.looks import describe

HIDDEN = 0.15  # IoU from which one box hides another
LEARNS = 0.2  # share of the newest colours in those of a track
WALKS = 0.1  # heights a second
EDGE = 1.5  # pixels from the edge of the picture within which it cuts a box off


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
    class_name: str
    seen_at: datetime
    hits: int = 1
    track_id: str | None = None
    look: FloatArray | None = None


@dataclass
class ByteTracker:
    """Two-stage IoU association over constant-velocity Kalman filters."""

    config: TrackerConfig = field(default_factory=TrackerConfig)
    name: str = "bytetrack"

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Drop all tracks and count ids from 1 again."""
        self._tracks: list[_Track] = []
        self._filters = BoxFilters()  # row i belongs to track i
        self._last_at: datetime | None = None
        self._count = 0

    def update(self, detections: Detections, frame: Frame) -> Detections:
        """Match, open and close tracks; see `Tracker.update`."""
        at = frame.captured_at
        # A clock that was set back must not run the filters backwards.
        seconds = max(0.0, (at - self._last_at).total_seconds()) if self._last_at else 0.0
        self._last_at = at
        self._filters.predict(seconds)
        self._keep(~self._walked_out(frame))
        looks = describe(frame.image, detections.boxes)
        pairs = self._associate(detections, looks)
        rows = np.array(list(pairs), dtype=np.intp)
        tracks = np.array(list(pairs.values()), dtype=np.intp)
        self._filters.correct(tracks, self._whole(tracks, detections.boxes[rows], frame))
        for track in tracks:
            self._see(self._tracks[track], at)
        self._learn(detections, looks, pairs)
        shown = self._shown(detections, pairs)
        self._close(at)
        self._open(detections, pairs, at)
        return shown

    def _associate(self, detections: Detections, looks: FloatArray) -> dict[int, int]:
        """Row of the detections -> track."""
        sure = detections.confidence >= self.config.high
        confirmed = np.array([t.track_id is not None for t in self._tracks], dtype=bool)
        overlap = self._overlap(detections) * self._likeness(looks)
        pairs: dict[int, int] = {}
        for tracks, rows, least in (
            (confirmed, sure, self.config.min_overlap),
            (confirmed, ~sure, self.config.min_overlap_low),
            (~confirmed, sure, self.config.min_overlap),
        ):
            free_tracks = [t for t in np.flatnonzero(tracks) if t not in pairs.values()]
            free_rows = [r for r in np.flatnonzero(rows) if r not in pairs]
            if free_tracks and free_rows:
                part = overlap[np.ix_(free_tracks, free_rows)]
                for i, j in zip(*linear_sum_assignment(-part), strict=True):
                    if part[i, j] >= least:
                        pairs[int(free_rows[j])] = int(free_tracks[i])
        return pairs

    def _overlap(self, detections: Detections) -> FloatArray:
        margin = self.config.margin
        overlap = iou(_widen(self._filters.boxes, margin), _widen(detections.boxes, margin))
        classes = np.array([t.class_name for t in self._tracks], dtype=object)[:, None]
        same = classes == np.array(detections.classes, dtype=object)[None, :]
        return np.where(same, overlap, 0.0)

    def _likeness(self, looks: FloatArray) -> FloatArray:
        """Cosine of the colours of each track and each box, shape (tracks, boxes), 0..1."""
        alike = np.ones((len(self._tracks), len(looks)))
        for row, track in enumerate(self._tracks):
            if track.look is not None:
                alike[row] = looks @ track.look
        return alike

    def _learn(self, detections: Detections, looks: FloatArray, pairs: dict[int, int]) -> None:
        """Add the colours of boxes that no other box hides to those of their tracks."""
        hidden = (iou(detections.boxes, detections.boxes) > HIDDEN).sum(axis=1) > 1
        for row, number in pairs.items():
            if not hidden[row]:
                track = self._tracks[number]
                before = looks[row] if track.look is None else track.look
                look = (1 - LEARNS) * before + LEARNS * looks[row]
                track.look = look / np.linalg.norm(look)

    def _see(self, track: _Track, at: datetime) -> None:
        track.seen_at, track.hits = at, track.hits + 1
        if track.track_id is None and track.hits >= self.config.confirm_hits:
            self._count += 1
            track.track_id = str(self._count)

    def _close(self, at: datetime) -> None:
        def alive(track: _Track) -> bool:
            patience = self.config.lost_seconds if track.track_id is not None else 0.0
            return (at - track.seen_at).total_seconds() <= patience

        self._keep(np.array([alive(t) for t in self._tracks], dtype=bool))

    def _walked_out(self, frame: Frame) -> NDArray[np.bool_]:
        """Whether each expected box has left the picture with its centre, and moves on.

        Who has walked out is gone: another person who comes in there gets a new id.
        """
        height, width = frame.image.shape[:2]
        centre, size = self._filters.value[:, :2], self._filters.value[:, 3:]
        pace = self._filters.speed[:, :2] / size
        gone = (centre < 0) & (pace < -WALKS) | (centre > [width, height]) & (pace > WALKS)
        return np.asarray(gone.any(axis=1), dtype=bool)

    def _whole(self, tracks: Rows, boxes: FloatArray, frame: Frame) -> FloatArray:
        """The boxes that the edge of the picture cuts off, as large as they were before.

        So a person who walks out is followed out of the picture, at the same speed.
        """
        height, width = frame.image.shape[:2]
        size = self._filters.value[tracks, 2:]
        low, high = boxes[:, :2], boxes[:, 2:]
        from_low = np.where(low <= EDGE, np.minimum(low, high - size), low)
        is_cut = high >= np.array([width, height]) - EDGE
        return np.hstack([from_low, np.where(is_cut, np.maximum(high, low + size), high)])

    def _keep(self, keep: NDArray[np.bool_]) -> None:
        if not keep.all():
            self._tracks = [t for t, kept in zip(self._tracks, keep, strict=True) if kept]
            self._filters.keep(keep)

    def _open(self, detections: Detections, pairs: dict[int, int], at: datetime) -> None:
        size = detections.boxes[:, 2:] - detections.boxes[:, :2]
        # A box without height would give the filter no scale for its noise.
        new = (detections.confidence >= self.config.high) & (size >= 1).all(axis=1)
        new[list(pairs)] = False
        self._tracks += [_Track(detections.classes[r], at) for r in np.flatnonzero(new)]
        if new.any():
            self._filters.add(detections.boxes[new])

    def _shown(self, detections: Detections, pairs: dict[int, int]) -> Detections:
        ids = {row: self._tracks[track].track_id for row, track in sorted(pairs.items())}
        rows = [row for row, track_id in ids.items() if track_id is not None]
        if not rows:
            return Detections.empty()
        return Detections(
            boxes=self._filters.boxes[[pairs[row] for row in rows]],
            confidence=detections.confidence[rows],
            classes=tuple(detections.classes[row] for row in rows),
            track_ids=tuple(ids[row] or "" for row in rows),
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
