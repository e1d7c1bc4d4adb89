"""From the frames of one camera run to line crossings, zone visits and queue lengths.

Plain Python, no Spark and no clock: everything follows from the frames, in the order in which their
messages lie in the topic. So a batch that runs again, other batch boundaries and a restatement all
give the same result (docs/adr/0012). Times are microseconds since 1970 in UTC, coordinates shares
of the picture.

- **Order.** Frames are followed by their index. The next index goes on at once; after a gap a frame
  waits until the run is `Rules.delay` further, for those that may be missing before it. What comes
  after its place was passed is late: counted, not followed.
- **Lines.** A side counts after `confirm` frames in a row beyond `MARGIN`. A change of the side, on
  a way that meets the line between its ends, is one crossing, at the first frame on the new side.
- **Zones.** A visit begins with the first of `confirm` frames inside and ends with the last frame
  inside before more than `grace` without one, whether the track was elsewhere or lost.
- **Flicker.** A track that comes back under its id goes on. A new id that starts within `handover`
  and `reach` of where another one just vanished is taken for the same person, under the old id.
- **Staff.** Who stays in a staff zone for its `staff_after` is staff from then on, and was before.
- **Runs.** They never meet. One that is not heard of for `forget` is over (`Camera`).
- **Clocks.** A frame older than the one before it by up to `delay` takes the time of that one; one
  that is older still ends all visits where they were last seen, and begins anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from conf.stores import Drawing, Line, Stores, Zone
from udfs.geometry import contains, passes_between, signed_distance

ENTRY, EXIT = "entry", "exit"

MARGIN = 0.01
"""Share of the picture on either side of a line where a side is not yet decided."""

REMEMBERED_FRAMES = 256
"""Of these newest frames it is known whether they were followed or missing."""

Person = tuple[str, float, float]
"""track_id and the anchor of one person in one frame."""


@dataclass(frozen=True)
class Rules:
    """When a track counts as what.

    Attributes:
        confirm: frames in a row on the new side of a line, or inside a zone.
        grace: without a frame inside, after which a visit is over.
        handover: between the last frame of one id and the first of another, at most.
        reach: distance between the two, at most, as a share of the picture.
        delay: how long a frame waits for a missing one before it.
        forget: after which a track that has not been seen is unknown, and a run.
    """

    confirm: int = 2
    grace: timedelta = timedelta(seconds=2)
    handover: timedelta = timedelta(seconds=1)
    reach: float = 0.06
    delay: timedelta = timedelta(seconds=1)
    forget: timedelta = timedelta(minutes=10)


class Crossing(NamedTuple):
    """One person over one line; `direction` is entry or exit."""

    track_id: str
    line_id: str
    kind: str
    direction: str
    crossed_at: int
    is_staff: bool
    layout_version: int


class Visit(NamedTuple):
    """One stay of one person in one zone, as far as it is known; `exited_at`: last seen inside."""

    track_id: str
    zone_id: str
    kind: str
    entered_at: int
    exited_at: int
    is_open: bool
    is_staff: bool
    layout_version: int


class QueueLength(NamedTuple):
    """How many people one frame shows in a zone of the kind `queue`, staff left out."""

    zone_id: str
    captured_at: int
    people: int


@dataclass
class Effects:
    """What one message brought to light.

    Attributes:
        is_new: whether its frame counts; False for one that is known already.
        is_late: its place was passed, so nobody in it was followed.
        staff: tracks that from now on, and for what they did before, are no visitors.
    """

    is_new: bool = True
    is_late: bool = False
    crossings: list[Crossing] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    queues: list[QueueLength] = field(default_factory=list)
    staff: list[str] = field(default_factory=list)


class Spot(NamedTuple):
    """Where the feet of a person are at a time."""

    x: float
    y: float
    at: int


class Sight(NamedTuple):
    """Where a track is to a line: the confirmed side, and the one that it may be changing to.

    Sides: -1 left, 0 undecided, 1 right. (x, y) is where the confirmed side was last clear;
    (new_x, new_y, new_at) the first of `frames` frames in a row on the side `new`.
    """

    side: int
    x: float
    y: float
    new: int = 0
    frames: int = 0
    new_x: float = 0.0
    new_y: float = 0.0
    new_at: int = 0


class Stay(NamedTuple):
    """A track in a zone; a visit once it has `frames` enough."""

    entered_at: int
    seen_at: int
    frames: int


def follow(
    line: Line, before: Sight | None, spot: Spot, confirm: int
) -> tuple[Sight, tuple[str, int] | None]:
    """One step of one track at one line: its new sight, and (direction, crossed_at) or None."""
    x, y, at = spot
    distance = signed_distance(line.a, line.b, (x, y))
    side = 0 if abs(distance) < MARGIN else (1 if distance > 0 else -1)
    sight = before or Sight(0, x, y)
    if side == 0:
        # Undecided: the sides stay what they were, and no row of frames goes on.
        return sight._replace(new=0, frames=0), None
    if side == sight.side:
        return Sight(side, x, y), None
    if side != sight.new:
        sight = sight._replace(new=side, frames=0, new_x=x, new_y=y, new_at=at)
    sight = sight._replace(frames=sight.frames + 1)
    if sight.frames < confirm:
        return sight, None
    start, step = (sight.x, sight.y), (sight.new_x, sight.new_y)
    crossed = sight.side != 0 and passes_between(line.a, line.b, start, step)
    direction = (ENTRY if side > 0 else EXIT, sight.new_at)
    return Sight(side, x, y), direction if crossed else None


@dataclass
class Track:
    """One person: where and when last seen, the lines and zones by id."""

    person: str
    seen_at: int
    x: float
    y: float
    staff: bool = False
    sights: dict[str, Sight] = field(default_factory=dict)
    stays: dict[str, Stay] = field(default_factory=dict)


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


class Camera:
    """The runs of one camera that may go on; one text holds them all.

    A run of which nothing was heard for `Rules.forget` is forgotten. What counts is when messages
    reached the broker, and only those of the camera: so that, too, follows from the log.

    Args:
        drawings: of the camera, oldest first; none: nothing is counted.
        rules: when a track counts as what.
        text: what `to_text` gave; None for a camera that was never heard of.
    """

    def __init__(self, drawings: Sequence[Drawing], rules: Rules, text: str | None = None) -> None:
        self._drawings, self._rules = drawings, rules
        known = json.loads(text) if text else {}
        self._heard: dict[str, int] = {run_id: heard for run_id, (heard, _) in known.items()}
        self._runs = {
            run_id: CameraRun(drawings, rules, state) for run_id, (_, state) in known.items()
        }

    def run(self, run_id: str, heard_at: int) -> CameraRun:
        """The run that a message is of; it begins with its first one.

        Args:
            run_id: of the message.
            heard_at: when it reached the broker, in microseconds since 1970.
        """
        if run_id not in self._runs:
            self._runs[run_id] = CameraRun(self._drawings, self._rules)
        self._heard[run_id] = max(heard_at, self._heard.get(run_id, heard_at))
        return self._runs[run_id]

    def to_text(self) -> str:
        """The state, to go on from later."""
        oldest = max(self._heard.values(), default=0) - _us(self._rules.forget)
        known = {
            run_id: (self._heard[run_id], run.state())
            for run_id, run in self._runs.items()
            if self._heard[run_id] >= oldest
        }
        return json.dumps(known, separators=(",", ":"))


class CameraRun:
    """The state of one (branch, camera, run) and what its next message does to it.

    Args:
        drawings: of the camera, oldest first; none: nothing is counted.
        rules: when a track counts as what.
        state: what `state` gave, by way of JSON or not; None for a run that begins.
    """

    def __init__(
        self, drawings: Sequence[Drawing], rules: Rules, state: Mapping[str, Any] | None = None
    ) -> None:
        self._drawings = [(int(d.valid_from.timestamp() * 1e6), d) for d in drawings]
        self._rules = rules
        self._delay, self._grace = _us(rules.delay), _us(rules.grace)
        self._handover, self._forget = _us(rules.handover), _us(rules.forget)
        state = state or {}
        self._last: int = state.get("last", -1)
        self._newest: int = state.get("newest", 0)
        self._clock: int = state.get("clock", 0)
        self._swept: int = state.get("swept", 0)
        self._version: int = state.get("version", 0)
        self._recent: dict[int, None] = dict.fromkeys(state.get("recent", ()))
        self._waiting: dict[int, tuple[int, list[Person]]] = {
            int(index): (at, [tuple(p) for p in people])
            for index, (at, people) in state.get("waiting", {}).items()
        }
        self._live = {i: _load_track(t) for i, t in state.get("live", {}).items()}
        self._lost = {i: _load_track(t) for i, t in state.get("lost", {}).items()}

    def state(self) -> dict[str, Any]:
        """To go on from later; it may become JSON meanwhile."""
        return {
            "last": self._last,
            "newest": self._newest,
            "clock": self._clock,
            "swept": self._swept,
            "version": self._version,
            "recent": list(self._recent),
            "waiting": self._waiting,
            "live": {i: list(vars(t).values()) for i, t in self._live.items()},
            "lost": {i: list(vars(t).values()) for i, t in self._lost.items()},
        }

    def receive(self, index: int, captured_at: int, people: Sequence[Person]) -> Effects:
        """Take the frame of one message, and follow every frame whose turn it is."""
        effects = Effects()
        if index in self._recent or index in self._waiting:
            effects.is_new = False
            return effects
        if index <= self._last:
            effects.is_late = True
            # Older than all that is remembered: it may have been followed.
            effects.is_new = index > min(self._recent)
            self._remember(index)
            return effects
        self._waiting[index] = (captured_at, list(people))
        self._newest = max(self._newest, captured_at)
        while self._waiting:
            turn = min(self._waiting)
            at, seen = self._waiting[turn]
            if turn != self._last + 1 and at > self._newest - self._delay:
                break
            del self._waiting[turn]
            self._last = turn
            self._remember(turn)
            self._step(at, seen, effects)
        return effects

    def open_visits(self) -> Iterator[Visit]:
        """Every visit that is not over, as far as it is known."""
        drawing = self._drawing(self._clock)
        for track in self._live.values():
            for zone in drawing.zones if drawing else ():
                stay = track.stays.get(zone.zone_id)
                if stay and stay.frames >= self._rules.confirm:
                    yield self._visit(track, zone, stay, is_open=True)

    def _remember(self, index: int) -> None:
        self._recent[index] = None
        if len(self._recent) > REMEMBERED_FRAMES:
            del self._recent[next(iter(self._recent))]

    def _drawing(self, at: int) -> Drawing | None:
        return next((d for start, d in reversed(self._drawings) if start <= at), None)

    def _step(self, at: int, people: Sequence[Person], effects: Effects) -> None:
        """One frame, in its turn."""
        if at < self._clock - self._delay:
            self._end_all(effects)
            self._live, self._lost, self._newest, self._swept = {}, {}, at, at
        else:
            at = max(at, self._clock)
        self._clock = at
        drawing = self._drawing(at)
        self._redraw(drawing, effects)
        if drawing is not None:
            self._look(drawing, at, people, effects)

    def _redraw(self, drawing: Drawing | None, effects: Effects) -> None:
        """Another drawing: what was on the old one is over."""
        version = drawing.version if drawing else 0
        if version != self._version:
            self._end_all(effects)
            for track in (*self._live.values(), *self._lost.values()):
                track.sights, track.stays = {}, {}
            self._version = version

    def _look(self, drawing: Drawing, at: int, people: Sequence[Person], effects: Effects) -> None:
        here = {p[0] for p in people}
        lengths = {z.zone_id: 0 for z in drawing.zones if z.kind == "queue"}
        for track_id, x, y in people:
            spot = Spot(x, y, at)
            track = self._track(track_id, spot, here)
            for line in drawing.lines:
                self._at_line(track, line, spot, effects)
            for zone in drawing.zones:
                if self._at_zone(track, zone, spot, effects) and zone.zone_id in lengths:
                    lengths[zone.zone_id] += not track.staff
            track.seen_at, track.x, track.y = at, x, y
        for zone_id, length in lengths.items():
            effects.queues.append(QueueLength(zone_id, at, length))
        self._sweep(drawing, here, at, effects)

    def _track(self, track_id: str, spot: Spot, here: set[str]) -> Track:
        track = self._live.get(track_id)
        if track is None:
            track = self._lost.pop(track_id, None) or self._heir(spot, here)
            track = track or Track(track_id, spot.at, spot.x, spot.y)
            self._live[track_id] = track
        return track

    def _heir(self, spot: Spot, here: set[str]) -> Track | None:
        """The nearest track that vanished just now, just here; nobody else can take it again."""
        vanished = [
            (math.hypot(t.x - spot.x, t.y - spot.y), track_id)
            for track_id, t in self._live.items()
            if track_id not in here and 0 < spot.at - t.seen_at <= self._handover
        ]
        distance, track_id = min(vanished, default=(math.inf, ""))
        return self._live.pop(track_id) if distance <= self._rules.reach else None

    def _at_line(self, track: Track, line: Line, spot: Spot, effects: Effects) -> None:
        before = track.sights.get(line.line_id)
        sight, crossed = follow(line, before, spot, self._rules.confirm)
        track.sights[line.line_id] = sight
        if crossed:
            found = (line.line_id, line.kind, *crossed, track.staff, self._version)
            effects.crossings.append(Crossing(track.person, *found))

    def _at_zone(self, track: Track, zone: Zone, spot: Spot, effects: Effects) -> bool:
        """Whether the track is on a visit, and inside in this frame."""
        stay = track.stays.get(zone.zone_id)
        if stay and spot.at - stay.seen_at > self._grace:
            self._end(track, zone, effects)
            stay = None
        confirm = self._rules.confirm
        if not contains(zone.polygon, (spot.x, spot.y)):
            if stay and stay.frames < confirm:
                del track.stays[zone.zone_id]
            return False
        at = spot.at
        stay = Stay(stay.entered_at, at, stay.frames + 1) if stay else Stay(at, at, 1)
        track.stays[zone.zone_id] = stay
        if stay.frames == confirm:
            effects.visits.append(self._visit(track, zone, stay, is_open=True))
        limit = zone.staff_after
        if limit and not track.staff and at - stay.entered_at > limit * 1e6:
            track.staff = True
            effects.staff.append(track.person)
        return stay.frames >= confirm

    def _sweep(self, drawing: Drawing, here: set[str], at: int, effects: Effects) -> None:
        """End what is over, and forget."""
        quiet = max(self._grace, self._handover)
        for track_id in [i for i in self._live if i not in here]:
            track = self._live[track_id]
            for zone in drawing.zones:
                stay = track.stays.get(zone.zone_id)
                if stay and at - stay.seen_at > self._grace:
                    self._end(track, zone, effects)
            if at - track.seen_at > quiet:
                self._lost[track_id] = self._live.pop(track_id)
        if at - self._swept > self._forget / 10:
            self._swept = at
            self._lost = {i: t for i, t in self._lost.items() if at - t.seen_at <= self._forget}

    def _end_all(self, effects: Effects) -> None:
        drawing = next((d for _, d in self._drawings if d.version == self._version), None)
        for track in self._live.values():
            for zone in drawing.zones if drawing else ():
                if zone.zone_id in track.stays:
                    self._end(track, zone, effects)

    def _end(self, track: Track, zone: Zone, effects: Effects) -> None:
        stay = track.stays.pop(zone.zone_id)
        if stay.frames >= self._rules.confirm:
            effects.visits.append(self._visit(track, zone, stay, is_open=False))

    def _visit(self, track: Track, zone: Zone, stay: Stay, *, is_open: bool) -> Visit:
        return Visit(
            track.person,
            zone.zone_id,
            zone.kind,
            stay.entered_at,
            stay.seen_at,
            is_open,
            track.staff,
            self._version,
        )


def _load_track(values: Sequence[Any]) -> Track:
    person, seen_at, x, y, staff, sights, stays = values
    return Track(
        person,
        seen_at,
        x,
        y,
        staff,
        {i: Sight(*s) for i, s in sights.items()},
        {i: Stay(*s) for i, s in stays.items()},
    )


def drawings_by_camera(stores: Stores) -> Mapping[str, tuple[Drawing, ...]]:
    """camera_id -> its drawings, oldest first."""
    return {c.camera_id: stores.drawings(c) for b in stores.branches for c in b.cameras}
