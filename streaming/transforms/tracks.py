"""Computes line crossings, zone visits and queue lengths from the frames of one camera run.

Plain Python without Spark and clock: the result depends only on the frames, in the order of their
messages in the topic. So a repeated batch, other batch boundaries and a recomputation all give the
same result (docs/adr/0012). Times are microseconds since 1970 in UTC, coordinates are shares of the
picture.

- **Order.** Frames are processed by their index. The next index is processed at once; after a gap a
  frame waits until the run is `Rules.delay` further, for missing frames before it. Of a camera that
  leaves out frames all the time (`SPARSE`) none waits. A frame that arrives after its place was
  passed is late: counted, but not processed. If it is newer than all others, or too far ahead of
  them, the camera counts its frames from there again.
- **Lines.** A side is confirmed after `confirm` frames in a row beyond `lines.MARGIN`. A change of
  the side, on a path that meets the line between its ends, is one crossing, at the first frame on
  the new side. After a crossing a track is near the line until it was `lines.CLEAR` away from it on
  the new side; while it is near, a return only counts at that distance on the other side. So a
  person who stands on a line and sways crosses it once, and one who turns back has left. Both
  distances are in bodies (`track`). The last position decides for a track that is lost.
- **Zones.** A visit begins with the first of `confirm` frames inside and ends with the last frame
  inside before more than `grace` without one, whether the track was elsewhere or lost.
- **Flicker.** A track that reappears under its id continues. A new id that starts within `handover`
  and `identities.REACH` of where another one was expected is taken for the same person, under the
  old name. If the old id reappears beside the new one, they are two people: the new id keeps the
  name, and the old id continues from where it vanished, under a name that no other track has.
- **Exchange.** Two ids of which each is where the other was expected have been exchanged. An id
  that moves farther than a person can run is another person, under a new name.
- **Identity.** Only one track at a time has a name, and one box of a frame an id: of boxes that
  share one, that which is where its track is expected. The others, and those with an id of
  `NO_IDENTITY`, count as people in a queue and have no track.
- **Staff.** A track that is in a staff zone for its `staff_after` is staff, also for its past.
- **Runs.** They are independent. A run without a message for `expire` is over (`CameraState`): the
  frames that wait are processed, and its tracks and visits end.
- **Clocks.** A frame that is not newer than the one before it, by up to `delay`, counts as taken
  one microsecond after it, so all frames of a run have different times. An even older frame ends
  all visits at their last frames, and tracking starts again, with new names.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import takewhile
from typing import Any, NamedTuple

from conf.stores import Layout, Line, Stores, Zone
from streaming.transforms import identities, lines
from streaming.transforms.entrances import PASSAGE, at_entrances
from streaming.transforms.groups import Member
from streaming.transforms.track import Person, Spot, Track, ZoneState, load_track
from udfs.geometry import contains

REMEMBERED_FRAMES = 256
"""Newest frames that are remembered as processed or missing; no more than this wait."""

SPARSE = 10
"""Frames in a row, each after a gap, from which on a gap is the camera's plan."""

FRAMES_A_SECOND = 1_000
"""No camera counts faster."""

DETACHED = "\x1f"
"""Prefix of the key of a track whose id is on somebody else; no tracker writes it."""

NEW_STATE: Mapping[str, Any] = {
    "last": -1,
    "names": 1,
    "set_back": False,
    **dict.fromkeys(("newest", "clock", "swept", "version", "gaps"), 0),
    "recent": (),
    "members": (),
    **{key: {} for key in ("waiting", "live", "lost", "handed")},
}
"""`CameraRun.state` before the first frame."""

NO_IDENTITY = frozenset({"", "-1"})
"""Ids that trackers write for a person without a track; -1 as in files of MOTChallenge."""


