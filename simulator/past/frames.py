"""What the cameras of a branch publish of one day.

A camera takes a picture whenever somebody moves, every two seconds while somebody stands, and one
in each other minute, so that the coverage is that of a camera that always works.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid5

from conf.stores import Branch, Camera, Layout, Stores
from simulator.history import detection_fields
from simulator.orders import NAMESPACE
from simulator.past.demand import Opening
from simulator.past.tracks import (
    Route,
    Track,
    at_shelf,
    in_queue,
    past_the_shop,
    routes,
    through_entrance,
)
from simulator.past.visits import MINUTE, TICK, Visit, tick_of

HOUR = timedelta(hours=1)
CROSSES_AFTER = 2
"""Ticks from the first step of a walk to the first on the other side of the line."""


def whole_hour(moment: datetime) -> datetime:
    """The start of the hour of UTC."""
    return moment.replace(minute=0, second=0, microsecond=0)


class Filming:
    """The cameras of one branch on one day.

    Args:
        stores: with the layouts of the cameras.
        branch: where they hang.
        start: of the ticks, a full hour (UTC).
        visits: everybody of the day.
        seed: of everything else.
    """

    def __init__(
        self, stores: Stores, branch: Branch, start: datetime, visits: Sequence[Visit], seed: str
    ) -> None:
        self._branch, self._start, self._visits, self._seed = branch, start, visits, seed
        found = [(camera, stores.layout_at(camera, start)) for camera in branch.cameras]
        self._layouts = {camera.camera_id: layout for camera, layout in found if layout}
        self._ways = {
            (camera_id, kind): _routes(layout, kind)
            for camera_id, layout in self._layouts.items()
            for kind in ("entrance", "passing")
        }
        self.entrances = [one for one in self._layouts if self._ways[one, "entrance"]]
        """Ids of the cameras that see people come in."""
        self._queues = self._find_queues()

    def _find_queues(self) -> set[tuple[str, str]]:
        """(camera, zone) of the queue at the tills: at an entrance only if there is no other."""
        queues = [
            (one, zone.zone_id)
            for one, layout in self._layouts.items()
            for zone in layout.zones
            if zone.kind == "queue"
        ]
        inside = [queue for queue in queues if queue[0] not in self.entrances]
        return set((inside or queues)[:1])

    def entries(self) -> Iterator[datetime]:
        """When somebody crosses an entrance line inwards, once for each person (UTC)."""
        for visit in self._visits if self.entrances else ():
            yield from [self._start + (visit.arrives + CROSSES_AFTER) * TICK] * visit.size

    def frames(
        self, camera: Camera, openings: Sequence[Opening], end: datetime, run_id: str
    ) -> Iterator[dict[str, Any]]:
        """Detection events of one camera by time, while the branch is open, in whole hours.

        Args:
            camera: of the branch.
            openings: of the day.
            end: no picture is taken from then on (UTC).
            run_id: of the camera on this day; makes the event ids.
        """
        tracks = self._tracks(camera)
        for index, (tick, people) in enumerate(_pictures(tracks, self._minutes(openings))):
            at = self._start + tick * TICK
            if at >= end:
                return
            yield {
                "event_id": str(uuid5(NAMESPACE, f"{run_id}/{camera.camera_id}/{index}")),
                "branch_id": self._branch.branch_id,
                "camera_id": camera.camera_id,
                "run_id": run_id,
                "frame_index": index,
                **detection_fields(at, [(track.track_id, track.at(tick)) for track in people]),
            }

    def _minutes(self, openings: Sequence[Opening]) -> Iterator[int]:
        """The ticks at which the minutes of the opening hours begin, in whole hours of UTC."""
        for begins, ends in openings:
            first, last = whole_hour(begins), whole_hour(ends + HOUR - TICK)
            yield from range(tick_of(first, self._start), tick_of(last, self._start), MINUTE)

    def _tracks(self, camera: Camera) -> list[Track]:
        layout = self._layouts.get(camera.camera_id)
        if layout is None:
            return []
        rng = random.Random(f"{self._seed}/{camera.camera_id}")  # noqa: S311 - replayable
        tracks = []
        if camera.camera_id in self.entrances:
            number = self.entrances.index(camera.camera_id)
            mine = [v for v in self._visits if v.number % len(self.entrances) == number]
            tracks += through_entrance(self._ways[camera.camera_id, "entrance"], mine, rng)
        if ways := self._ways[camera.camera_id, "passing"]:
            tracks += past_the_shop(ways, self._visits, rng)
        return [*tracks, *self._in_zones(camera.camera_id, layout, rng)]

    def _in_zones(self, camera_id: str, layout: Layout, rng: random.Random) -> Iterator[Track]:
        for zone in layout.zones:
            if (camera_id, zone.zone_id) in self._queues:
                yield from in_queue(zone, self._visits)
            elif zone.kind == "browse" and camera_id not in self.entrances:
                yield from at_shelf(zone, self._visits, rng)


def _routes(layout: Layout, kind: str) -> list[Route]:
    """The ways over the first line of a kind that has any."""
    of_lines = (routes(line, layout) for line in layout.lines if line.kind == kind)
    return next(filter(None, of_lines), [])


def _pictures(tracks: Sequence[Track], minutes: Iterator[int]) -> Iterator[tuple[int, list[Track]]]:
    """(tick, who is in the picture), by tick."""
    wanted = {tick for track in tracks for tick in track.ticks()}
    taken = {tick // MINUTE for tick in wanted}
    wanted |= {tick for tick in minutes if tick // MINUTE not in taken}
    coming = sorted(tracks, key=lambda track: track.stops[0].tick, reverse=True)
    here: list[Track] = []
    for tick in sorted(wanted):
        while coming and coming[-1].stops[0].tick <= tick:
            here.append(coming.pop())
        here = [track for track in here if track.stops[-1].tick >= tick]
        yield tick, here
