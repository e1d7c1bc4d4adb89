"""Frames of a camera whose right footfall is known: one person at a time crosses the entrance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from conf.stores import Point
from simulator.history import detection_fields

CYCLE_SECONDS = 10
"""One walker every ten seconds; the second half of a cycle shows nobody."""

START, END = 0.35, 0.95
"""Where the feet are at the ends of a walk, as shares of the picture."""

NAMESPACE = UUID("5e3f2f0a-5a0f-4a58-9a55-0d0c5f5f4a10")


class Camera(NamedTuple):
    """A camera of the demo store and how it publishes.

    Attributes:
        branch_id, camera_id: of its entrance.
        broker: `kafka` or `pulsar`.
        fps: frames a second.
        downward: who enters walks down in the picture; else from left to right.
    """

    branch_id: str
    camera_id: str
    broker: str = "kafka"
    fps: int = 5
    downward: bool = False

    @property
    def key(self) -> bytes:
        """Of its messages."""
        return f"{self.branch_id}/{self.camera_id}".encode()

    @property
    def cycle(self) -> int:
        """Frames from one walker to the next."""
        return self.fps * CYCLE_SECONDS


ENTRANCE = Camera("B01", "B01-entrance")
PULSAR = Camera("B02", "B02-entrance", "pulsar", downward=True)
CROWDED = Camera("B03", "B03-entrance", fps=45, downward=True)


class Crossings(NamedTuple):
    """People who cross the entrance, in either direction."""

    entries: int
    exits: int


def frame(camera: Camera, run_id: str, index: int, captured_at: datetime) -> dict[str, Any]:
    """One detection event (version 1) of the run; the same arguments give the same event.

    Args:
        camera: that sees it.
        run_id: of the camera.
        index: from 0; decides who is where.
        captured_at: of the frame (UTC).
    """
    return {
        "event_id": str(uuid5(NAMESPACE, f"{run_id}/{index}")),
        "branch_id": camera.branch_id,
        "camera_id": camera.camera_id,
        "run_id": run_id,
        "frame_index": index,
        **detection_fields(captured_at.astimezone(timezone.utc), _people(camera, index)),
    }


def _people(camera: Camera, index: int) -> list[tuple[str, Point]]:
    walker, step = divmod(index, camera.cycle)
    steps = camera.cycle // 2
    if step >= steps:
        return []
    share = step / (steps - 1)
    feet = START + (END - START) * (1 - share if is_exit(walker) else share)
    return [(f"walker-{walker}", (0.3, feet) if camera.downward else (feet, 0.6))]


def is_exit(walker: int) -> bool:
    """Every third walker leaves; the others enter."""
    return walker % 3 == 2


def expected(camera: Camera, frames: Iterable[Mapping[str, Any]]) -> Crossings:
    """What frames of whole cycles must lead to."""
    walkers = {one["frame_index"] // camera.cycle for one in frames}
    exits = sum(map(is_exit, walkers))
    return Crossings(len(walkers) - exits, exits)
