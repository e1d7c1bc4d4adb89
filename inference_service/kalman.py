"""A Kalman filter for one box: the centre moves with a constant velocity, the size drifts."""

from __future__ import annotations

import numpy as np

from inference_service.detections import FloatArray

# All noise in shares of the box's height, which carries the perspective: people nearer to the
# camera are taller and cross more pixels a second.
ACCELERATION = 1.2  # heights / s^2: a person stops or turns within a second
SIZE_DRIFT = 0.15  # heights / sqrt(s)
MEASUREMENT = np.array([0.06, 0.06, 0.10, 0.10])  # heights: centre x, centre y, width, height
FIRST_SPEED = 1.0  # heights / s: brisk walking is about 0.8
SEEN = np.eye(4, 6)


class BoxFilter:
    """State: centre x, centre y, width, height, velocity x, velocity y (pixels, seconds)."""

    def __init__(self, box: FloatArray) -> None:
        self._state = np.concatenate([_measure(box), [0.0, 0.0]])
        height = self._state[3]
        spread = np.concatenate([MEASUREMENT, [FIRST_SPEED, FIRST_SPEED]]) * height
        self._covariance = np.diag(spread**2)

    @property
    def box(self) -> FloatArray:
        """The expected box: x1, y1, x2, y2 in pixels."""
        half = np.maximum(self._state[2:4], 1.0) / 2
        return np.concatenate([self._state[:2] - half, self._state[:2] + half])

    def predict(self, seconds: float) -> None:
        """Move the state on in time."""
        step = np.eye(6)
        step[0, 4] = step[1, 5] = seconds
        height = max(self._state[3], 1.0)
        push = (ACCELERATION * height) ** 2
        noise = np.diag([0.0, 0.0, *[(SIZE_DRIFT * height) ** 2 * seconds] * 2, 0.0, 0.0])
        for place, speed in ((0, 4), (1, 5)):
            noise[place, place] = push * seconds**4 / 4
            noise[place, speed] = noise[speed, place] = push * seconds**3 / 2
            noise[speed, speed] = push * seconds**2
        self._state = step @ self._state
        self._covariance = step @ self._covariance @ step.T + noise

    def correct(self, box: FloatArray) -> None:
        """Take in a box that was seen."""
        noise = np.diag((MEASUREMENT * max(self._state[3], 1.0)) ** 2)
        gain = self._covariance @ SEEN.T @ np.linalg.inv(SEEN @ self._covariance @ SEEN.T + noise)
        self._state = self._state + gain @ (_measure(box) - SEEN @ self._state)
        self._covariance = (np.eye(6) - gain @ SEEN) @ self._covariance


def _measure(box: FloatArray) -> FloatArray:
    return np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])
