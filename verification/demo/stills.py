"""Stills of the simulated shop with what was detected in them; never of footage of people."""

from __future__ import annotations

from base64 import b64encode
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pyiceberg.expressions import GreaterThanOrEqual

from conf.stores import Stores
from inference_service.zone_picture import draw
from streaming.lake.protocol import Lake

GREEN = (60, 170, 60)
BOX = ("x1", "y1", "x2", "y2")
COLUMNS = ("camera_id", "frame_index", *BOX)

Boxes = Mapping[str, Mapping[int, Sequence[tuple[float, ...]]]]
"""Camera -> index of a frame -> boxes in shares of the picture."""


def read_boxes(lake: Lake, since: datetime) -> Boxes:
    """The boxes in silver.detections of frames captured since a time (UTC)."""
    where = GreaterThanOrEqual(term="captured_at", value=since.isoformat())
    found: defaultdict[str, defaultdict[int, list[tuple[float, ...]]]]
    found = defaultdict(lambda: defaultdict(list))
    for row in lake.read("silver.detections", COLUMNS, where).to_pylist():
        box = tuple(row[side] for side in BOX)
        found[row["camera_id"]][row["frame_index"]].append(box)
    return found


def stills(films: Mapping[str, Path], boxes: Boxes, stores: Stores) -> list[dict[str, Any]]:
    """The frame with most boxes of each camera, with its lines and zones.

    Args:
        films: camera -> video of the simulated shop, of which each picture was a frame.
        boxes: of these frames.
        stores: with the layouts.

    Returns:
        camera, people, and the picture as base64 of a JPEG.
    """
    found = []
    for camera_id, film in films.items():
        frames = boxes.get(camera_id, {})
        if not frames:
            continue
        index, people = max(frames.items(), key=lambda frame: len(frame[1]))
        if picture := _still(film, index, people, camera_id, stores):
            found.append({"camera": camera_id, "people": len(people), "jpeg": picture})
    return found


def _still(
    film: Path, index: int, boxes: Sequence[tuple[float, ...]], camera_id: str, stores: Stores
) -> str | None:
    video = cv2.VideoCapture(str(film))
    video.set(cv2.CAP_PROP_POS_FRAMES, index)
    ok, image = video.read()
    video.release()
    if not ok:
        return None
    _, camera = stores.camera(camera_id)
    canvas = draw(np.asarray(image, np.uint8), stores.layouts(camera)[-1], camera_id)
    height, width = canvas.shape[:2]
    for x1, y1, x2, y2 in boxes:
        corners = (int(x1 * width), int(y1 * height)), (int(x2 * width), int(y2 * height))
        cv2.rectangle(canvas, *corners, GREEN, 2, cv2.LINE_AA)
    _, data = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return b64encode(data.tobytes()).decode()
