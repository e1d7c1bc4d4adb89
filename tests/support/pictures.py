"""Finds pictures in bytes: files of any kind, their text forms, and raw pixels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

PIXELS = 48
"""So many equal bytes of a row of pixels are no coincidence."""

_CERTAIN = re.compile(
    rb"\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|ftypisom|ftypmp42|"
    rb"iVBORw0KGgo|/9j/4AAQSkZJRg|data:image/(?!svg)",
    re.DOTALL,
)
_JPEG = re.compile(rb"\xff\xd8\xff")


def find_pictures(blob: bytes) -> list[str]:
    """What looks like a picture, with its place; a JPEG only if it can be decoded."""
    found = [f"{m.group()[:12]!r} at {m.start()}" for m in _CERTAIN.finditer(blob)]
    for match in _JPEG.finditer(blob):
        piece = np.frombuffer(blob[match.start() : match.start() + 2_000_000], np.uint8)
        if cv2.imdecode(piece, cv2.IMREAD_COLOR) is not None:
            found.append(f"a JPEG at {match.start()}")
    return found


def find_pixels(blob: bytes, frames: Iterable[NDArray[np.uint8]]) -> list[str]:
    """Rows of these pictures that are in the bytes."""
    found = []
    for number, frame in enumerate(frames):
        for y in range(0, frame.shape[0], 8):
            row = frame[y].tobytes()
            middle = len(row) // 2
            if blob.find(row[middle : middle + PIXELS]) >= 0:
                found.append(f"row {y} of frame {number}")
    return found


def bytes_of(path: Path) -> bytes:
    """A file's content; that of a Parquet file without its compression."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    table = pq.read_table(path, partitioning=None)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())
