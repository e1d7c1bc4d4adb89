"""What a detector saw in one picture: the value that every part of this room speaks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Image = NDArray[np.uint8]
PERSON = "person"


@dataclass(frozen=True, eq=False)
class Detections:
    """`n` objects in one picture; validated when built, immutable after.

    Attributes:
        boxes: shape (n, 4), float64, pixels: x1, y1, x2, y2 with x1 <= x2 and y1 <= y2; the origin
            is the upper left corner and y grows downwards. May reach outside of the picture.
        confidence: shape (n,), float64, 0..1.
        classes: n class names, such as ``person``.
        track_ids: n track ids, unique within the picture; None before a tracker has seen them.
    """

    boxes: FloatArray
    confidence: FloatArray
    classes: tuple[str, ...]
    track_ids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        boxes = _frozen_array(self.boxes).reshape(-1, 4) if len(self.boxes) == 0 else self.boxes
        object.__setattr__(self, "boxes", _frozen_array(boxes))
        object.__setattr__(self, "confidence", _frozen_array(self.confidence))
        object.__setattr__(self, "classes", tuple(self.classes))
        if self.track_ids is not None:
            object.__setattr__(self, "track_ids", tuple(self.track_ids))
        self._check()

    def _check(self) -> None:
        n = len(self.boxes)
        if self.boxes.shape != (n, 4):
            raise ValueError(f"boxes must have the shape (n, 4), not {self.boxes.shape}")
        if self.confidence.shape != (n,):
            raise ValueError(f"confidence must have the shape ({n},), not {self.confidence.shape}")
        if len(self.classes) != n:
            raise ValueError(f"{n} boxes need {n} classes, not {len(self.classes)}")
        if not np.isfinite(self.boxes).all():
            raise ValueError("boxes must be finite")
        if (self.boxes[:, 2:] < self.boxes[:, :2]).any():
            raise ValueError("boxes must have x1 <= x2 and y1 <= y2")
        if not ((self.confidence >= 0) & (self.confidence <= 1)).all():
            raise ValueError("confidence must lie in 0..1")
        if not all(self.classes):
            raise ValueError("a class name must not be empty")
        if self.track_ids is not None and (
            len(self.track_ids) != n or len(set(self.track_ids)) != n or not all(self.track_ids)
        ):
            raise ValueError(f"track_ids must be {n} different, non-empty ids")

    def __len__(self) -> int:
        return len(self.boxes)

    @classmethod
    def empty(cls) -> Detections:
        """Nothing was seen."""
        return cls(np.empty((0, 4)), np.empty(0), ())

    @classmethod
    def people(cls, boxes: ArrayLike, confidence: ArrayLike) -> Detections:
        """Boxes that are all persons."""
        array = np.asarray(boxes, dtype=np.float64)
        return cls(array, np.asarray(confidence, dtype=np.float64), (PERSON,) * len(array))

    def join(self, other: Detections) -> Detections:
        """The rows of both, without track ids."""
        return Detections(
            np.vstack([self.boxes, other.boxes]),
            np.hstack([self.confidence, other.confidence]),
            self.classes + other.classes,
        )

    def suppress(self, overlap: float) -> Detections:
        """Non-maximum suppression: of boxes with a higher IoU than `overlap`, only the surest."""
        sides = np.hstack([self.boxes[:, :2], self.boxes[:, 2:] - self.boxes[:, :2]])
        kept = cv2.dnn.NMSBoxes(sides.tolist(), self.confidence.tolist(), 0.0, overlap)
        return self.select(np.asarray(kept, dtype=int).ravel())

    def select(self, keep: ArrayLike) -> Detections:
        """The rows that a boolean mask or a list of positions names, in that order."""
        rows = np.arange(len(self))[np.asarray(keep)] if np.size(keep) else np.empty(0, dtype=int)
        return replace(
            self,
            boxes=self.boxes[rows],
            confidence=self.confidence[rows],
            classes=tuple(self.classes[i] for i in rows),
            track_ids=None if self.track_ids is None else tuple(self.track_ids[i] for i in rows),
        )


def _frozen_array(values: ArrayLike) -> FloatArray:
    # A copy: a caller that continues writing into its buffer must not change what was seen.
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array
