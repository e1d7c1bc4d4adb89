"""Detection events, version 1: one per processed frame.

The contract is `conf/contracts/detection_event.v1.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from hashlib import blake2b
from secrets import token_bytes
from typing import Any
from uuid import uuid4

import numpy as np

from inference_service.detections import Detections
from inference_service.frames import Frame

SCHEMA_VERSION = 1
MAX_DETECTIONS = 1000  # the contract's limit
DECIMALS = 5  # of a share: a hundredth of a pixel at 1,000 pixels


@dataclass(frozen=True)
class Runtime:
    """What made the boxes; ends up in ``runtime`` of every event."""

    detector: str
    model: str
    tracker: str
    device: str


@dataclass
class RunIdentity:
    """The id under which track ids count.

    It is random, new at each start and after each midnight in UTC: without it nobody can join the
    track ids of two days. It is also new when the clock was set back or the picture changed
    its size: times and places of before cannot be compared with those of after.
    """

    run_id: str = field(default_factory=lambda: uuid4().hex)
    _last: tuple[datetime, tuple[int, ...]] | None = None

    def roll(self, frame: Frame) -> bool:
        """Take a new id when the frame begins a run; True when the tracker has to start afresh."""
        at, size = frame.captured_at.astimezone(timezone.utc), frame.image.shape[:2]
        changed = False
        if self._last is not None:
            before, size_before = self._last
            changed = at.date() != before.date() or at < before or size != size_before
        if changed:
            self.run_id = uuid4().hex
        self._last = (at, size)
        return changed


@dataclass(frozen=True)
class EventBuilder:
    """Builds the events of one camera.

    The tracker's ids are replaced by a keyed hash over run, camera and id. The key is made at each
    start and enters no event, and the run changes each day: an id is not joinable
    outside of its day and camera.
    """

    branch_id: str
    camera_id: str
    runtime: Runtime
    _salt: bytes = field(default_factory=lambda: token_bytes(16), repr=False)

    @property
    def key(self) -> bytes:
        """The message key: what is ordered, is one camera."""
        return f"{self.branch_id}/{self.camera_id}".encode()

    def build(
        self, frame: Frame, run_id: str, detections: Detections, inference_ms: float
    ) -> dict[str, Any]:
        """The event of one frame, also when nothing was seen.

        Args:
            frame: the picture; only its size, index and time enter the event.
            run_id: see `RunIdentity`.
            detections: what the tracker returned; boxes in the frame's pixels.
            inference_ms: how long detecting took.
        """
        height, width = frame.image.shape[:2]
        captured_at = frame.captured_at.astimezone(timezone.utc)
        return {
            "event_id": str(uuid4()),
            "schema_version": SCHEMA_VERSION,
            "branch_id": self.branch_id,
            "camera_id": self.camera_id,
            "run_id": run_id,
            "frame_index": frame.index,
            "captured_at": captured_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "image": {"width": width, "height": height},
            "detections": [
                {**seen, "track_id": self._hide(run_id, seen["track_id"])}
                for seen in _objects(detections, width, height)[:MAX_DETECTIONS]
            ],
            "runtime": {**vars(self.runtime), "inference_ms": round(inference_ms, 3)},
        }

    def _hide(self, run_id: str, track_id: str) -> str:
        text = f"{run_id}/{self.camera_id}/{track_id}".encode()
        return blake2b(text, key=self._salt, digest_size=8).hexdigest()


def encode(event: dict[str, Any]) -> bytes:
    """The event as one line of JSON in UTF-8."""
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _objects(detections: Detections, width: int, height: int) -> list[dict[str, Any]]:
    if detections.track_ids is None:
        if len(detections):
            raise ValueError("an event needs track ids: pass the detections through a tracker")
        return []
    # Clipped to the picture; what lies outside of it has no area left and is dropped.
    shares = np.clip(detections.boxes / [width, height, width, height], 0.0, 1.0).round(DECIMALS)
    return [
        {"track_id": track_id, "class": name, "confidence": round(float(sure), 4), "bbox": [*box]}
        for track_id, name, sure, box in zip(
            detections.track_ids,
            detections.classes,
            detections.confidence,
            shares.tolist(),
            strict=True,
        )
        if box[0] < box[2] and box[1] < box[3]
    ]
