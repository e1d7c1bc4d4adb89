"""A video file whose frames have given times and sizes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np

SIZE = (48, 64)


def timed_clip(
    path: Path, stamps: Iterable[int], sizes: Iterable[tuple[int, int]] = repeat(SIZE)
) -> Path:
    """Write JPEG frames with these stamps (ms) and sizes (height, width); its rate is unknown."""
    time_base = 1000  # as browsers write it; readers take it for the rate
    codec, raw = cv2.VideoWriter.fourcc(*"MJPG"), [cv2.VIDEOWRITER_PROP_RAW_VIDEO, 1]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, time_base, SIZE[::-1], raw)
    assert writer.isOpened()
    for number, (stamp, size) in enumerate(zip(stamps, sizes, strict=False)):
        writer.set(cv2.VIDEOWRITER_PROP_PTS, stamp)
        content = cv2.imencode(".jpg", np.full((*size, 3), number % 256, np.uint8))[1]
        writer.write(content.reshape(1, -1))
    writer.release()
    return path
