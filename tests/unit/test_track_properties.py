"""Whatever a tracker and its clock send: nothing raises, no key is there twice, names are unique.

Three people walk back and forth at a line, close by. In each frame a tracker gives each of them
its own id, a new one, that of another, one that means nobody, or none at all, and often the same
for two frames, since that many confirm a side. Indexes and clocks go on, stand still, jump and go
back.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conf.stores import Stores
from tests.support.camera_scenes import TEN, ParsedFrame, Seen, follow_frames

SECOND = 1_000_000
OWN = ("A", "B", "C")
NEW = "new"
ID = st.sampled_from(["own"] * 6 + [NEW, NEW, "", "-1", "A", "B", "A~2", "missing", "missing"])
PLACE = st.sampled_from([0.3, 0.5, 0.58, 0.62, 0.64, 0.65, 0.66, 0.68, 0.72, 0.8])
PERSON = st.tuples(ID, PLACE)
MOMENT = st.tuples(st.integers(1, 3), st.tuples(PERSON, PERSON, PERSON))
"""How many frames it lasts, and of each person the id and x."""
NEXT_INDEX = st.sampled_from([1] * 12 + [0, 2, 3, -1, -4, -1_000_000, 500, 2**40])
NEXT_TIME = st.sampled_from([SECOND // 5] * 8 + [0, 0, SECOND // 30, -SECOND // 2, 3 * SECOND])
ANY_TIME = st.one_of(NEXT_TIME, st.sampled_from([-3600 * SECOND, 700 * SECOND]))
FEW = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def frame(index: int, at: int, people: list[tuple[str, float]], moment: int = 0) -> ParsedFrame:
    """The frame in which the people have these ids and places; a new id is of that moment."""
    boxes = [
        ({"own": OWN[n], NEW: f"{OWN[n]}{moment}"}.get(i, i), x, 0.55 + n * 0.02)
        for n, (i, x) in enumerate(people)
        if i != "missing"
    ]
    ids, xs, ys = ([box[n] for box in boxes] for n in range(3))
    seen = {"index": index, "at": at, "arrived": at, "ids": ids, "xs": xs, "ys": ys}
    seen |= {"widths": [0.04] * len(ids), "ratio": 16 / 9}
    return ParsedFrame(json.dumps(seen), position=f"{index}")


@st.composite
def runs(
    draw: Callable[[Any], Any],
    index: st.SearchStrategy[int] = NEXT_INDEX,
    time: st.SearchStrategy[int] = NEXT_TIME,
) -> list[ParsedFrame]:
    """Frames of one run in the order of the topic, and empty ones, so that all have their turn."""
    at, number, frames = int(TEN.timestamp() * 1e6), 0, []
    for moment, (length, people) in enumerate(draw(st.lists(MOMENT, min_size=12, max_size=30))):
        for _ in range(length):
            frames.append(frame(number, at, list(people), moment))
            at, number = at + draw(time), min(max(0, number + draw(index)), 2**62)
    return frames + [frame(number + n, at + n * SECOND, []) for n in range(3)]


def cut(run: list[ParsedFrame], shares: list[float]) -> list[int]:
    return sorted({round(share * len(run)) for share in shares})


@FEW
@given(runs(time=ANY_TIME), st.lists(st.floats(0, 1), max_size=8))
def test_nothing_raises_and_a_name_is_of_one_track(
    stores: Stores, run: list[ParsedFrame], shares: list[float]
) -> None:
    seen = follow_frames(stores, run, cuts=cut(run, shares))
    for names in seen.names:
        assert len(names) == len(set(names))
    for visit in seen.visits.values():
        assert visit["entered_at"] <= visit["exited_at"]


@FEW
@given(runs(time=ANY_TIME))
def test_no_two_crossings_of_a_run_have_one_key(stores: Stores, run: list[ParsedFrame]) -> None:
    seen = follow_frames(stores, run)
    assert len(seen.keys) == len(set(seen.keys)) == len(seen.crossings)


@FEW
@given(runs(time=ANY_TIME), st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_where_batches_end_changes_nothing(
    stores: Stores, run: list[ParsedFrame], shares: list[float]
) -> None:
    def stored(seen: Seen) -> tuple[Any, ...]:
        return seen.crossings, seen.visits, seen.queue

    assert stored(follow_frames(stores, run, cuts=cut(run, shares))) == stored(
        follow_frames(stores, run)
    )


@FEW
@given(runs(index=st.just(1)))
def test_a_queue_is_never_longer_than_the_picture_has_people(
    stores: Stores, run: list[ParsedFrame]
) -> None:
    """Every frame in its turn: so the lengths are those of the frames, one after the other."""
    people = [len(json.loads(one.frame)["ids"]) for one in run]
    lengths = follow_frames(stores, run).queue
    assert len(lengths) == len(people)
    assert all(length <= many for length, many in zip(lengths, people, strict=True))
