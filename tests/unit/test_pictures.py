"""The search for pictures finds them, so that finding none proves something."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.support.pictures import bytes_of, find_pictures, find_pixels

NOISE = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)


def encoded(ending: str) -> bytes:
    return bytes(cv2.imencode(ending, NOISE)[1])


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
def test_a_picture_is_found_between_other_bytes(ending: str) -> None:
    assert find_pictures(b"x" * 100 + encoded(ending) + b"y" * 100)


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_a_picture_is_found_as_text(ending: str) -> None:
    assert find_pictures(b'{"image": "' + base64.b64encode(encoded(ending)) + b'"}')


def test_a_picture_is_found_in_a_compressed_table(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"value": [b"", encoded(".png")]}), path, compression="zstd")
    assert find_pictures(bytes_of(path))


def test_pixels_are_found_as_they_are() -> None:
    assert find_pixels(b"before" + NOISE.tobytes() + b"after", [NOISE])


def test_nothing_is_found_where_nothing_is() -> None:
    other = np.random.default_rng(2).integers(0, 255, 1_000_000, np.uint8).tobytes()
    assert find_pictures(other) == []
    assert find_pixels(other, [NOISE]) == []
