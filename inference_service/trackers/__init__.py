"""Trackers: boxes of one picture in, boxes with ids out. One back end per file.

An id is unique per (camera, run, track): each camera has a tracker of its own, and a new run begins
with `Tracker.reset`. Track ids begin at 1 in each run and do not identify a person.
"""

from __future__ import annotations

from typing import Protocol

from conf.settings import InferenceSettings, SettingsError
from inference_service.detections import Detections
from inference_service.frames import Frame

KNOWN = ("botsort", "bytetrack", "deepsort")


class Tracker(Protocol):
    """Gives each object an id that does not change. One tracker serves one camera.

    Attributes:
        name: ``runtime.tracker`` of an event.
    """

    name: str

    def update(self, detections: Detections, frame: Frame) -> Detections:
        """The confirmed objects seen in `frame`, with track ids; calls go forward in time."""
        ...

    def reset(self) -> None:
        """Expire everything and count ids from 1 again (a new run begins)."""
        ...


def build_tracker(settings: InferenceSettings, fps: float, name: str | None = None) -> Tracker:
    """A new tracker of the kind that the settings (or `name`) choose.

    Args:
        settings: the branch of the tree.
        fps: frames a second that it will be shown.
        name: over the settings.

    Raises:
        SettingsError: no such tracker; the message names the known ones.
    """
    # Only the chosen one is loaded, and they import this module themselves.
    match name or settings.tracker:
        case "bytetrack":
            from inference_service.trackers.bytetrack import (  # noqa: PLC0415
                ByteTracker,
                TrackerConfig,
            )

            return ByteTracker(
                TrackerConfig(high=settings.track_confidence, lost_seconds=settings.lost_seconds)
            )
        case ("botsort" | "deepsort") as chosen:
            from inference_service.trackers.appearance import AppearanceTracker  # noqa: PLC0415

            return AppearanceTracker(
                chosen,
                fps,
                high=settings.track_confidence,
                lost_seconds=settings.lost_seconds,
            )
        case other:
            raise SettingsError(f"tracker {other!r} is unknown; known: {', '.join(KNOWN)}")
