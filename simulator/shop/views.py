"""Where the cameras of the shop hang and what they see: a pinhole over a flat floor.

Every camera has its own floor plan: `x` metres to the right of the camera, `far` metres away from
the point below it. Pictures are `WIDTH` x `HEIGHT` pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 640, 360
FPS = 5.0

FloatArray = NDArray[np.float64]
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class CameraView:
    """One camera: `height` metres over the floor, looking down by `tilt` degrees, without roll."""

    camera_id: str
    height: float = 3.2
    tilt: float = 25.0
    focal: float = 400.0  # pixels

    @cached_property
    def _turn(self) -> tuple[float, float]:
        return math.sin(math.radians(self.tilt)), math.cos(math.radians(self.tilt))

    def project(self, x: float, far: float, up: float = 0.0) -> tuple[float, float]:
        """Pixel of a point `up` metres over the floor."""
        sin, cos = self._turn
        below = self.height - up
        depth = far * cos + below * sin
        return (
            WIDTH / 2 + self.focal * x / depth,
            HEIGHT / 2 + self.focal * (below * cos - far * sin) / depth,
        )

    def shares(self, x: FloatArray, far: FloatArray) -> FloatArray:
        """Points of the floor, shape (n,) each -> shape (n, 2), shares of the picture."""
        sin, cos = self._turn
        depth = far * cos + self.height * sin
        across = 0.5 + self.focal * x / depth / WIDTH
        down = 0.5 + self.focal * (self.height * cos - far * sin) / depth / HEIGHT
        return np.stack([across, down], axis=1)

    def edge(self, far: float, share: float) -> float:
        """The `x` at which the floor, `far` away, has this share of the picture's width."""
        sin, cos = self._turn
        return (share - 0.5) * WIDTH * (far * cos + self.height * sin) / self.focal


ENTRANCE = CameraView("B01-entrance")
TILL = CameraView("B01-till")
VIEWS = {view.camera_id: view for view in (ENTRANCE, TILL)}