@dataclass(frozen=True)
class Rules:
    """Parameters of tracking.

    Attributes:
        confirm: frames in a row on the new side of a line, or inside a zone.
        grace: time without a frame inside, after which a visit is over.
        handover: most time between the last frame of one id and the first of another.
        delay: how long a frame waits for a missing one before it.
        expire: time after which a track, or a run, that was not seen is dropped.
    """

    confirm: int = 2
    grace: timedelta = timedelta(seconds=2)
    handover: timedelta = timedelta(seconds=1)
    delay: timedelta = timedelta(seconds=1)
    expire: timedelta = timedelta(minutes=10)


class LineCrossing(NamedTuple):
    """One crossing of one line by one person.

    `direction` is entry or exit. `kind` is that of the line, and count where the person has counted
    at another line of the entrance already. An entry has the group of the people who entered
    together: the person who was the first, and when (`groups`).
    """

    track_id: str
    line_id: str
    kind: str
    direction: str
    crossed_at: int
    is_staff: bool
    layout_version: int
    group_id: str | None = None
    group_entered_at: int | None = None


class ZoneVisit(NamedTuple):
    """One visit of one person to one zone so far; `exited_at`: last frame inside."""

    track_id: str
    zone_id: str
    kind: str
    entered_at: int
    exited_at: int
    is_open: bool
    is_staff: bool
    layout_version: int


class QueueLength(NamedTuple):
    """Number of people of one frame in a zone of the kind `queue`, without staff."""

    zone_id: str
    captured_at: int
    people: int


@dataclass
class Effects:
    """Results of one message.

    Attributes:
        is_new: whether its frame counts; False for a repeated one, and at the end of a run.
        is_late: whether its place was passed, so that it was not processed.
        staff: tracks that are no visitors, also in their earlier crossings and visits.
    """

    is_new: bool = True
    is_late: bool = False
    crossings: list[LineCrossing] = field(default_factory=list)
    visits: list[ZoneVisit] = field(default_factory=list)
    queues: list[QueueLength] = field(default_factory=list)
    staff: list[str] = field(default_factory=list)


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


class CameraState:
    """The runs of one camera that may continue, in one text.

    A run without a message for `Rules.expire` expires, by the broker's times of the messages of the
    camera: so that also depends on the topic only. These may be a producer's own, so those of each
    batch count alone: after a clock that was set back, the run of before is the one that is ahead.

    Args:
        layouts: of the camera, oldest first; none: nothing is counted.
        rules: parameters of tracking.
        text: result of `to_text`; None for a new camera.
    """

    def __init__(self, layouts: Sequence[Layout], rules: Rules, text: str | None = None) -> None:
        self._layouts, self._rules = layouts, rules
        known = json.loads(text) if text else {}
        self._seen: dict[str, int] = {run_id: seen for run_id, (seen, _) in known.items()}
        self._arrived: dict[str, int] = {}  # newest messages by run, of this batch
        self._runs = {
            run_id: CameraRun(layouts, rules, state) for run_id, (_, state) in known.items()
        }

    def run(self, run_id: str, seen_at: int) -> CameraRun:
        """The run of a message; it begins with its first one.

        Args:
            run_id: of the message.
            seen_at: arrival at the broker, in microseconds since 1970.
        """
        if run_id not in self._runs:
            self._runs[run_id] = CameraRun(self._layouts, self._rules)
        self._arrived[run_id] = seen_at
        self._seen[run_id] = max(seen_at, self._seen.get(run_id, seen_at))
        return self._runs[run_id]

    def end_expired(self) -> Iterator[tuple[str, int, Effects]]:
        """End the runs that are over: their ids, times of their last frames, and results.

        A run with a message in this batch, whatever its clock, is not.
        """
        oldest = min(self._arrived.values(), default=0) - _us(self._rules.expire)
        for run_id in [run_id for run_id, seen_at in self._seen.items() if seen_at < oldest]:
            run = self._runs.pop(run_id)
            del self._seen[run_id]
            effects = run.end()
            yield run_id, run.clock, effects

    def to_text(self) -> str:
        """The state as text."""
        known = {run_id: (self._seen[run_id], run.state()) for run_id, run in self._runs.items()}
        return json.dumps(known, separators=(",", ":"))


