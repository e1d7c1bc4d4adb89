"""What a person looks like: colours of the upper and the lower body, which need no weights.

A vector lives as long as its track, in this process only. Pictures without colours make all people
alike.
"""

from __future__ import annotations

import cv2
import numpy as np

from inference_service.detections import FloatArray, Image

PATCH = (16, 32)  # pixels; width and height to which a person is reduced before colours are counted
BINS = [8, 4]  # of hue and saturation, for each half of the body


def describe(image: Image, boxes: FloatArray) -> FloatArray:
    """The looks of each box, shape (n, 2 * 8 * 4): colours of its upper and lower half.

    Roots of shares, so that the cosine of two vectors is their Bhattacharyya coefficient.
    """
    height, width = image.shape[:2]
    corners = np.clip(boxes, 0, [width, height, width, height]).astype(int)
    bins = 2 * BINS[0] * BINS[1]
    looks = np.full((len(boxes), bins), bins**-0.5)
    for row, (x1, y1, x2, y2) in enumerate(corners):
        if x2 - x1 < 2 or y2 - y1 < 2:
            continue  # outside of the picture: no appearance
        patch = cv2.cvtColor(cv2.resize(image[y1:y2, x1:x2], PATCH), cv2.COLOR_BGR2HSV)
        middle = PATCH[1] // 2
        halves = [
            cv2.calcHist([half], [0, 1], None, BINS, [0, 180, 0, 256]).ravel()
            for half in (patch[:middle], patch[middle:])
        ]
        looks[row] = np.sqrt(np.concatenate(halves) / (PATCH[0] * PATCH[1]))
    return looks
