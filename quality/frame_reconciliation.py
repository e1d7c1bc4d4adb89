"""The frames that cameras published against what lake and Postgres hold of them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, NamedTuple

import msgspec

from quality.reconciliation import (
    DETECTIONS,
    Difference,
    Place,
    PlaceIds,
    Reconciliation,
    reconcile,
)

BRONZE = Place("bronze_frames", DETECTIONS.received.name, "frames")
SILVER = Place(
    "silver_rows", DETECTIONS.good.name, "boxes", "boxes that nobody sent in silver.detections"
)


class TrackedBox(msgspec.Struct, frozen=True):
    """One box of a frame."""

    track_id: str


class FrameEvent(msgspec.Struct, frozen=True):
    """One detection event (version 1), that is one frame; `captured_at` has a time zone.

    `stored_topic` and `message_id` locate it in a table; they are empty before it is sent.
    """

    branch_id: str
    camera_id: str
    run_id: str
    frame_index: int
    captured_at: Annotated[datetime, msgspec.Meta(tz=True)]
    detections: tuple[TrackedBox, ...]
    stored_topic: str = ""
    message_id: str = ""

    @property
    def id(self) -> str:
        """What makes it a frame of its own: camera, run and index."""
        return f"{self.camera_id}/{self.run_id}/{self.frame_index}"

    @property
    def boxes(self) -> list[str]:
        """The id of each box: that of the frame, and the track."""
        return [f"{self.id}/{box.track_id}" for box in self.detections]

    @property
    def minute(self) -> tuple[str, datetime]:
        """Camera and minute, as footfall_minute counts frames."""
        return self.camera_id, self.captured_at.replace(second=0, microsecond=0)


def parse_frame(value: bytes | None, topic: str = "", message_id: str = "") -> FrameEvent | None:
    """The frame in the value of a message; None for a message that belongs in the quarantine."""
    try:
        frame = msgspec.json.decode(value or b"", type=FrameEvent)
    except (ValueError, RecursionError):
        return None
    return msgspec.structs.replace(frame, stored_topic=topic, message_id=message_id)


class FootfallMinute(NamedTuple):
    """What a row of footfall_minute counts, or a sum of such rows."""

    frames: int = 0
    late_frames: int = 0
    entries: int = 0
    exits: int = 0


def sum_minutes(minutes: Mapping[tuple[str, datetime], FootfallMinute]) -> FootfallMinute:
    """The sum of all minutes."""
    return FootfallMinute(*map(sum, zip(FootfallMinute(), *minutes.values(), strict=True)))


@dataclass(frozen=True)
class ObservedFrames:
    """What was found of a run; repeated rows are repeated here.

    Attributes:
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
        messages = {f.message_id for f in frames}
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
    total, strange = sum_minutes(observed.minutes), set(observed.boxes) - boxes
    places = (
        PlaceIds(BRONZE, frames, [f.id for f in observed.bronze]),
        PlaceIds(SILVER, boxes, observed.boxes, strange),
    )
    late = [f"{total.late_frames} frames came too late to be followed"] * bool(total.late_frames)
    return reconcile(places).plus(
        Difference(
            "unexpected",
            "minutes of footfall_minute with another number of frames",
            _miscounted(frames.values(), observed),
        ),
        *(Difference("unexpected", what) for what in late),
        frames_counted=total.frames,
        quarantined=len(observed.quarantined),
        entries=total.entries,
        exits=total.exits,
    )


def _miscounted(frames: Collection[FrameEvent], observed: ObservedFrames) -> set[str]:
    cameras, wanted = {f.camera_id for f in frames}, Counter(f.minute for f in frames)
    rows = observed.minutes.items()
    counted = {key: row.frames for key, row in rows if row.frames and key[0] in cameras}
    return {f"{camera} {at:%Y-%m-%dT%H:%M}" for (camera, at), _ in wanted.items() ^ counted.items()}


def compare_published(who: str, published: int, observed: ObservedFrames) -> list[Difference]:
    """The number of events that a broker acknowledged against what was found of them."""
    total = sum_minutes(observed.minutes)
    counted = total.frames + total.late_frames + len(observed.quarantined)
    found = {
        "rows in bronze": len(observed.bronze),
        "different frames in bronze": len({f.id for f in observed.bronze}),
        "frames counted, late or quarantined": counted,
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

    By camera: the events that its broker acknowledged, and the topic where they were sent.
    """
    found = reconcile_frames(observed.bronze, observed)
    for camera_id, count in published.items():
        here = observed.of(camera_id)
        found = found.plus(*compare_published(camera_id, count, here))
        # Pulsar gives a partition a topic of its own.
        used = {f.stored_topic.split("-partition-")[0] for f in here.bronze}
        if others := used - {topics[camera_id]}:
            found = found.plus(
                Difference("unexpected", f"{camera_id}: came over other topics", others)
            )
    strangers = {f.camera_id for f in observed.bronze} - published.keys()
    return found.plus(
        Difference("unexpected", "cameras that nobody played", strangers),
        Difference("unexpected", "published, yet quarantined", set(observed.quarantined)),
    )
