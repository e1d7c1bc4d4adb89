"""What the crossings of a frame mean at entrances: passages and groups (docs/adr/0040)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from conf.stores import Line
from conf.stores.reach import entered_in_a_row, middle
from streaming.transforms.groups import Member, join_groups
from streaming.transforms.lines import ENTRY
from streaming.transforms.track import Track
from udfs.geometry import signed_distance

if TYPE_CHECKING:
    from streaming.transforms.tracks import LineCrossing

PASSAGE = 5_000_000
"""Microseconds for which a person who was lost between the lines of an entrance, and is followed
under a new id, continues the passage: at a walk of 1 m a second, a vestibule of 5 m."""


def at_entrances(
    crossings: Sequence[LineCrossing],
    lines: Mapping[str, Line],
    tracks: Mapping[str, Track],
    at: int,
    members: Sequence[Member],
) -> tuple[list[LineCrossing], list[Member]]:
    """The crossings with their groups, of the kind count where a person counted before.

    Args:
        crossings: of one frame; `passages` of their tracks are updated.
        lines: of the layout, by id.
        tracks: who is in the picture or was not long before, by person.
        at: time of the frame.
        members: who entered lately.

    Returns:
        The crossings, and who entered lately now.
    """
    absent = sorted(
        (track for track in tracks.values() if at - PASSAGE <= track.seen_at < at),
        key=lambda track: -track.seen_at,
    )
    counted = [
        crossing
        if _begins_passage(crossing, lines, tracks.get(crossing.track_id), absent)
        else crossing._replace(kind="count")
        for crossing in crossings
    ]
    entered = {
        c.track_id: c.crossed_at for c in counted if (c.kind, c.direction) == ("entrance", ENTRY)
    }
    known = {*entered, *(member.person for member in members)} & tracks.keys()
    joined = join_groups(entered, members, {name: tracks[name].spot for name in known})
    recent = [m for m in (*members, *joined.values()) if m.group_entered_at >= at - PASSAGE]
    return [_in_group(crossing, joined) for crossing in counted], recent


def _in_group(crossing: LineCrossing, joined: Mapping[str, Member]) -> LineCrossing:
    if (crossing.kind, crossing.direction) != ("entrance", ENTRY):
        return crossing
    _, group_id, group_entered_at = joined[crossing.track_id]
    return crossing._replace(group_id=group_id, group_entered_at=group_entered_at)


def _begins_passage(
    crossing: LineCrossing,
    lines: Mapping[str, Line],
    track: Track | None,
    absent: Iterable[Track],
) -> bool:
    """Whether a crossing is not one more of a passage through an entrance of several lines.

    It is one more where the track has crossed another of them in that direction, or where a track
    has that is not seen any more: who is lost between the lines continues under a new id.
    """
    line, direction = lines[crossing.line_id], crossing.direction
    if line.entrance is None or track is None:
        return True
    own = track.passages.get(line.entrance)
    track.passages[line.entrance] = (direction, line.line_id)
    if own is not None:
        return own[0] != direction
    for other in absent:
        way, before = other.passages.get(line.entrance, ("", ""))
        if way == direction and before in lines and _leads_to(lines[before], line, direction):
            del other.passages[line.entrance]
            return False
    return True


def _leads_to(before: Line, line: Line, direction: str) -> bool:
    """Whether a straight walk in a direction crosses one line and then the other."""
    ahead = signed_distance(line.a, line.b, middle(before)) * (1 if direction == ENTRY else -1)
    return ahead < 0 and entered_in_a_row(before, line)
