"""Labelled pictures of the shop, to teach a detector: square cuts in the layout of YOLO.

People stand anywhere, in rows and in groups, cut by the picture's edge and hidden by each other;
a third of the pictures comes from cameras that hang differently and from shops with other goods.
A label is the whole person, also where something hides a part: the anchor of a track is the feet,
which are hidden first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from simulator.shop.figures import Appearance, Pose, draw_look
from simulator.shop.scenes import Box, Light, Scene
from simulator.shop.views import HEIGHT, VIEWS, WIDTH, CameraView, Image

SIDE = HEIGHT  # pixels of a cut
MOST_HIDDEN = 0.75
LEAST_INSIDE = 0.35
SCENES = 24
VALIDATION_SHARE = 0.1


def label_pictures(count: int, seed: int) -> Iterator[tuple[Image, list[Box]]]:
    """Draw `count` cuts of `SIDE` pixels with the boxes of everybody who can be seen."""
    rng = random.Random(seed)  # noqa: S311 - replayable pictures, not secrets
    scenes: dict[int, Scene] = {}
    for number in range(count):
        room = rng.randrange(SCENES)
        if room not in scenes:
            scenes[room] = Scene(_other_view(rng, room) if room % 3 == 2 else _view(room), room)
        scene = scenes[room]
        people = _crowd(rng, scene.view)
        light = Light(rng.uniform(0.65, 1.15), rng.uniform(-15, 15), rng.uniform(1, 9))
        image, boxes = scene.picture(people, light, number)
        seen = [box for at, box in enumerate(boxes) if _hidden(at, people, boxes) < MOST_HIDDEN]
        left = rng.randint(0, WIDTH - SIDE)
        cut = image[:, left : left + SIDE]
        if rng.random() < 0.3:
            cut = np.asarray(cv2.GaussianBlur(cut, (3, 3), rng.uniform(0.4, 1.0)), np.uint8)
        yield cut, [b for b in (_cut_box(box, left) for box in seen) if b is not None]


def write_pictures(
    folder: Path, count: int, seed: int, on_progress: Callable[[int], None] = lambda _: None
) -> Path:
    """Write ``images`` and ``labels`` (each ``train`` and ``val``); returns their ``data.yaml``."""
    rng = random.Random(seed)  # noqa: S311 - of the compression
    for kind in ("images", "labels"):
        for part in ("train", "val"):
            (folder / kind / part).mkdir(parents=True, exist_ok=True)
    for number, (image, boxes) in enumerate(label_pictures(count, seed)):
        part = "val" if number < count * VALIDATION_SHARE else "train"
        quality = [cv2.IMWRITE_JPEG_QUALITY, rng.randint(55, 95)]
        cv2.imwrite(str(folder / "images" / part / f"{number:06d}.jpg"), image, quality)
        label = "".join(_yolo(box) for box in boxes)
        (folder / "labels" / part / f"{number:06d}.txt").write_text(label, encoding="utf-8")
        on_progress(number + 1)
    sheet = folder / "data.yaml"
    sheet.write_text(
        "train: images/train\nval: images/val\nnames:\n  0: person\n", encoding="utf-8"
    )
    return sheet


def _view(number: int) -> CameraView:
    return list(VIEWS.values())[number % len(VIEWS)]


def _other_view(rng: random.Random, number: int) -> CameraView:
    return CameraView(
        _view(number // 3).camera_id,
        height=rng.uniform(2.6, 4.0),
        tilt=rng.uniform(18, 34),
        focal=rng.uniform(320, 520),
    )


def _crowd(rng: random.Random, view: CameraView) -> list[tuple[Appearance, Pose]]:
    people = [_somebody(rng, view, rng.uniform(3.2, 9.6), None) for _ in range(rng.randint(0, 9))]
    if rng.random() < 0.35:  # a row, as in a queue
        far, start, step = rng.uniform(4, 7), rng.uniform(-5, 1), rng.uniform(0.6, 1.1)
        people += [
            _somebody(rng, view, far + rng.uniform(-0.2, 0.2), start + place * step)
            for place in range(rng.randint(2, 6))
        ]
    if rng.random() < 0.4:  # small ones, before the goods
        people += [_somebody(rng, view, rng.uniform(8.6, 9.9), None) for _ in range(4)]
    if rng.random() < 0.3:  # a group, one before the other
        far, x = rng.uniform(4, 8), rng.uniform(-2.5, 2.5)
        people += [
            _somebody(rng, view, far + rng.uniform(-0.9, 0.9), x + rng.uniform(-0.7, 0.7))
            for _ in range(rng.randint(2, 3))
        ]
    return people


def _somebody(
    rng: random.Random, view: CameraView, far: float, x: float | None
) -> tuple[Appearance, Pose]:
    if x is None:
        x = view.edge(far, rng.uniform(-0.03, 1.03))
    stride = rng.random() if rng.random() < 0.65 else None
    pose = Pose(x, far, rng.choice([-1, -1, 0, 1, 1]), stride, rng.uniform(-0.02, 0.02))
    return draw_look(rng), pose


def _hidden(at: int, people: list[tuple[Appearance, Pose]], boxes: list[Box]) -> float:
    """The share of a person's box that lies behind the boxes of the nearer ones."""
    x1, y1, x2, y2 = (round(v) for v in boxes[at])
    if x2 <= x1 or y2 <= y1:
        return 1.0
    mask = np.zeros((y2 - y1, x2 - x1), bool)
    for other, (_, pose) in enumerate(people):
        if pose.far < people[at][1].far:
            left, top, right, bottom = (round(v) for v in boxes[other])
            mask[max(0, top - y1) : max(0, bottom - y1), max(0, left - x1) : max(0, right - x1)] = 1
    return float(mask.mean())


def _cut_box(box: Box, left: int) -> Box | None:
    x1, y1, x2, y2 = box[0] - left, box[1], box[2] - left, box[3]
    inside = max(0.0, x1), max(0.0, y1), min(float(SIDE), x2), min(float(SIDE), y2)
    area = max(0.0, inside[2] - inside[0]) * max(0.0, inside[3] - inside[1])
    return inside if area >= LEAST_INSIDE * (x2 - x1) * (y2 - y1) else None


def _yolo(box: Box) -> str:
    x1, y1, x2, y2 = (value / SIDE for value in box)
    return f"0 {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n"
