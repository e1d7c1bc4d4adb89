"""One way of one person through one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simulator.shop.figures import STRIDES_PER_METRE, Appearance, Pose
from simulator.shop.views import HEIGHT, WIDTH, CameraView, FloatArray
from udfs.geometry import Point

STEP = 0.5  # metres
STANDING = 0.15  # metres a second
SAMPLE_SECONDS = 0.1

Stop = tuple[float, float, float]
"""Second of the day, x, far: where somebody is at that moment; straight and even in between."""


@dataclass(frozen=True)
class Path:
    """From the first stop to the last; nobody is in the picture before or after.

    Attributes:
        stops: in the order of time, at least two.
        facing: how somebody stands who does not walk.
    """

    shopper_id: str
    view: CameraView
    look: Appearance
    stops: Sequence[Stop]
    facing: int = 0

    @property
    def begins(self) -> float:
        """Second of the day."""
        return self.stops[0][0]

    @property
    def ends(self) -> float:
        """Second of the day."""
        return self.stops[-1][0]

    @cached_property
    def _columns(self) -> FloatArray:
        return np.array(self.stops, np.float64).T

    @cached_property
    def _walked(self) -> FloatArray:
        """Metres from the first stop to each."""
        _, x, far = self._columns
        return np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(far)))])

    def pose(self, second: float) -> Pose:
        """Where the person is and how it stands or steps."""
        times, xs, fars = self._columns
        x, far, walked = (float(np.interp(second, times, v)) for v in (xs, fars, self._walked))
        at = int(np.clip(np.searchsorted(times, second, side="right") - 1, 0, len(times) - 2))
        span = max(float(times[at + 1] - times[at]), 1e-6)
        across, away = float(xs[at + 1] - xs[at]) / span, float(fars[at + 1] - fars[at]) / span
        if math.hypot(across, away) < STANDING:
            sway = 0.012 * math.sin(0.9 * second + 7 * self.look.width * self.look.height)
            return Pose(x, far, self.facing, None, sway)
        sideways = abs(across) > 0.6 * abs(away)
        facing = (1 if across > 0 else -1) if sideways else 0
        return Pose(x, far, facing, walked * STRIDES_PER_METRE)

    def samples(self) -> tuple[FloatArray, FloatArray]:
        """Seconds, shape (n,), and where the feet are then, shape (n, 2), shares of the picture."""
        times, xs, fars = self._columns
        seconds = np.arange(self.begins, self.ends, SAMPLE_SECONDS)
        x, far = np.interp(seconds, times, xs), np.interp(seconds, times, fars)
        return seconds, self.view.shares(x, far)

    def step(self, a: Point, b: Point) -> FloatArray:
        """Length of a step across the line from a to b for each of `samples`, in shares."""
        times, xs, fars = self._columns
        seconds = np.arange(self.begins, self.ends, SAMPLE_SECONDS)
        x, far = np.interp(seconds, times, xs), np.interp(seconds, times, fars)
        wide = self.view.shares(x + STEP, far)[:, 0] - self.view.shares(x, far)[:, 0]
        across, along = b[1] - a[1], (b[0] - a[0]) * WIDTH / HEIGHT
        return np.asarray(wide * math.hypot(across, along) / math.dist(a, b), np.float64)


def walk(start: Stop, places: Sequence[tuple[float, float]], speed: float) -> list[Stop]:
    """The stops of somebody who walks from `start` to each place at `speed` metres a second.

    Returns:
        One stop a place; `start` itself is not among them.
    """
    stops, (second, x, far) = [], start
    for next_x, next_far in places:
        second += math.hypot(next_x - x, next_far - far) / speed
        x, far = next_x, next_far
        stops.append((second, x, far))
    return stops
