"""The frames that cameras published against what lake and Postgres hold of them. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any, NamedTuple

from quality.reconciliation import (
    DETECTIONS,
    Difference,
    PlaceIds,
    Reconciliation,
    differences,
    reconcile,
)


class FrameEvent(NamedTuple):
    """One detection event, that is one frame.

    Attributes:
        captured_at: UTC.
        tracks: the track id of each box.
        topic, message: where it lies, and the id of its message there; empty before it is sent.
    """

    branch_id: str
    camera_id: str
    run_id: str
    frame_index: int
    captured_at: datetime
    tracks: tuple[str, ...]
    topic: str = ""
    message: str = ""

    @property
    def id(self) -> str:
        """What makes it a frame of its own: camera, run and index."""
        return f"{self.camera_id}/{self.run_id}/{self.frame_index}"

    @property
    def boxes(self) -> list[str]:
        """The id of each box: that of the frame, and the track."""
        return [f"{self.id}/{track}" for track in self.tracks]

    @property
    def minute(self) -> tuple[str, datetime]:
        """Camera and minute (UTC), as footfall_minute counts frames."""
        return self.camera_id, self.captured_at.replace(second=0, microsecond=0)


def read_frame(event: Mapping[str, Any], topic: str = "", message: str = "") -> FrameEvent:
    """A frame from a detection event (version 1).

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    return FrameEvent(
        event["branch_id"],
        event["camera_id"],
        event["run_id"],
        event["frame_index"],
        _utc(event["captured_at"]),
        tuple(box["track_id"] for box in event["detections"]),
        topic,
        message,
    )


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment.astimezone(timezone.utc)


def parse_frame(value: bytes | None, topic: str = "", message: str = "") -> FrameEvent | None:
    """A frame from the value of a message; None for a message that belongs in the quarantine."""
    try:
        return read_frame(json.loads(value or b""), topic, message)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return None


class FootfallMinute(NamedTuple):
    """What a row of footfall_minute counts, or a sum of such rows."""

    frames: int = 0
    late_frames: int = 0
    entries: int = 0
    exits: int = 0


def sum_minutes(rows: Iterable[FootfallMinute]) -> FootfallMinute:
    """What the rows count together."""
    return FootfallMinute(*map(sum, zip(FootfallMinute(), *rows, strict=True)))


@dataclass(frozen=True)
class ObservedFrames:
    """What was found of a run; repeated rows are repeated here.

    Attributes:
        bronze: frames in bronze.detections.
        boxes: ids of the boxes in silver.detections.
        quarantined: ids of the messages in quarantine.detections.
        minutes: (camera, minute in UTC) -> what footfall_minute counts.
    """

    bronze: Sequence[FrameEvent]
    boxes: Sequence[str]
    quarantined: Sequence[str]
    minutes: Mapping[tuple[str, datetime], FootfallMinute]

    def of(self, camera_id: str) -> ObservedFrames:
        """What was found of one camera."""
        frames = [f for f in self.bronze if f.camera_id == camera_id]
        messages = {f.message for f in frames}
        return replace(
            self,
            bronze=frames,
            boxes=[box for box in self.boxes if box.startswith(f"{camera_id}/")],
            quarantined=[m for m in self.quarantined if m in messages],
            minutes={key: row for key, row in self.minutes.items() if key[0] == camera_id},
        )


def reconcile_frames(sent: Iterable[FrameEvent], observed: ObservedFrames) -> Reconciliation:
    """Compare good frames that were sent with what was found of their cameras.

    Bronze holds each frame, silver each box, footfall_minute counts each frame in its minute.
    """
    frames = {frame.id: frame for frame in sent}
    boxes = {box for frame in frames.values() for box in frame.boxes}
    cameras = {frame.camera_id for frame in frames.values()}
    wanted = Counter(frame.minute for frame in frames.values())
    counted = {
        k: row.frames for k, row in observed.minutes.items() if row.frames and k[0] in cameras
    }
    total = sum_minutes(observed.minutes.values())
    places = (
        PlaceIds(
            "bronze_frames",
            DETECTIONS.received.name,
            "frames",
            frames,
            [f.id for f in observed.bronze],
        ),
        PlaceIds(
            "silver_rows",
            DETECTIONS.good.name,
            "boxes",
            boxes,
            observed.boxes,
            {"boxes that nobody sent in silver.detections": set(observed.boxes) - boxes},
        ),
    )
    late = Difference("unexpected", f"{total.late_frames} frames came too late to be followed")
    return reconcile(places).plus(
        *differences(
            "unexpected",
            "minutes of footfall_minute with another number of frames",
            {
                f"{camera} {at:%Y-%m-%dT%H:%M}"
                for (camera, at), _ in wanted.items() ^ counted.items()
            },
        ),
        *([late] if total.late_frames else []),
        frames_counted=total.frames,
        quarantined=len(observed.quarantined),
        entries=total.entries,
        exits=total.exits,
    )


def compare_published(who: str, published: int, observed: ObservedFrames) -> list[Difference]:
    """The number of events that a broker acknowledged against what was found of them.

    Args:
        who: names the camera, or all of them, in the sentences.
        published: events.
        observed: of the same cameras.
    """
    total = sum_minutes(observed.minutes.values())
    found = {
        "rows in bronze": len(observed.bronze),
        "different frames in bronze": len({f.id for f in observed.bronze}),
        "frames counted, late or quarantined": total.frames
        + total.late_frames
        + len(observed.quarantined),
    }
    return [
        Difference("unexpected", f"{who}: {published} frames published, {number} {what}")
        for what, number in found.items()
        if number != published
    ]


def reconcile_cameras(
    published: Mapping[str, int], topics: Mapping[str, str], observed: ObservedFrames
) -> Reconciliation:
    """Compare cameras with everything that a deployment holds where nothing else was.

    Args:
        published: camera -> events that its broker acknowledged.
        topics: camera -> where they were sent.
        observed: of all cameras.
    """
    found = reconcile_frames(observed.bronze, observed)
    for camera_id, count in published.items():
        here = observed.of(camera_id)
        found = found.plus(*compare_published(camera_id, count, here))
        # Pulsar gives a partition a topic of its own.
        if ways := {f.topic.split("-partition-")[0] for f in here.bronze} - {topics[camera_id]}:
            what = f"{camera_id}: came over {', '.join(sorted(ways))}"
            found = found.plus(Difference("unexpected", what))
    strangers = {f.camera_id for f in observed.bronze} - published.keys()
    return found.plus(
        *differences("unexpected", "cameras that nobody played", strangers),
        *differences("unexpected", "published, yet quarantined", observed.quarantined),
    )
