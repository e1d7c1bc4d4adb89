"""Groups of people who enter together, one buying unit each (docs/adr/0040).

Two people enter together when the later one enters at most `TOGETHER` after the first one of the
group and is then at most a step apart from one of its people. Distances are in bodies (`track`),
since a camera has no metres.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from streaming.transforms.track import Spot

TOGETHER = 2_000_000
"""Most microseconds between the entries of the first and of another person of a group."""

ACROSS = 2.2
"""Most distance across the picture between two people: a step of 0.7 m between bodies of 0.57 m.

A step is 0.415 of the height of an adult of 1.7 m, as pedometers take it; a body is a third, about
the 0.46 m by 0.61 m of the body ellipse (J. J. Fruin, Pedestrian Planning and Design, 1971).
"""

ALONG = 1.5
"""The same up and down the picture, where floor is foreshortened and people hardly are: 1.27 m look
like 2.2 tan(tilt) bodies, 1.0 at a tilt of 25 degrees and 2.2 at 45."""


class Member(NamedTuple):
    """A person who entered; the group is named by who entered first and when."""

    person: str
    group_id: str
    group_entered_at: int


def join_groups(
    entered: Mapping[str, int], members: Sequence[Member], places: Mapping[str, Spot]
) -> dict[str, Member]:
    """Person -> group, for the people who enter with one frame; nearest first, so a row is one.

    Args:
        entered: person -> time of the entry.
        members: who has entered before.
        places: person -> position in that frame, or the last one before.
    """
    waiting = dict(sorted(entered.items(), key=lambda entry: (entry[1], entry[0])))
    joined: dict[str, Member] = {}
    while waiting:
        first, at = next(iter(waiting.items()))
        near = [
            (steps, Member(person, *member[1:]))
            for person, at in waiting.items()
            for member in (*members, *joined.values())
            if abs(at - member.group_entered_at) <= TOGETHER
            and (steps := _steps(places.get(person), places.get(member.person))) <= 1
        ]
        _, member = min(near, default=(0.0, Member(first, first, at)))
        joined[member.person] = member
        del waiting[member.person]
    return joined


def _steps(one: Spot | None, other: Spot | None) -> float:
    """Distance of two people in steps; infinite where one is not in the picture any more."""
    if one is None or other is None:
        return float("inf")
    across = (one.width + other.width) / 2 * ACROSS
    along = (one.height + other.height) / 2 * ALONG
    return math.hypot((one.x - other.x) / across, (one.y - other.y) / along)
