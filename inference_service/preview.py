"""A debug video for the operator at this machine: the only pixels that are written, on demand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2

from conf.stores import Layout, layout_at
from inference_service import zone_picture
from inference_service.detections import Detections, Image
from inference_service.frames import Frame, SourceError

GREEN, RED = (0, 200, 0), (0, 0, 255)


class Preview:
    """Writes frames with boxes, ids, lines and zones to an MP4 (mp4v), as an observer."""

    def __init__(self, path: Path, layouts: Sequence[Layout], fps: float) -> None:
        # MPEG-4 takes no rate near zero, and none that is a fraction of large numbers.
        self._path, self._layouts, self._fps = path, layouts, round(max(fps, 0.1), 2)
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def __call__(self, frame: Frame, tracked: Detections) -> None:
        """Draw one frame and append it."""
        height, width = frame.image.shape[:2]
        if self._writer is None:
            self._size = (width, height)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            self._writer = cv2.VideoWriter(str(self._path), codec, self._fps, (width, height))
            if not self._writer.isOpened():
                raise SourceError(f"The preview {self._path} cannot be written.")
        image = draw(frame.image, tracked, layout_at(self._layouts, frame.captured_at))
        # A video has one size: a camera that changes its own must not make frames vanish.
        self._writer.write(
            image if self._size == (width, height) else cv2.resize(image, self._size)
        )

    def __enter__(self) -> Preview:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._writer is not None:
            self._writer.release()


def draw(image: Image, tracked: Detections, layout: Layout | None) -> Image:
    """A copy of the picture with boxes, ids, anchors, and the lines and zones of a layout."""
    canvas = image.copy()
    if layout is not None:
        canvas = zone_picture.draw(image, layout, f"layout {layout.version}")
    for box, track_id in zip(tracked.boxes, tracked.track_ids or (), strict=True):
        x1, y1, x2, y2 = (int(v) for v in box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), GREEN, 2)
        cv2.circle(canvas, ((x1 + x2) // 2, y2), 3, RED, -1)
        cv2.putText(canvas, track_id, (x1, y1 - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.5, GREEN, 2)
    return canvas
