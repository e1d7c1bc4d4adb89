"""Where people stood: person-seconds by place in the picture, from `silver.detections`.

A place is that of the feet, the bottom centre of a box (`anchor_x`, `anchor_y`). Staff counts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import And, EqualTo, GreaterThanOrEqual, LessThan

from conf.stores import Camera, Stores
from dashboard.live_lake import DetectionsReader
from streaming.transforms.silver_detections import PERSON, normal_label

ROWS, COLUMNS = 27, 48
"""Cells of a grid over the picture."""
LONGEST_GAP = 1.0
"""Seconds between two frames up to which both belong to one stretch without a pause."""
KEPT_SECONDS = 60.0
"""How long an answer is used again."""
STEPS = 7
"""Colours of the scale; style.css has them as `--heat-1` to `--heat-7`."""

Grid: TypeAlias = npt.NDArray[np.float64]
"""Person-seconds, of the shape (ROWS, COLUMNS); row 0 is the top of the picture."""


class HeatMaps:
    """Grids of cameras and times; one is read at a time, and kept for a minute.

    Args:
        detections: the table.
        stores: with the cameras, as they are now.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        detections: DetectionsReader,
        stores: Callable[[], Stores],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._detections, self._stores, self._clock = detections, stores, clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, datetime, datetime], tuple[float, Grid]] = {}

    def heat_grid(self, camera: Camera, start: datetime, end: datetime) -> Grid:
        """Person-seconds of a camera from start to before end (UTC). Blocks; for a thread.

        Raises:
            ReadError: why the lake cannot be read.
        """
        key = (camera.camera_id, start, end)
        with self._lock:
            now = self._clock()
            self._kept = {k: v for k, v in self._kept.items() if now - v[0] < KEPT_SECONDS}
            if key not in self._kept:
                self._kept[key] = (now, self._read(camera, start, end))
            return self._kept[key][1]

    def _read(self, camera: Camera, start: datetime, end: datetime) -> Grid:
        branch, _ = self._stores().camera(camera.camera_id)
        iceberg, _ = self._detections.load()
        where = And(
            EqualTo(term="branch_id", value=branch.branch_id),
            EqualTo(term="camera_id", value=camera.camera_id),
            GreaterThanOrEqual(term="captured_at", value=start.isoformat()),
            LessThan(term="captured_at", value=end.isoformat()),
        )
        wanted = ("captured_at", "class", "anchor_x", "anchor_y")
        scan = iceberg.scan(where, wanted)
        try:
            return add_up(scan.to_arrow_batch_reader(), camera.fps)
        except OSError as error:
            raise self._detections.unreadable(error) from error


def add_up(batches: Iterable[pa.RecordBatch], fps: float) -> Grid:
    """Person-seconds of people.

    A frame lasts as long as it came after the one before; after a pause, or at the beginning of a
    batch, 1 / fps.

    Args:
        batches: captured_at, class, anchor_x and anchor_y of a camera, whole frames together.
        fps: frames a second that the camera is expected to deliver.
    """
    total = np.zeros(ROWS * COLUMNS)
    for batch in batches:
        people = batch.filter(pc.equal(normal_label(batch["class"]), PERSON))
        if people.num_rows:
            moments = people["captured_at"].cast("int64").to_numpy()
            lasted = frame_seconds(moments, fps)
            total += np.bincount(_cells(people), weights=lasted, minlength=total.size)
    return total.reshape(ROWS, COLUMNS)


def frame_seconds(moments: npt.NDArray[np.int64], fps: float) -> npt.NDArray[np.float64]:
    """How long the frame of each row lasts, in seconds; `moments` are microseconds."""
    frames, of_row = np.unique(moments, return_inverse=True)
    gaps = np.diff(frames, prepend=frames[0] - int(2e6 * LONGEST_GAP)) / 1e6
    lasted: npt.NDArray[np.float64] = np.where(gaps > LONGEST_GAP, 1 / fps, gaps)[of_row]
    return lasted


def _cells(people: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Index of the cell of each row; the right and the bottom edge belong to the last one."""
    x, y = (people[name].to_numpy() for name in ("anchor_x", "anchor_y"))
    column = np.clip((x * COLUMNS).astype(np.int64), 0, COLUMNS - 1)
    row = np.clip((y * ROWS).astype(np.int64), 0, ROWS - 1)
    cells: npt.NDArray[np.int64] = row * COLUMNS + column
    return cells


def bounds(grid: Grid) -> list[float]:
    """Lower bounds of the colours in person-seconds; none for an empty grid.

    They rise with the square: the scale is linear in the square root, so that ways are seen beside
    places where people stand for long. The top is the 99.5th percentile of the cells with people.
    """
    if not grid.any():
        return []
    top = float(np.quantile(grid[grid > 0], 0.995))
    return [top * (step / STEPS) ** 2 for step in range(STEPS)]


def heat_svg(grid: Grid) -> str:
    """An SVG that fills its container: one path a colour, nothing where nobody stood."""
    low: Sequence[float] = bounds(grid)
    levels = np.where(grid > 0, np.searchsorted(low, grid, side="right"), 0)
    paths = [
        f'<path class="heat-{step}" d="{_squares(levels == step)}"/>'
        for step in range(1, STEPS + 1)
        if (levels == step).any()
    ]
    return (
        f'<svg class="heat" viewBox="0 0 {COLUMNS} {ROWS}" preserveAspectRatio="none" '
        f'aria-hidden="true">{"".join(paths)}</svg>'
    )


def _squares(cells: npt.NDArray[np.bool_]) -> str:
    return "".join(f"M{x} {y}h1v1h-1z" for y, x in np.argwhere(cells))
