"""Kalman filters for boxes: each centre moves with a constant velocity, each size drifts.

Centre x, centre y, width and height do not influence each other, so every filter is four small ones
(value and speed, or value alone), and all boxes of a picture are computed as arrays at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference_service.detections import FloatArray

# All noise in shares of the box's height, which carries the perspective: people nearer to the
# camera are taller and cross more pixels a second. In the order centre x, centre y, width, height.
ACCELERATION = np.array([1.2, 1.2, 0.0, 0.0])  # heights / s^2: a person stops within a second
DRIFT = np.array([0.0, 0.0, 0.15, 0.15])  # heights / sqrt(s)
MEASUREMENT = np.array([0.06, 0.06, 0.10, 0.10])  # heights
FIRST_SPEED = np.array([1.0, 1.0, 0.0, 0.0])  # heights / s: brisk walking is about 0.8

Rows = NDArray[np.intp] | NDArray[np.bool_]


class BoxFilters:
    """`n` boxes in motion.

    Attributes:
        value: shape (n, 4), pixels: centre x, centre y, width, height.
        speed: shape (n, 4), pixels / s.
    """

    def __init__(self) -> None:
        self.value, self.speed = np.empty((0, 4)), np.empty((0, 4))
        # Variance of the value, covariance with the speed, variance of the speed.
        self._var, self._cov, self._speed_var = (np.empty((0, 4)) for _ in range(3))

    @property
    def boxes(self) -> FloatArray:
        """The expected boxes, shape (n, 4): x1, y1, x2, y2 in pixels."""
        half = np.maximum(self.value[:, 2:], 1.0) / 2
        return np.hstack([self.value[:, :2] - half, self.value[:, :2] + half])

    def predict(self, seconds: float) -> None:
        """Move all on in time."""
        push = (ACCELERATION * self._height()) ** 2
        drift = (DRIFT * self._height()) ** 2
        self.value = self.value + seconds * self.speed
        self._var = (
            self._var
            + 2 * seconds * self._cov
            + seconds**2 * self._speed_var
            + push * seconds**4 / 4
            + drift * seconds
        )
        self._cov = self._cov + seconds * self._speed_var + push * seconds**3 / 2
        self._speed_var = self._speed_var + push * seconds**2

    def correct(self, rows: Rows, boxes: FloatArray) -> None:
        """Take in a box that was seen, for each of the rows."""
        noise = (MEASUREMENT * self._height()[rows]) ** 2
        var, cov = self._var[rows], self._cov[rows]
        gain, speed_gain = var / (var + noise), cov / (var + noise)
        surprise = _measure(boxes) - self.value[rows]
        self.value[rows] += gain * surprise
        self.speed[rows] += speed_gain * surprise
        self._var[rows] = (1 - gain) * var
        self._cov[rows] = (1 - gain) * cov
        self._speed_var[rows] -= speed_gain * cov

    def add(self, boxes: FloatArray) -> None:
        """Begin to follow boxes that are new, after the rows that are there."""
        value = _measure(boxes)
        height = value[:, 3:]
        self.value = np.vstack([self.value, value])
        self.speed = np.vstack([self.speed, np.zeros_like(value)])
        self._var = np.vstack([self._var, (MEASUREMENT * height) ** 2])
        self._cov = np.vstack([self._cov, np.zeros_like(value)])
        self._speed_var = np.vstack([self._speed_var, (FIRST_SPEED * height) ** 2])

    def keep(self, rows: Rows) -> None:
        """Drop the others."""
        self.value, self.speed = self.value[rows], self.speed[rows]
        self._var, self._cov = self._var[rows], self._cov[rows]
        self._speed_var = self._speed_var[rows]

    def _height(self) -> FloatArray:
        return np.maximum(self.value[:, 3:], 1.0)


def _measure(boxes: FloatArray) -> FloatArray:
    return np.hstack([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]])
