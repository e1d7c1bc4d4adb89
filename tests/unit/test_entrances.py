"""Lines of one entrance, lines on the pavement, and people who enter together, frame by frame."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest

from conf.stores import Layout, Line
from streaming.transforms.track import person
from streaming.transforms.tracks import CameraRun, LineCrossing, Rules

pytestmark = [pytest.mark.requirement("V10"), pytest.mark.requirement("V13")]

STEP = 200_000
OUTER = Line(line_id="outer", entrance="main", a=(0.45, 0.9), b=(0.45, 0.1))
INNER = Line(line_id="inner", entrance="main", a=(0.65, 0.9), b=(0.65, 0.1))
PAVEMENT = Line(line_id="pavement", kind="passing", a=(0.0, 0.55), b=(0.3, 0.55))
OUTSIDE = (-1.0, -1.0)
"""Where somebody is who is not in the frame."""

WAY_IN = [0.3 + 0.03 * n for n in range(16)]


def crossings(
    *lines: Line, since: dict[int, list[Line]] | None = None, **ways: list[tuple[float, float]]
) -> list[LineCrossing]:
    """Everybody's feet, five frames a second; the state is written as text after each.

    `since` has the lines that the store file has from a frame on, under the same version.
    """
    valid_from = datetime(2024, 1, 1, tzinfo=timezone.utc)
    layout = Layout(version=1, valid_from=valid_from, lines=lines)
    found, state = list[LineCrossing](), None
    start = int(datetime(2024, 5, 1, 10, tzinfo=timezone.utc).timestamp() * 1e6)
    for index in range(max(map(len, ways.values()))):
        people = [
            person(name, (x - 0.03, y - 0.3, x + 0.03, y), 16 / 9)
            for name, way in ways.items()
            if index < len(way) and way[index] != OUTSIDE
            for x, y in [way[index]]
        ]
        if since and index in since:
            layout = layout.model_copy(update={"lines": tuple(since[index])})
        run = CameraRun([layout], Rules(), json.loads(state) if state else None)
        found += run.receive(index, start + index * STEP, people).crossings
        state = json.dumps(run.state())
    return found


def at(y: float, xs: list[float]) -> list[tuple[float, float]]:
    return [(x, y) for x in xs]


def visitors(found: list[LineCrossing]) -> list[tuple[str, str]]:
    return [(c.track_id, c.direction) for c in found if c.kind == "entrance"]


def test_who_walks_through_a_vestibule_is_one_visitor() -> None:
    found = crossings(OUTER, INNER, anna=at(0.6, WAY_IN + WAY_IN[::-1]))

    assert visitors(found) == [("anna", "entry"), ("anna", "exit")]
    assert [(c.line_id, c.kind) for c in found] == [
        *[("outer", "entrance"), ("inner", "count")],
        *[("inner", "entrance"), ("outer", "count")],
    ]


def test_without_the_name_of_an_entrance_each_line_counts() -> None:
    lines = [line.model_copy(update={"entrance": None}) for line in (OUTER, INNER)]
    assert visitors(crossings(*lines, anna=at(0.6, WAY_IN))) == [("anna", "entry")] * 2


def test_who_turns_back_between_the_lines_has_left() -> None:
    vestibule = [x for x in WAY_IN if x < 0.58]
    found = crossings(OUTER, INNER, anna=at(0.6, vestibule + vestibule[::-1]))
    assert visitors(found) == [("anna", "entry"), ("anna", "exit")]


def test_who_is_lost_between_the_lines_and_found_under_a_new_id_is_one_visitor() -> None:
    outside, inside = WAY_IN[:8], [*WAY_IN[10:], 0.78, 0.8, 0.82]
    found = crossings(OUTER, INNER, anna=at(0.3, outside), new=[OUTSIDE] * 16 + at(0.6, inside))
    assert visitors(found) == [("anna", "entry")]

    way_out = [(0.9, 0.6), *at(0.6, inside[::-1])]
    lost = [OUTSIDE] * 16 + at(0.3, outside[::-1])
    found = crossings(OUTER, INNER, anna=way_out, new=lost)
    assert visitors(found) == [("anna", "exit")]


def test_a_line_that_was_renamed_in_the_store_file_does_not_stop_the_camera() -> None:
    door = OUTER.model_copy(update={"line_id": "door"})
    outside, inside = WAY_IN[:8], [*WAY_IN[10:], 0.78, 0.8, 0.82]
    found = crossings(
        OUTER,
        INNER,
        since={9: [door, INNER]},
        anna=at(0.3, outside),
        new=[OUTSIDE] * 16 + at(0.6, inside),
    )
    assert visitors(found) == [("anna", "entry"), ("new", "entry")]


def test_who_comes_out_after_somebody_has_left_is_another_visitor() -> None:
    out = WAY_IN[::-1]
    from_within = [OUTSIDE] * 20 + at(0.3, out)
    found = crossings(OUTER, INNER, anna=at(0.6, out), ben=from_within)
    assert visitors(found) == [("anna", "exit"), ("ben", "exit")]


def test_two_ways_in_beside_each_other_count_everybody_once() -> None:
    upper = INNER.model_copy(update={"line_id": "upper", "a": (0.65, 0.5)})
    lower = INNER.model_copy(update={"line_id": "lower", "b": (0.65, 0.52)})
    found = crossings(upper, lower, anna=at(0.45, WAY_IN), ben=at(0.7, WAY_IN))
    assert sorted(visitors(found)) == [("anna", "entry"), ("ben", "entry")]


def test_a_vestibule_has_one_group_for_a_couple() -> None:
    behind = [0.21, 0.24, 0.27, *WAY_IN]
    found = crossings(OUTER, INNER, anna=at(0.6, WAY_IN), ben=at(0.62, behind))
    groups = {c.group_id for c in found if c.kind == "entrance"}
    assert groups == {"anna"}
    assert all(c.group_id is None for c in found if c.kind == "count")


def test_who_comes_two_steps_behind_is_alone() -> None:
    before, behind = ([start + 0.03 * n for n in range(24)] for start in (0.24, 0.06))
    found = crossings(INNER, anna=at(0.6, before), ben=at(0.6, behind))
    assert [c.group_id for c in found] == ["anna", "ben"]


def test_who_walks_along_the_pavement_crosses_the_passing_line_in_either_direction() -> None:
    along = [(0.15, 0.3 + 0.04 * n) for n in range(12)]
    found = crossings(INNER, PAVEMENT, anna=along, ben=along[::-1])
    assert sorted((c.track_id, c.kind, c.direction) for c in found) == [
        ("anna", "passing", "entry"),
        ("ben", "passing", "exit"),
    ]
    assert {c.group_id for c in found} == {None}
