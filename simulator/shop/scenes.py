"""Background of a picture: furniture, light and camera noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from simulator.shop.figures import Appearance, Colour, Pose, draw_person
from simulator.shop.views import ENTRANCE, HEIGHT, TILL, WIDTH, CameraView, Image

NOISE_PICTURES = 8
WALL_FAR = {ENTRANCE.camera_id: 8.5, TILL.camera_id: 10.6}
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Light:
    """Gain and offset of a picture, and how grainy the sensor is (standard deviation)."""

    gain: float = 1.0
    offset: float = 0.0
    grain: float = 4.0


def daylight(seconds: float, length: float) -> Light:
    """Clouds pass within a minute, and the day is brightest at its half."""
    noon = math.sin(math.pi * min(1.0, seconds / max(length, 1.0)))
    clouds = math.sin(seconds / 9.0) + 0.6 * math.sin(seconds / 3.7 + 1.0)
    return Light(gain=0.86 + 0.16 * noon + 0.05 * clouds, offset=2.0 * clouds)


class Scene:
    """One camera's room, empty; `picture` puts people and light into it.

    Args:
        view: the camera.
        seed: of the goods, the tiles and the noise; the same seed makes the same room.
    """

    def __init__(self, view: CameraView, seed: int = 1) -> None:
        self.view = view
        rng = np.random.default_rng([seed, sum(view.camera_id.encode())])
        self.empty = _room(view, rng)
        grain = rng.standard_normal((NOISE_PICTURES, HEIGHT, WIDTH, 3), np.float32)
        # 128 is no noise: one saturating sum then adds light and grain at once.
        self._noise = np.clip(grain * 12 + 128, 0, 255).astype(np.uint8)

    def picture(
        self, people: Sequence[tuple[Appearance, Pose]], light: Light, number: int = 0
    ) -> tuple[Image, list[Box]]:
        """The picture and the boxes in the order of `people`; the nearer hide the farther."""
        image = self.empty.copy()
        boxes: list[Box] = [(0.0, 0.0, 0.0, 0.0)] * len(people)
        for who in sorted(range(len(people)), key=lambda i: -people[i][1].far):
            boxes[who] = draw_person(image, self.view, *people[who])
        share = light.grain / 12
        noise = self._noise[number % NOISE_PICTURES]
        cv2.addWeighted(image, light.gain, noise, share, light.offset - 128 * share, dst=image)
        return image, boxes


def _room(view: CameraView, rng: np.random.Generator) -> Image:
    image: Image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:] = _shade((178, 186, 190), (214, 220, 224))
    _tiles(image, view)
    wall = WALL_FAR[view.camera_id]
    _wall(image, view, wall)
    if view.camera_id == ENTRANCE.camera_id:
        _street(image)
        _shelf(image, view, rng, far=wall, left=3.1, right=9.0)
    else:
        _shelf(image, view, rng, far=wall, left=-10.0, right=2.4)
        _counter(image, view, x=2.3, far=6.5)
        _counter(image, view, x=4.0, far=6.5)
        _rope(image, view)
    stains = rng.normal(0, 5, (HEIGHT // 8, WIDTH // 8, 1)).repeat(3, axis=2).astype(np.float32)
    spotted = np.clip(image + cv2.resize(stains, (WIDTH, HEIGHT)), 0, 255)
    return np.asarray(spotted, np.uint8)


def _shade(far: Colour, near: Colour) -> Image:
    share = np.linspace(0.0, 1.0, HEIGHT)[:, None, None]
    return np.asarray(np.array(far) * (1 - share) + np.array(near) * share, np.uint8)


def _line(
    image: Image, a: tuple[float, float], b: tuple[float, float], colour: Colour, width: int = 1
) -> None:
    ends = [(round(x * 16), round(y * 16)) for x, y in (a, b)]
    cv2.line(image, ends[0], ends[1], colour, width, cv2.LINE_AA, 4)


def _fill(image: Image, corners: Sequence[tuple[float, float]], colour: Colour) -> None:
    points = np.array([(round(x * 16), round(y * 16)) for x, y in corners], np.int32)
    cv2.fillPoly(image, [points], colour, cv2.LINE_AA, 4)


def _tiles(image: Image, view: CameraView) -> None:
    joint = (160, 168, 172)
    for x in range(-14, 15):
        _line(image, view.project(x, 0.5), view.project(x, 14), joint)
    for far in range(1, 14):
        _line(image, view.project(-20, far), view.project(20, far), joint)


def _wall(image: Image, view: CameraView, far: float) -> None:
    foot = view.project(0, far)[1]
    _fill(image, [(0, 0), (WIDTH, 0), (WIDTH, foot), (0, foot)], (205, 208, 206))
    _line(image, (0, foot), (WIDTH, foot), (120, 122, 125), 3)


def _street(image: Image) -> None:
    """Outside, left of the entrance: pavement, a window and the frame of the entrance."""
    edge = 0.65 * WIDTH
    outside = np.array([0.93, 0.97, 1.0]) * image[:, : int(edge)] * 0.86 + (22, 16, 8)
    image[:, : int(edge)] = np.clip(outside, 0, 255).astype(np.uint8)
    _fill(image, [(30, 0), (190, 0), (190, 120), (30, 120)], (226, 214, 190))
    _line(image, (110, 0), (110, 120), (120, 110, 100), 3)
    _fill(image, [(230, 10), (330, 10), (330, 110), (230, 110)], (120, 90, 170))
    _fill(image, [(edge - 5, 0), (edge + 5, 0), (edge + 5, 146), (edge - 5, 146)], (90, 96, 100))
    _line(image, (edge, 146), (edge, HEIGHT), (130, 136, 140), 3)


def _shelf(
    image: Image,
    view: CameraView,
    rng: np.random.Generator,
    *,
    far: float,
    left: float,
    right: float,
) -> None:
    """Boards full of goods in front of the wall."""
    for board in (0.25, 0.75, 1.25, 1.75):
        a, b = view.project(left, far, board), view.project(right, far, board)
        x = left
        while x < right:
            wide, tall = rng.uniform(0.12, 0.4), rng.uniform(0.2, 0.42)
            low, high = view.project(x, far, board), view.project(x + wide, far, board + tall)
            colour = tuple(int(c) for c in rng.integers(40, 235, 3))
            _fill(image, [low, (high[0], low[1]), high, (low[0], high[1])], colour)  # type: ignore[arg-type]
            x += wide + 0.04
        _line(image, a, b, (96, 104, 112), 2)


def _counter(image: Image, view: CameraView, *, x: float, far: float) -> None:
    """A till: a block with a belt, behind whoever pays."""
    near, back, up = far, far + 0.7, 0.9
    front = [view.project(x - 0.9, near), view.project(x + 0.9, near)]
    top = [view.project(x - 0.9, near, up), view.project(x + 0.9, near, up)]
    rear = [view.project(x - 0.9, back, up), view.project(x + 0.9, back, up)]
    _fill(image, [*front, top[1], top[0]], (92, 112, 132))
    _fill(image, [*top, rear[1], rear[0]], (60, 62, 66))
    screen = view.project(x + 0.5, back, 1.35)
    _fill(image, [(screen[0] - 9, screen[1] - 7), (screen[0] + 9, screen[1] - 7),
                  (screen[0] + 9, screen[1] + 9), (screen[0] - 9, screen[1] + 9)],
          (40, 40, 44))  # fmt: skip


def _rope(image: Image, view: CameraView) -> None:
    """A band on the floor where the queue stands."""
    for far in (4.35, 5.55):
        _line(image, view.project(-6, far), view.project(1.5, far), (70, 150, 190), 2)
