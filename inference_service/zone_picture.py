"""A picture of the lines and zones of a camera."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from conf.errors import StorelakeError
from conf.stores import Layout, Line, Point, Zone
from inference_service.containers import read_image, refuse_heic
from inference_service.live import grab, retrieve

Image = NDArray[np.uint8]

BLANK = (540, 960)
"""Height and width of a picture without a frame, in pixels."""

GREY, WHITE, RED = (64, 64, 64), (255, 255, 255), (60, 60, 230)
COLOURS = {"browse": (220, 150, 40), "queue": (40, 200, 240), "staff": (190, 80, 190)}
"""Blue, green, red, as OpenCV orders them."""


def draw(picture: Image, layout: Layout, title: str) -> Image:
    """A copy of a picture with lines and zones on it.

    Args:
        picture: height x width x 3, blue, green, red.
        layout: lines, each with an arrow in the direction of an entry, and zones, filled by kind.
        title: at the top left.
    """
    canvas = picture.copy()
    for zone in layout.zones:
        cv2.fillPoly(canvas, [_corners(canvas, zone)], COLOURS[zone.kind])
    canvas = np.asarray(cv2.addWeighted(canvas, 0.35, picture, 0.65, 0), np.uint8)
    for zone in layout.zones:
        _outline(canvas, zone)
    for line in layout.lines:
        _arrow(canvas, line)
    _label(canvas, title, (10, 26))
    return canvas


def _pixel(canvas: Image, point: Point) -> tuple[int, int]:
    height, width = canvas.shape[:2]
    return round(point[0] * (width - 1)), round(point[1] * (height - 1))


def _corners(canvas: Image, zone: Zone) -> NDArray[np.int_]:
    return np.array([_pixel(canvas, point) for point in zone.polygon])


def _outline(canvas: Image, zone: Zone) -> None:
    corners = _corners(canvas, zone)
    cv2.polylines(canvas, [corners], True, COLOURS[zone.kind], 2, cv2.LINE_AA)
    left, top = corners.min(axis=0)
    _label(canvas, f"{zone.zone_id} ({zone.kind})", (int(left) + 6, int(top) + 22))


def _arrow(canvas: Image, line: Line) -> None:
    """Draw a line, and an arrow to the right of its direction from a to b (y grows downwards)."""
    a, b = (np.array(_pixel(canvas, p)) for p in (line.a, line.b))
    cv2.line(canvas, a.tolist(), b.tolist(), RED, 3, cv2.LINE_AA)
    along = (b - a) / np.linalg.norm(b - a)
    middle = (a + b) / 2
    inwards = np.array([-along[1], along[0]]) * 0.08 * canvas.shape[1]
    start, tip = middle.astype(int).tolist(), (middle + inwards).astype(int).tolist()
    cv2.arrowedLine(canvas, start, tip, RED, 3, cv2.LINE_AA, 0, 0.3)
    x, y = middle + inwards * 1.15
    what = "passing" if line.kind == "passing" else "entry"
    _label(canvas, f"{line.line_id}: {what}", (int(x), int(y) + 6))


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
