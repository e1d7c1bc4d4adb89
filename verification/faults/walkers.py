"""Frames of a camera whose right footfall is known: one person at a time crosses the entrance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from conf.stores import Point
from simulator.history import detection_fields

BRANCH_ID, CAMERA_ID = "B01", "B01-entrance"
KEY = f"{BRANCH_ID}/{CAMERA_ID}".encode()
FPS = 5.0
CYCLE_FRAMES = 50
"""One walker every ten seconds; the second half of a cycle shows nobody."""

WALK_FRAMES = 25
LEFT, RIGHT = 0.35, 0.95
"""Where the feet are at the ends of a walk, as shares of the width; the entrance is at 0.65."""

NAMESPACE = UUID("5e3f2f0a-5a0f-4a58-9a55-0d0c5f5f4a10")


class Crossings(NamedTuple):
    """People who cross the entrance, in either direction."""

    entries: int
    exits: int


def frame(run_id: str, index: int, captured_at: datetime) -> dict[str, Any]:
    """One detection event (version 1) of the run; the same arguments give the same event.

    Args:
        run_id: of the camera.
        index: from 0; decides who is where.
        captured_at: of the frame (UTC).
    """
    return {
        "event_id": str(uuid5(NAMESPACE, f"{run_id}/{index}")),
        "branch_id": BRANCH_ID,
        "camera_id": CAMERA_ID,
        "run_id": run_id,
        "frame_index": index,
        **detection_fields(captured_at.astimezone(timezone.utc), _people(index)),
    }


def _people(index: int) -> list[tuple[str, Point]]:
    walker, step = divmod(index, CYCLE_FRAMES)
    if step >= WALK_FRAMES:
        return []
    share = step / (WALK_FRAMES - 1)
    x = LEFT + (RIGHT - LEFT) * (1 - share if is_exit(walker) else share)
    return [(f"walker-{walker}", (x, 0.6))]


def is_exit(walker: int) -> bool:
    """Every third walker leaves; the others enter."""
    return walker % 3 == 2


def expected(frames: Iterable[Mapping[str, Any]]) -> Crossings:
    """What frames of whole cycles must lead to."""
    walkers = {one["frame_index"] // CYCLE_FRAMES for one in frames}
    exits = sum(map(is_exit, walkers))
    return Crossings(len(walkers) - exits, exits)
