"""Times and rate of a video file from its container, and its format."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import median

import cv2

from inference_service.live import Capture, grab

MEASURED_FRAMES = 16
"""So many frames are decoded at the opening of a file: enough for its rate."""


class MediaClock:
    """Seconds since the first frame of a file, from the stamps of its container.

    A stamp that is not later than the one before it (a file without stamps, or joined from several)
    counts as one `interval` later. A gap remains a gap: recorders stop while nothing moves.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._seconds = 0.0
        self._stamp: float | None = None

    def seconds(self, stamp: float) -> float:
        """The time of the next frame; `stamp` is in milliseconds."""
        if self._stamp is not None:
            step = (stamp - self._stamp) / 1000
            self._seconds += step if step > 0 else self._interval
        self._stamp = stamp
        return self._seconds


def measured_fps(capture: Capture) -> float | None:
    """The rate of the first frames by their stamps, the median; None without stamps."""
    stamps = [capture.get(cv2.CAP_PROP_POS_MSEC) for _ in range(MEASURED_FRAMES) if grab(capture)]
    steps = [after - before for before, after in pairwise(stamps) if after > before]
    return 1000 / median(steps) if steps else None


def is_heic(path: Path) -> bool:
    """Whether it is a picture of a telephone: of these FFmpeg shows the first tile alone."""
    with path.open("rb") as file:
        return file.read(12)[4:] in {b"ftyp" + brand for brand in (b"heic", b"heix", b"mif1")}