class CameraRun:
    """The state of one (branch, camera, run), which each message updates.

    `clock` is the time of its last frame.

    Args:
        layouts: of the camera, oldest first; none: nothing is counted.
        rules: parameters of tracking.
        state: result of `state`, also through JSON; None for a new run.
    """

    def __init__(
        self, layouts: Sequence[Layout], rules: Rules, state: Mapping[str, Any] | None = None
    ) -> None:
        self._layouts = [(int(d.valid_from.timestamp() * 1e6), d) for d in layouts]
        self._rules = rules
        self._delay, self._grace = _us(rules.delay), _us(rules.grace)
        self._handover, self._expire = _us(rules.handover), _us(rules.expire)
        self._quiet = max(self._grace, self._handover)
        state = state or NEW_STATE
        self._last: int = state["last"]
        self._newest: int = state["newest"]
        self.clock: int = state["clock"]
        self._gaps: int = state["gaps"]
        self._swept: int = state["swept"]
        self._version: int = state["version"]
        self._names: int = state["names"]
        self._was_set_back: bool = state["set_back"]
        self._recent: dict[int, None] = dict.fromkeys(state["recent"])
        self._waiting: dict[int, tuple[int, list[Person]]] = {
            int(index): (at, [tuple(p) for p in people])
            for index, (at, people) in state["waiting"].items()
        }
        self._members = [Member(*m) for m in state["members"]]
        self._live = {i: load_track(t) for i, t in state["live"].items()}
        self._lost = {i: load_track(t) for i, t in state["lost"].items()}
        self._handed = {i: load_track(t) for i, t in state["handed"].items()}

    def state(self) -> dict[str, Any]:
        """The state as values that JSON can hold."""
        return {
            "last": self._last,
            "newest": self._newest,
            "clock": self.clock,
            "gaps": self._gaps,
            "swept": self._swept,
            "version": self._version,
            "names": self._names,
            "set_back": self._was_set_back,
            "recent": list(self._recent),
            "members": self._members,
            "waiting": self._waiting,
            "live": {i: list(vars(t).values()) for i, t in self._live.items()},
            "lost": {i: list(vars(t).values()) for i, t in self._lost.items()},
            "handed": {i: list(vars(t).values()) for i, t in self._handed.items()},
        }

    def receive(self, index: int, captured_at: int, people: Sequence[Person]) -> Effects:
        """Take the frame of one message, and process every frame whose turn it is."""
        effects = Effects()
        if counts_again(index, captured_at, self._last, self._newest):
            self._restart_count(index, effects)
        if index in self._recent or index in self._waiting:
            effects.is_new = False
            return effects
        if index <= self._last:
            self._gaps = 0
            effects.is_late = True
            # A frame older than all remembered ones may have been processed.
            effects.is_new = index > min(self._recent)
            self._remember(index)
            return effects
        self._waiting[index] = (captured_at, list(people))
        self._newest = max(self._newest, captured_at)
        while self._waiting:
            turn = min(self._waiting)
            if turn != self._last + 1 and self._waits(turn):
                break
            self._take(turn, effects)
        return effects

    def end(self) -> Effects:
        """Process the frames that wait, and end all tracks and visits."""
        effects = Effects(is_new=False)
        self._take_all(effects)
        self._end_tracks(effects)
        return effects

    def _end_tracks(self, effects: Effects) -> None:
        """End all tracks and visits after the last frame."""
        if layout := self._layout_in_use():
            first = len(effects.crossings)
            for track in self._live.values():
                self._vanish(track, layout, effects)
            self._at_entrances(layout, first, effects)
        self._end_all(effects)
        self._live, self._lost, self._handed = {}, {}, {}

    def open_visits(self) -> Iterator[ZoneVisit]:
        """Every open visit so far."""
        layout = self._layout_in_use()
        for track in self._live.values():
            for zone in layout.zones if layout else ():
                zone_state = track.zone_states.get(zone.zone_id)
                if zone_state and zone_state.frames >= self._rules.confirm:
                    yield self._visit(track, zone, zone_state, is_open=True)

    def _waits(self, turn: int) -> bool:
        is_young = self._waiting[turn][0] > self._newest - self._delay
        return is_young and self._gaps < SPARSE and len(self._waiting) <= REMEMBERED_FRAMES

    def _take(self, turn: int, effects: Effects) -> None:
        at, seen = self._waiting.pop(turn)
        self._gaps = 0 if turn == self._last + 1 else self._gaps + 1
        self._last = turn
        self._remember(turn)
        self._step(at, seen, effects)

    def _take_all(self, effects: Effects) -> None:
        for turn in sorted(self._waiting):
            self._take(turn, effects)

    def _restart_count(self, index: int, effects: Effects) -> None:
        """The camera counts its frames from this one again."""
        self._take_all(effects)
        self._recent, self._last = {}, index - 1

    def _remember(self, index: int) -> None:
        self._recent[index] = None
        if len(self._recent) > REMEMBERED_FRAMES:
            del self._recent[next(iter(self._recent))]

    def _layout(self, at: int) -> Layout | None:
        return next((d for start, d in reversed(self._layouts) if start <= at), None)

    def _layout_in_use(self) -> Layout | None:
        """That of the last frame, which one that was drawn since may replace also at its time."""
        return next((d for _, d in self._layouts if d.version == self._version), None)

    def _step(self, at: int, people: Sequence[Person], effects: Effects) -> None:
        """Process one frame."""
        if at < self.clock - self._delay:
            self._end_all(effects)
            self._live, self._lost, self._handed = {}, {}, {}
            self._newest, self._swept = at, at
            self._was_set_back |= self.clock != 0  # 0: before the first frame
        else:
            if at - self.clock > self._expire:
                self._end_tracks(effects)
            at = max(at, self.clock + 1)
        self.clock = at
        layout = self._layout(at)
        self._change_layout(layout, effects)
        if layout is not None:
            self._look(layout, at, people, effects)

    def _change_layout(self, layout: Layout | None, effects: Effects) -> None:
        """End all visits and states where the layout has changed."""
        version = layout.version if layout else 0
        if version != self._version:
            self._end_all(effects)
            for track in (*self._live.values(), *self._lost.values(), *self._handed.values()):
                track.line_states, track.zone_states, track.passages = {}, {}, {}
            self._version = version

    def _look(self, layout: Layout, at: int, people: Sequence[Person], effects: Effects) -> None:
        first = len(effects.crossings)
        boxes = Counter(person[0] for person in people)
        spots = {
            i: Spot(x, y, at, width, height)
            for i, x, y, width, height in people
            if boxes[i] == 1 and i not in NO_IDENTITY
        }
        others = [person[1:3] for person in people if person[0] not in spots]
        if others:
            spots |= self._expected(people, at, boxes)
            places = {spot[:2] for spot in spots.values()}
            others = [place for place in others if place not in places]
        lengths = {
            zone.zone_id: sum(contains(zone.polygon, place) for place in others)
            for zone in layout.zones
            if zone.kind == "queue"
        }
        self._correct(spots)
        if not spots.keys() <= self._live.keys():
            self._identify(spots, {i: t for i, t in self._live.items() if i not in boxes}, at)
        for track_id, spot in spots.items():
            track = self._live[track_id]
            for line in layout.lines:
                self._at_line(track, line, spot, effects)
            for zone in layout.zones:
                if self._at_zone(track, zone, spot, effects) and zone.zone_id in lengths:
                    lengths[zone.zone_id] += not track.staff
            track.move(spot)
        for zone_id, length in lengths.items():
            effects.queues.append(QueueLength(zone_id, at, length))
        self._expire_tracks(layout, spots, at, effects)
        self._at_entrances(layout, first, effects)

    def _expected(
        self, people: Sequence[Person], at: int, boxes: Mapping[str, int]
    ) -> dict[str, Spot]:
        """Of the boxes that share an id, the one where its track is expected, if it is there."""
        found: dict[str, Spot] = {}
        for i, x, y, width, height in people:
            if boxes[i] > 1 and i not in NO_IDENTITY and (track := self._live.get(i)):
                spot = Spot(x, y, at, width, height)
                nearest = identities.distance(track, found[i]) if i in found else identities.REACH
                if identities.distance(track, spot) <= nearest:
                    found[i] = spot
        return found

    def _correct(self, spots: Mapping[str, Spot]) -> None:
        """Exchange tracks whose ids were exchanged, and detach those whose ids left them."""
        surprises = identities.surprises(spots, self._live)
        for a, b in identities.exchanged(surprises, spots, self._live):
            self._live[a], self._live[b] = self._live[b], self._live[a]
        for i in surprises:
            if identities.leaps(self._live[i], spots[i]):
                track = self._live.pop(i)
                self._live[f"{DETACHED}{track.person}"] = track

    def _identify(self, spots: Mapping[str, Spot], absent: Mapping[str, Track], at: int) -> None:
        """Give each id its track: its own, that of an id that vanished there, or a new one.

        Args:
            spots: of the ids of the frame.
            absent: the live tracks whose ids are not in the frame.
            at: the time of the frame.
        """
        new = {i: spot for i, spot in spots.items() if i not in self._live}
        for track_id in [i for i in new if i in self._lost]:
            self._live[track_id] = self._lost.pop(track_id)
            del new[track_id]
        vanished = {i: t for i, t in absent.items() if at - t.seen_at <= self._handover}
        for track_id, old in identities.nearest_pairs(new, vanished):
            track = self._live[track_id] = self._live.pop(old)
            self._handed[old] = replace(
                track,
                line_states=dict(track.line_states),
                zone_states={},
                passages=dict(track.passages),
            )
            self._handed.pop(track_id, None)
            del new[track_id]
        taken = {track.person for track in (*self._live.values(), *self._lost.values())}
        for track_id, (x, y, _, width, height) in new.items():
            was = self._handed.pop(track_id, None)
            name = self._free_name(track_id, taken)
            taken.add(name)
            track = replace(was, person=name) if was else Track(name, at, x, y, width, height)
            self._live[track_id] = track

    def _free_name(self, track_id: str, taken: Set[str]) -> str:
        """The id, or where another track has or had that name, the id with a new number."""
        name = track_id
        while name in taken or (name == track_id and self._was_set_back):
            self._names += 1
            name = f"{track_id}~{self._names}"
        return name

    def _at_line(self, track: Track, line: Line, spot: Spot, effects: Effects) -> None:
        before = track.line_states.get(line.line_id)
        line_state, crossed = lines.follow(line, before, spot, self._rules.confirm)
        track.line_states[line.line_id] = line_state
        if crossed:
            effects.crossings.append(self._crossing(track, line, crossed))

    def _crossing(self, track: Track, line: Line, crossed: lines.Crossed) -> LineCrossing:
        direction, at, _, _ = crossed
        what = (track.person, line.line_id, line.kind, direction, at)
        return LineCrossing(*what, track.staff, self._version)

    def _at_entrances(self, layout: Layout, first: int, effects: Effects) -> None:
        """Find passages and groups in the crossings of one frame, from the index `first` on."""
        if first == len(effects.crossings):
            return
        by_id = {line.line_id: line for line in layout.lines}
        oldest = self.clock - PASSAGE
        lost = takewhile(lambda track: track.seen_at >= oldest, reversed(self._lost.values()))
        tracks = {track.person: track for track in (*lost, *self._live.values())}
        effects.crossings[first:], self._members = at_entrances(
            effects.crossings[first:], by_id, tracks, self.clock, self._members
        )

    def _at_zone(self, track: Track, zone: Zone, spot: Spot, effects: Effects) -> bool:
        """Update the zone state; returns whether the track is visiting and inside."""
        zone_state = track.zone_states.get(zone.zone_id)
        is_inside = contains(zone.polygon, (spot.x, spot.y))
        if not is_inside and not zone_state:
            return False
        if zone_state and spot.at - zone_state.seen_at > self._grace:
            self._end(track, zone, effects)
            zone_state = None
        confirm = self._rules.confirm
        if not is_inside:
            if zone_state and zone_state.frames < confirm:
                del track.zone_states[zone.zone_id]
            return False
        at = spot.at
        zone_state = (
            ZoneState(zone_state.entered_at, at, zone_state.frames + 1)
            if zone_state
            else ZoneState(at, at, 1)
        )
        track.zone_states[zone.zone_id] = zone_state
        if zone_state.frames == confirm:
            effects.visits.append(self._visit(track, zone, zone_state, is_open=True))
        limit = zone.staff_after
        if limit and not track.staff and at - zone_state.entered_at > limit * 1e6:
            track.staff = True
            effects.staff.append(track.person)
        return zone_state.frames >= confirm

    def _expire_tracks(
        self, layout: Layout, here: Mapping[str, Spot], at: int, effects: Effects
    ) -> None:
        """End visits that are over, and drop expired tracks."""
        for track_id in [i for i in self._live if i not in here]:
            track = self._live[track_id]
            for zone in layout.zones:
                zone_state = track.zone_states.get(zone.zone_id)
                if zone_state and at - zone_state.seen_at > self._grace:
                    self._end(track, zone, effects)
            if at - track.seen_at > self._quiet:
                self._vanish(track, layout, effects)
                del self._live[track_id]
                if not track_id.startswith(DETACHED):
                    self._lost[track_id] = track
        self._handed = {i: t for i, t in self._handed.items() if at - t.seen_at <= self._quiet}
        if at - self._swept > self._expire / 10:
            self._swept = at
            self._lost = {i: t for i, t in self._lost.items() if at - t.seen_at <= self._expire}

    def _vanish(self, track: Track, layout: Layout, effects: Effects) -> None:
        """Count the crossings that the last position decides."""
        for line in layout.lines:
            before = track.line_states.get(line.line_id)
            if before is None:
                continue
            step = (track.step_x, track.step_y)
            state, crossed = lines.vanish(line, before, track.spot, step, self._rules.confirm)
            track.line_states[line.line_id] = state
            if crossed:
                effects.crossings.append(self._crossing(track, line, crossed))

    def _end_all(self, effects: Effects) -> None:
        layout = self._layout_in_use()
        for track in self._live.values():
            for zone in layout.zones if layout else ():
                if zone.zone_id in track.zone_states:
                    self._end(track, zone, effects)

    def _end(self, track: Track, zone: Zone, effects: Effects) -> None:
        zone_state = track.zone_states.pop(zone.zone_id)
        if zone_state.frames >= self._rules.confirm:
            effects.visits.append(self._visit(track, zone, zone_state, is_open=False))

    def _visit(
        self, track: Track, zone: Zone, zone_state: ZoneState, *, is_open: bool
    ) -> ZoneVisit:
        return ZoneVisit(
            track.person,
            zone.zone_id,
            zone.kind,
            zone_state.entered_at,
            zone_state.seen_at,
            is_open,
            track.staff,
            self._version,
        )


def counts_again(index: int, at: int, last: int, newest: int) -> bool:
    """Whether a camera has begun to number its frames from this one.

    Args:
        index: number of the frame.
        at: its time, in microseconds.
        last: number of the last frame before it; -1: there is none.
        newest: newest time so far.
    """
    most = last + FRAMES_A_SECOND * (1 + (at - newest) / 1e6)
    return at > newest and (index <= last or index > most)


def layouts_by_camera(stores: Stores) -> Mapping[str, tuple[Layout, ...]]:
    """camera_id -> its layouts, oldest first."""
    return {c.camera_id: stores.layouts(c) for b in stores.branches for c in b.cameras}
