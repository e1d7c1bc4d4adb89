"""What cameras see, in the shape of silver.detections, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from benchmarks.chain.columns import (
    PARTITIONS,
    Offsets,
    amounts,
    numbered,
    times,
    uuids,
    words,
)
from benchmarks.chain.orders import SECOND, refused
from benchmarks.chain.plan import Longs, Slice, microseconds
from conf.stores import Stores, Zone

MINUTE_US, DAY_US = 60 * SECOND, 86_400 * SECOND
LONGEST = 250
"""Frames of a track, one a second: it ends in the slice in which it began."""
BLIND = 0.001  # of the minutes in which nobody is there
TOPIC = "detections"


@dataclass
class CameraDesk:
    """Makes what the cameras see in one slice after the other."""

    stores: Stores
    offsets: Offsets = field(default_factory=Offsets)
    _tracks: int = 0
    _changes: int = 0

    def __post_init__(self) -> None:
        cameras = [(n, c) for n, b in enumerate(self.stores.branches) for c in b.cameras]
        self.names = [camera.camera_id for _, camera in cameras]
        self.branch_of = np.array([branch for branch, _ in cameras])
        self.zones: list[tuple[int, Zone]] = [
            (number, zone) for number, (_, camera) in enumerate(cameras) for zone in camera.zones
        ]
        self.entrance = np.array(
            [any(line.kind == "entrance" for line in camera.lines) for _, camera in cameras]
        )

    def rows(
        self, rng: np.random.Generator, of: Slice
    ) -> tuple[Mapping[str, pa.Table], pa.Table, pa.Table]:
        """Rows by table; footfall with branch numbers; waits: branch, at, seconds."""
        tracks = self._walk(rng, of)
        objects, people = self._objects(rng, tracks)
        visits, waits = self._visits(rng, tracks)
        footfall, seen = self._footfall(rng, of, tracks, people)
        made = {
            "silver.detections": objects,
            "silver.zone_visits": visits,
            "gold.footfall_minute": footfall,
            "quarantine.detections": self._broken(rng, of),
        }
        return made, seen, waits

    def _walk(self, rng: np.random.Generator, of: Slice) -> dict[str, Longs]:
        """Tracks: camera, number, first frame (seconds since 1970), frames; the last one is cut."""
        most = of.detections // 4 + 1
        frames = np.minimum(5 + rng.lognormal(2.5, 0.9, most), LONGEST).astype(np.int64)
        upto = np.cumsum(frames)
        count = int(np.searchsorted(upto, of.detections)) + 1 if of.detections else 0
        frames = frames[:count]
        if count:
            frames[-1] -= upto[count - 1] - of.detections
        branch, begin, _ = of.draw(rng, count)
        length = microseconds(of.end) - begin
        room = np.maximum(np.minimum(length, 3600 * SECOND) // SECOND - frames, 0)
        camera = self._camera(rng, branch)
        self._tracks += count
        first = begin // SECOND + (rng.random(count) * room).astype(np.int64)
        return {
            "camera": camera,
            "number": self._tracks - count + np.arange(count),
            # A bin may be shorter than a track; a slice is not, and a track ends within it.
            "first": np.minimum(first, microseconds(of.end) // SECOND - frames),
            "frames": frames,
        }

    def _camera(self, rng: np.random.Generator, branch: Longs) -> Longs:
        """One of those of its branch."""
        many = np.bincount(self.branch_of, minlength=len(self.stores.branches))
        first = np.cumsum(many) - many
        picked = first[branch] + (rng.random(len(branch)) * many[branch]).astype(np.int64)
        return np.asarray(picked)

    def _objects(
        self, rng: np.random.Generator, tracks: dict[str, Longs]
    ) -> tuple[pa.Table, tuple[Longs, Longs]]:
        """One row per object and frame, as frames come; and people by camera and second."""
        of_track = np.repeat(np.arange(len(tracks["frames"])), tracks["frames"])
        upto = np.cumsum(tracks["frames"]) - tracks["frames"]
        step = np.arange(len(of_track)) - upto[of_track]
        second = tracks["first"][of_track] + step
        camera = tracks["camera"][of_track]
        order = np.lexsort((camera, second))
        of_track, step, second, camera = (a[order] for a in (of_track, step, second, camera))
        cameras = len(self.names)
        frame, of_frame, people = np.unique(
            second * cameras + camera, return_inverse=True, return_counts=True
        )
        partition = (frame % cameras % PARTITIONS).astype(np.int32)
        place = self.offsets.take(TOPIC, partition)
        day = second * SECOND // DAY_US
        x = np.clip(0.5 + _drift(rng, len(tracks["frames"]))[of_track] * step, 0.03, 0.97)
        y = np.clip(0.3 + 0.01 * step + 0.1 * rng.random(len(step)), 0.15, 0.99)
        runs, of_run = np.unique(day * cameras + camera, return_inverse=True)
        run_names = [f"{self.names[r % cameras]}-{r // cameras}" for r in runs.tolist()]
        rows = pa.table(
            {
                "event_id": uuids(rng, len(frame)).take(pa.array(of_frame)),
                "branch_id": self._branch_names(camera),
                "camera_id": words(self.names, camera),
                "run_id": words(run_names, of_run),
                "frame_index": pa.array(second - day * 86_400),
                "captured_at": times(second * SECOND),
                "track_id": numbered("t", tracks["number"][of_track], 9),
                "class": words(["person"], np.zeros(len(step), dtype=int)),
                "confidence": pa.array(np.round(0.5 + 0.5 * rng.random(len(step)), 4)),
                "x1": pa.array(np.round(x - 0.02, 5)),
                "y1": pa.array(np.round(y - 0.12, 5)),
                "x2": pa.array(np.round(x + 0.02, 5)),
                "y2": pa.array(np.round(y, 5)),
                "anchor_x": pa.array(np.round(x, 5)),
                "anchor_y": pa.array(np.round(y, 5)),
                "image_width": pa.array(np.full(len(step), 960), pa.int32()),
                "image_height": pa.array(np.full(len(step), 540), pa.int32()),
                **{
                    name: words(["made up"], np.zeros(len(step), dtype=int))
                    for name in ("detector", "model", "tracker")
                },
                "topic": words([TOPIC], np.zeros(len(step), dtype=int)),
                "partition": pa.array(partition[of_frame]),
                "position": numbered("", place[of_frame], 20),
            }
        )
        return rows, (frame, people)

    def _branch_names(self, camera: Longs) -> pa.Array:
        return words([b.branch_id for b in self.stores.branches], self.branch_of[camera])

    def _visits(
        self, rng: np.random.Generator, tracks: dict[str, Longs]
    ) -> tuple[pa.Table, pa.Table]:
        """Each track stays in one zone of its camera; and the waits of the queues."""
        many = np.bincount([camera for camera, _ in self.zones], minlength=len(self.names))
        has = np.flatnonzero(many[tracks["camera"]] > 0)
        camera, first, frames = (tracks[name][has] for name in ("camera", "first", "frames"))
        upto = np.cumsum(many) - many
        zone = upto[camera] + (rng.random(len(has)) * many[camera]).astype(np.int64)
        kinds = np.array([z.kind for _, z in self.zones])
        dwell, entered = (frames - 1) * SECOND, first * SECOND
        day = first // 86_400
        runs, of_run = np.unique(day * len(self.names) + camera, return_inverse=True)
        run_names = [f"{self.names[r % len(self.names)]}-{r // len(self.names)}" for r in runs]
        self._changes += len(has)
        visits = pa.table(
            {
                "branch_id": self._branch_names(camera),
                "camera_id": words(self.names, camera),
                "run_id": words(run_names, of_run),
                "track_id": numbered("t", tracks["number"][has], 9),
                "zone_id": words([z.zone_id for _, z in self.zones], zone),
                "kind": words([z.kind for _, z in self.zones], zone),
                "entered_at": times(entered),
                "exited_at": times(entered + dwell),
                "dwell_seconds": amounts(dwell // 1000, 12, 3),
                "is_open": pa.array(np.zeros(len(has), dtype=bool)),
                "is_staff": pa.array(rng.random(len(has)) < 0.03),
                "layout_version": pa.array(np.ones(len(has)), pa.int32()),
                "withdrawn": pa.array(rng.random(len(has)) < 0.001),
                "updated_at": times(entered + dwell),
                "change_id": pa.array(self._changes - len(has) + 1 + np.arange(len(has))),
            }
        )
        queue = kinds[zone] == "queue"
        waits = {
            "branch": self.branch_of[camera][queue],
            "at": (entered + dwell)[queue],
            "seconds": dwell[queue] / SECOND,
        }
        return visits.sort_by("entered_at"), pa.table(waits)

    def _footfall(
        self, rng: np.random.Generator, of: Slice, tracks: dict[str, Longs], seen: tuple[Longs, ...]
    ) -> tuple[pa.Table, pa.Table]:
        """A row per camera and minute, also where nobody walks; but for a few blind minutes."""
        begin, cameras = microseconds(of.start) // MINUTE_US, len(self.names)
        minutes = microseconds(of.end) // MINUTE_US - begin
        cells = cameras * minutes
        frame, people = seen
        cell = frame % cameras * minutes + frame // cameras // 60 - begin
        peak = np.zeros(cells, dtype=np.int64)
        np.maximum.at(peak, cell, people)
        started = tracks["camera"] * minutes + tracks["first"] // 60 - begin
        at_door = self.entrance[tracks["camera"]]
        inward = rng.random(len(started)) < 0.5
        entries = np.bincount(started[at_door & inward], minlength=cells)
        exits = np.bincount(started[at_door & ~inward], minlength=cells)
        nobody = (entries == 0) & (exits == 0) & (peak == 0)
        there = np.flatnonzero(~(nobody & (rng.random(cells) < BLIND)))
        there = there[np.argsort(there % minutes, kind="stable")]
        camera, minute = np.divmod(there, minutes)
        self._changes += len(there)
        at = (begin + minute) * MINUTE_US
        rows = {
            "branch_id": self._branch_names(camera),
            "camera_id": words(self.names, camera),
            "minute": times(at),
            "entries": pa.array(entries[there]),
            "exits": pa.array(exits[there]),
            "frames": pa.array(np.full(len(there), 60)),
            "late_frames": pa.array(np.zeros(len(there), dtype=np.int64)),
            "people_peak": pa.array(peak[there]),
            "revision": pa.array(np.ones(len(there), dtype=np.int64)),
            "updated_at": times(at + MINUTE_US),
            "change_id": pa.array(self._changes - len(there) + 1 + np.arange(len(there))),
        }
        counts = {
            "branch": self.branch_of[camera],
            "at": at,
            "entries": entries[there],
            "at_door": self.entrance[camera],
        }
        return pa.table(rows), pa.table(counts)

    def _broken(self, rng: np.random.Generator, of: Slice) -> pa.Table:
        """A message in a thousand objects that no rule lets pass."""
        at = np.sort(
            rng.integers(microseconds(of.start), microseconds(of.end), of.detections // 1000)
        )
        partition = rng.integers(0, PARTITIONS, len(at))
        columns = {
            "topic": words([TOPIC], np.zeros(len(at), dtype=int)),
            "partition": pa.array(partition, pa.int32()),
            "position": numbered("", self.offsets.take(TOPIC, partition), 20),
            "timestamp": times(at),
        }
        return refused(pa.table(columns), [["valid_utf8"]] * len(at))


def _drift(rng: np.random.Generator, count: int) -> Longs:
    """Shares of the picture that a person walks from frame to frame."""
    return np.asarray(rng.normal(0, 0.01, count))
