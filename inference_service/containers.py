"""What is read from the container of a video or picture: times and rate, format, pixels."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from inference_service.detections import Image
from inference_service.frames import SourceError
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


def refuse_heic(path: Path) -> None:
    """Raise `SourceError` for a picture in HEIC: of these FFmpeg shows the first tile alone."""
    with path.open("rb") as file:
        head = file.read(12)[4:]
    if head in {b"ftyp" + brand for brand in (b"heic", b"heix", b"mif1")}:
        raise SourceError(f"The picture {path} is in the format HEIC: convert it to JPEG.")


def read_image(path: Path) -> Image | None:
    """The pixels of an image; None when it cannot be read."""
    try:
        image = cv2.imread(str(path))
    except cv2.error:  # more pixels than OpenCV allows
        return None
    return None if image is None else np.asarray(image, np.uint8)
