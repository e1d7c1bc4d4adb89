"""A picture of the lines and zones of a camera."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from conf.errors import StorelakeError
from conf.stores import Layout, Line, Point, Zone
from conf.stores.reach import Pixel, entry_arrow
from inference_service.containers import read_image, refuse_heic
from inference_service.detections import Image
from inference_service.live import grab, retrieve

BLANK = (540, 960)
"""Height and width of a picture without a frame, in pixels."""

GREY, WHITE, RED = (64, 64, 64), (255, 255, 255), (60, 60, 230)
COLOURS = {"browse": (220, 150, 40), "queue": (40, 200, 240), "staff": (190, 80, 190)}
"""Blue, green, red, as OpenCV orders them."""


def draw(picture: Image, layout: Layout, title: str) -> Image:
    """A copy of a picture with lines and zones on it.

    Args:
        picture: height x width x 3, blue, green, red.
        layout: lines, with an arrow in the direction of an entry (none for passing), and zones,
            filled by kind.
        title: at the top left.
    """
    canvas = picture.copy()
    for zone in layout.zones:
        cv2.fillPoly(canvas, [_corners(canvas, zone)], COLOURS[zone.kind])
    canvas = np.asarray(cv2.addWeighted(canvas, 0.35, picture, 0.65, 0), np.uint8)
    for zone in layout.zones:
        _outline(canvas, zone)
    for line in layout.lines:
        _line(canvas, line)
    _label(canvas, title, (10, 26))
    return canvas


def _pixel(canvas: Image, point: Point) -> tuple[int, int]:
    height, width = canvas.shape[:2]
    return _whole((point[0] * (width - 1), point[1] * (height - 1)))


def _whole(point: Pixel) -> tuple[int, int]:
    return round(point[0]), round(point[1])


def _corners(canvas: Image, zone: Zone) -> NDArray[np.int_]:
    return np.array([_pixel(canvas, point) for point in zone.polygon])


def _outline(canvas: Image, zone: Zone) -> None:
    corners = _corners(canvas, zone)
    cv2.polylines(canvas, [corners], True, COLOURS[zone.kind], 2, cv2.LINE_AA)
    left, top = corners.min(axis=0)
    _label(canvas, f"{zone.zone_id} ({zone.kind})", (int(left) + 6, int(top) + 22))


def _line(canvas: Image, line: Line) -> None:
    """Draw a line, with an arrow in the direction of an entry; passing has none."""
    a, b = _pixel(canvas, line.a), _pixel(canvas, line.b)
    cv2.line(canvas, a, b, RED, 3, cv2.LINE_AA)
    if line.kind == "passing":
        _label(canvas, f"{line.line_id}: passing", (a[0] + 6, a[1] - 8))
        return
    height, width = canvas.shape[:2]
    start, tip = entry_arrow(line, width - 1, height - 1, 0.08 * width)
    cv2.arrowedLine(canvas, _whole(start), _whole(tip), RED, 3, cv2.LINE_AA, 0, 0.3)
    _label(canvas, f"{line.line_id}: entry", (_whole(tip)[0] + 8, _whole(tip)[1] + 6))


def _label(canvas: Image, text: str, at: tuple[int, int]) -> None:
    font, size = cv2.FONT_HERSHEY_SIMPLEX, 0.6
    (width, height), below = cv2.getTextSize(text, font, size, 1)
    x = max(0, min(at[0], canvas.shape[1] - width - 4))
    y = max(height + 4, min(at[1], canvas.shape[0] - below - 2))
    cv2.rectangle(canvas, (x - 3, y - height - 4), (x + width + 3, y + below), GREY, -1)
    cv2.putText(canvas, text, (x, y), font, size, WHITE, 1, cv2.LINE_AA)


def read_background(frame: Path | None) -> Image:
    """A picture, or the first frame of a video; a blank picture without a file.

    Raises:
        StorelakeError: the file is missing, or neither of both.
    """
    if frame is None:
        return np.full((*BLANK, 3), 30, np.uint8)
    if not frame.is_file():
        raise StorelakeError(f"{frame} does not exist: name a picture or a video.")
    refuse_heic(frame)
    picture = read_image(frame)
    if picture is None:
        video = cv2.VideoCapture(str(frame))
        picture = retrieve(video) if grab(video) else None
        video.release()
    if picture is None:
        raise StorelakeError(f"{frame} is neither a picture nor a video that OpenCV can read.")
    return picture
