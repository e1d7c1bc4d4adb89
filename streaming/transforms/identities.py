"""Which id of a frame is which person: ids that are exchanged, handed on, or new.

A tracker keeps an id on a box, not on a person. Distances are in bodies (`track`), from where the
person is expected: one mean step after the last position.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from streaming.transforms.track import Spot, Track

SURPRISE = 0.25
"""Distance from the expected position along x or y beyond which an id may be somebody else's."""

GAIN = 0.3
"""Two people have exchanged their ids where that makes their way shorter by more than this."""

CROWD = 50
"""Ids of one frame that are compared with each other, and vanished ids with one new id: the time
grows with the square."""

REACH, PACE = 1.0, 1.5
"""Most distance between an id that vanished and a new one that continues it, and by how much it
grows with each second between them."""

OUTSIDE = 0.25
"""A person who is expected so close to the left or right edge is walking out of the picture. The
anchor is the middle of the visible part of a box, so it never gets there."""

LEAP_X, LEAP_Y = 1.5, 4.0
"""Most distance within no time: a box of which a part is hidden loses half of its width, or all of
its height but the head."""

SPEED = 8.0
"""Bodies a second: a person who runs, 4 m/s, at half a metre a body."""


def distance(track: Track, spot: Spot) -> float:
    """From where the person is expected to the spot, in bodies."""
    x, y = track.x + track.step_x, track.y + track.step_y
    return math.hypot((spot.x - x) / spot.width, (spot.y - y) / spot.height)


def surprises(spots: Mapping[str, Spot], live: Mapping[str, Track]) -> list[str]:
    """The ids that are not where they are expected."""
    return [
        i
        for i, (x, y, _, width, height) in spots.items()
        if (track := live.get(i))
        and (
            abs(x - track.x - track.step_x) > SURPRISE * width
            or abs(y - track.y - track.step_y) > SURPRISE * height
        )
    ]


def exchanged(
    ids: Sequence[str], spots: Mapping[str, Spot], live: Mapping[str, Track]
) -> list[tuple[str, str]]:
    """Pairs of ids of which each is where the other is expected; the clearest first, each id once.

    Args:
        ids: of `surprises`; at most `CROWD` of them are compared.
        spots: of all ids in the frame.
        live: their tracks so far.
    """
    gains = []
    for a, b in combinations(ids[:CROWD], 2):
        kept = distance(live[a], spots[a]) + distance(live[b], spots[b])
        gain = kept - distance(live[a], spots[b]) - distance(live[b], spots[a])
        if gain > GAIN:
            gains.append((-gain, a, b))
    return _each_once(gains)


def leaps(track: Track, spot: Spot) -> bool:
    """Whether nobody can have moved from the track's last position to the spot in that time."""
    ran = SPEED * (spot.at - track.seen_at) / 1e6
    return (
        abs(spot.x - track.x) > (LEAP_X + ran) * spot.width
        or abs(spot.y - track.y) > (LEAP_Y + ran) * spot.height
    )


def is_leaving(track: Track) -> bool:
    """Whether the person was expected to walk out of the picture: the edge hides most of a body."""
    width, height = OUTSIDE * track.width, OUTSIDE * track.height
    x, y = track.x + track.step_x, track.y + track.step_y
    return not (width <= x <= 1 - width and 0 <= y <= 1 + height)


def nearest_pairs(new: Mapping[str, Spot], vanished: Mapping[str, Track]) -> list[tuple[str, str]]:
    """(new id, vanished id) that may be one person; nearest first, each id once.

    Who was about to walk out of the picture is gone. A new id is compared with the `CROWD` vanished
    ones that are nearest to it along x.
    """
    by_x = sorted((t.x + t.step_x, i) for i, t in vanished.items() if not is_leaving(t))
    oldest = min((track.seen_at for track in vanished.values()), default=0)
    distances = []
    for new_id, spot in new.items():
        widest = _reach(spot.at - oldest) * spot.width
        low, here, high = (bisect(by_x, (spot.x + side,)) for side in (-widest, 0, widest))
        first = max(low, min(here - CROWD // 2, high - CROWD))
        last = min(high, max(here + CROWD // 2, low + CROWD))
        for _, old_id in by_x[first:last]:
            apart = distance(vanished[old_id], spot)
            if apart <= _reach(spot.at - vanished[old_id].seen_at):
                distances.append((apart, new_id, old_id))
    return _each_once(distances)


def _reach(microseconds: int) -> float:
    """Most distance between a vanished id and a new one so long after it, in bodies."""
    return REACH + PACE * microseconds / 1e6


def _each_once(pairs: Iterable[tuple[float, str, str]]) -> list[tuple[str, str]]:
    """The pairs by their number, the smallest first, without those of an id that is taken."""
    chosen: list[tuple[str, str]] = []
    taken: set[str] = set()
    for _, a, b in sorted(pairs):
        if not taken & {a, b}:
            chosen.append((a, b))
            taken |= {a, b}
    return chosen
