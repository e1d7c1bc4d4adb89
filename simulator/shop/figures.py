"""People as the cameras see them: jointed figures with a coat, a gait and now and then a bag.

A figure is laid out in body heights (to the side, upwards) and drawn with sub-pixel steps, so that
a slow walk looks smooth. Its box is that of the drawn parts, also where something hides them.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from simulator.shop.views import CameraView, Image

Colour = tuple[int, int, int]
SHIFT = 4  # sub-pixels: 1/16
SKINS: tuple[Colour, ...] = (
    (150, 180, 225), (120, 155, 210), (95, 130, 190), (70, 95, 150), (50, 70, 110),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (30, 30, 35), (35, 55, 85), (60, 100, 150), (110, 120, 125), (170, 175, 180),
)  # fmt: skip
STRIDES_PER_METRE = 0.7


@dataclass(frozen=True)
class Appearance:
    """What distinguishes one shopper from another; colours in BGR."""

    height: float  # metres
    width: float  # of the shoulders, in body heights
    coat: Colour
    legs: Colour
    skin: Colour
    hair: Colour
    coat_end: float  # where it ends, in body heights over the floor
    bag: Colour | None
    stripe: Colour | None
    hat: bool


@dataclass(frozen=True)
class Pose:
    """Where somebody stands and how.

    Attributes:
        x, far: metres on the floor plan of the view.
        facing: -1 to the left, 1 to the right, 0 towards or away from the camera.
        stride: phase of the gait in turns; None for somebody who stands.
        sway: how far a standing body leans to the side, in body heights.
    """

    x: float
    far: float
    facing: int = 0
    stride: float | None = None
    sway: float = 0.0


def draw_look(rng: random.Random) -> Appearance:
    """Somebody new."""

    def colour(brightest: int) -> Colour:
        return rng.randrange(brightest), rng.randrange(brightest), rng.randrange(brightest)

    return Appearance(
        height=rng.uniform(1.52, 1.92),
        width=rng.uniform(0.22, 0.29),
        coat=colour(235),
        legs=colour(140),
        skin=rng.choice(SKINS),
        hair=rng.choice(HAIRS),
        coat_end=rng.choice([0.30, 0.42, 0.46, 0.48]),
        bag=colour(220) if rng.random() < 0.35 else None,
        stripe=colour(235) if rng.random() < 0.3 else None,
        hat=rng.random() < 0.15,
    )


class _Pen:
    """Draws in body heights around a point on the floor and remembers how far it came."""

    def __init__(self, image: Image, foot: tuple[float, float], pixels: float) -> None:
        self._image, self._foot, self._pixels = image, foot, pixels
        self.low, self.high = [math.inf, math.inf], [-math.inf, -math.inf]

    def _at(self, u: float, v: float, reach: float = 0.0) -> tuple[int, int]:
        x, y = self._foot[0] + u * self._pixels, self._foot[1] - v * self._pixels
        self._grow(x, y, reach * self._pixels, reach * self._pixels)
        return round(x * 2**SHIFT), round(y * 2**SHIFT)

    def _grow(self, x: float, y: float, wide: float, tall: float) -> None:
        self.low = [min(self.low[0], x - wide), min(self.low[1], y - tall)]
        self.high = [max(self.high[0], x + wide), max(self.high[1], y + tall)]

    def limb(self, points: list[tuple[float, float]], width: float, colour: Colour) -> None:
        """A bent, thick line."""
        thickness = max(1, round(width * self._pixels))
        joints = [self._at(u, v, width / 2) for u, v in points]
        for a, b in pairwise(joints):
            cv2.line(self._image, a, b, colour, thickness, cv2.LINE_AA, SHIFT)

    def shape(
        self, points: list[tuple[float, float]], colour: Colour, *, counts: bool = True
    ) -> None:
        """A filled convex polygon; what is carried does not count for the box."""
        low, high = self.low, self.high
        corners = np.array([self._at(u, v) for u, v in points], np.int32)
        if not counts:
            self.low, self.high = low, high
        cv2.fillConvexPoly(self._image, corners, colour, cv2.LINE_AA, SHIFT)

    def oval(
        self, u: float, v: float, wide: float, tall: float, colour: Colour, *, counts: bool = True
    ) -> None:
        """A filled ellipse with these half axes; a shadow does not count for the box."""
        x, y = self._foot[0] + u * self._pixels, self._foot[1] - v * self._pixels
        if counts:
            self._grow(x, y, wide * self._pixels, tall * self._pixels)
        unit = 2**SHIFT
        axes = round(wide * self._pixels * unit), round(tall * self._pixels * unit)
        cv2.ellipse(
            self._image, (round(x * unit), round(y * unit)), axes, 0, 0, 360, colour, -1,
            cv2.LINE_AA, SHIFT,
        )  # fmt: skip


def draw_person(
    image: Image, view: CameraView, look: Appearance, pose: Pose
) -> tuple[float, float, float, float]:
    """Draw somebody into the picture.

    Returns:
        The box in pixels, x1, y1, x2, y2; it may reach outside of the picture.
    """
    foot = view.project(pose.x, pose.far)
    top = view.project(pose.x, pose.far, look.height)
    pen = _Pen(image, foot, foot[1] - top[1])
    _shadow(pen, image, foot)
    swing = 0.0 if pose.stride is None else math.sin(2 * math.pi * pose.stride)
    lift = 0.0 if pose.stride is None else math.cos(2 * math.pi * pose.stride)
    broad = look.width if pose.facing == 0 else look.width * 0.72
    lean = pose.sway + 0.02 * pose.facing * (pose.stride is not None)
    _legs(pen, look, pose.facing, swing, lift)
    _arms(pen, look, (broad, lean), pose.facing, swing, behind=True)
    _body(pen, look, broad, lean)
    _arms(pen, look, (broad, lean), pose.facing, swing, behind=False)
    _head(pen, look, lean, pose.facing)
    return pen.low[0], pen.low[1], pen.high[0], pen.high[1]


def _shadow(pen: _Pen, image: Image, foot: tuple[float, float]) -> None:
    # The floor's own colour, darker: cheaper than blending, and it follows the floor.
    column = min(max(int(foot[0]), 0), image.shape[1] - 1)
    row = min(max(int(foot[1]) + 2, 0), image.shape[0] - 1)
    floor = image[row, column]
    dark = (int(floor[0] * 0.75), int(floor[1] * 0.75), int(floor[2] * 0.75))
    pen.oval(0.02, 0.0, 0.17, 0.035, dark, counts=False)


def _legs(pen: _Pen, look: Appearance, facing: int, swing: float, lift: float) -> None:
    hip = 0.05 if facing == 0 else 0.02
    for side in (-1, 1):
        reach = 0.15 * swing * side
        # Seen from the front a stride shows as a lifted foot, from the side as a wide step.
        out = hip * side + (reach * facing if facing else 0.0)
        up = max(0.0, lift * side) * 0.045
        knee = (hip * side + (out - hip * side) * 0.55 + 0.02 * facing, 0.26 + up)
        foot = (out, 0.035 + up)
        pen.limb([(hip * side, 0.49), knee, foot], 0.082, look.legs)
        pen.oval(out + 0.025 * facing, 0.022 + up, 0.05, 0.022, (30, 30, 35))


def _body(pen: _Pen, look: Appearance, broad: float, lean: float) -> None:
    half, hips, end = broad / 2, broad * 0.44, look.coat_end
    pen.shape(
        [(lean - half, 0.80), (lean - half * 0.6, 0.835), (lean + half * 0.6, 0.835),
         (lean + half, 0.80), (hips, end), (-hips, end)],
        look.coat,
    )  # fmt: skip
    if look.stripe:
        pen.shape(
            [(lean * 0.8 - half * 0.93, 0.70), (lean * 0.8 + half * 0.93, 0.70),
             (lean * 0.6 + half * 0.9, 0.62), (lean * 0.6 - half * 0.9, 0.62)],
            look.stripe,
        )  # fmt: skip


def _arms(
    pen: _Pen,
    look: Appearance,
    body: tuple[float, float],
    facing: int,
    swing: float,
    *,
    behind: bool,
) -> None:
    broad, lean = body
    dark = (int(look.coat[0] * 0.8), int(look.coat[1] * 0.8), int(look.coat[2] * 0.8))
    sides = (-1, 1) if facing == 0 else ((-1,) if behind else (1,))
    if facing == 0 and not behind:
        return
    for side in sides:
        shoulder = (lean + (side * broad * 0.48 if facing == 0 else 0.0), 0.785)
        hand = (
            shoulder[0] + (side * 0.035 if facing == 0 else -0.14 * swing * side * facing),
            0.46 + 0.02 * abs(swing),
        )
        elbow = ((shoulder[0] + hand[0]) / 2 - 0.02 * facing, 0.62)
        pen.limb([shoulder, elbow, hand], 0.058, dark if behind else look.coat)
        pen.oval(hand[0], hand[1] - 0.01, 0.026, 0.03, look.skin)
        if look.bag and side == 1:
            u, v = hand
            pen.shape(
                [(u - 0.07, v), (u + 0.07, v), (u + 0.09, v - 0.17), (u - 0.09, v - 0.17)],
                look.bag,
                counts=False,
            )


def _head(pen: _Pen, look: Appearance, lean: float, facing: int) -> None:
    pen.limb([(lean, 0.82), (lean, 0.87)], 0.06, look.skin)
    pen.oval(lean, 0.925, 0.056, 0.072, look.hair)
    if facing:
        pen.oval(lean + 0.018 * facing, 0.912, 0.042, 0.055, look.skin)
    if look.hat:
        pen.oval(lean, 0.965, 0.066, 0.03, look.stripe or look.legs)
