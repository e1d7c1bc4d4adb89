"""Rendered pictures of people, and a comparison of the results of two detectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inference_service.detections import Detections, Image
from inference_service.footage import draw_clip
from inference_service.sources import SourceOptions, open_source


def rendered_people(folder: Path) -> list[Image]:
    """Four pictures of a clip that is rendered into the folder."""
    clip = draw_clip(folder / "clip.avi", seconds=4, fps=5)
    frames = open_source(str(clip), SourceOptions())
    return [frame.image for frame in frames if frame.index in (10, 12, 14, 16)]


def assert_same(left: Detections, right: Detections) -> None:
    """Both have the same people: boxes within 1.5 pixels, confidence within 0.02."""
    assert len(left) == len(right) > 0
    rows, others = (np.argsort(found.boxes[:, 0]) for found in (left, right))
    assert left.boxes[rows] == pytest.approx(right.boxes[others], abs=1.5)
    assert left.confidence[rows] == pytest.approx(right.confidence[others], abs=0.02)
