"""Who crosses a line: one track, step by step."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from conf.stores import Line
from streaming.transforms.lines import CLEAR, MARGIN, follow
from streaming.transforms.track import LineState, Spot

ENTRANCE = Line(line_id="entrance", a=(0.5, 0.9), b=(0.5, 0.1))
"""Entering means walking from left to right."""

BODY = 0.06
MARGIN_OF_BODY, CLEAR_OF_BODY = MARGIN * BODY, CLEAR * BODY


def walk(*way: tuple[float, float], line: Line = ENTRANCE, confirm: int = 1) -> list[str]:
    """The crossings of one track, in order."""
    line_state: LineState | None = None
    found = []
    for number, (x, y) in enumerate(way):
        line_state, crossed = follow(line, line_state, Spot(x, y, number, BODY, BODY), confirm)
        found += [crossed[0]] if crossed else []
    return found


def at(*xs: float, y: float = 0.5) -> list[tuple[float, float]]:
    return [(x, y) for x in xs]


def test_walking_in_is_an_entry() -> None:
    assert walk(*at(0.3, 0.4, 0.6, 0.7)) == ["entry"]


def test_walking_out_is_an_exit() -> None:
    assert walk(*at(0.7, 0.6, 0.4)) == ["exit"]


def test_a_line_in_the_other_direction_turns_entries_into_exits() -> None:
    turned = Line(line_id="entrance", a=ENTRANCE.b, b=ENTRANCE.a)
    assert walk(*at(0.3, 0.7), line=turned) == ["exit"]


def test_coming_back_counts_both_ways() -> None:
    assert walk(*at(0.3, 0.7, 0.3)) == ["entry", "exit"]


def test_trembling_on_the_line_counts_once() -> None:
    inside = MARGIN_OF_BODY / 2
    way = at(0.4, 0.5 + inside, 0.5 - inside, 0.5, 0.5 + inside, 0.5 - inside, 0.6)
    assert walk(*way) == ["entry"]


def test_who_turns_round_on_the_line_has_not_crossed_it() -> None:
    assert walk(*at(0.4, 0.5, 0.5 + MARGIN_OF_BODY / 2, 0.4)) == []


def test_passing_beside_the_end_of_the_line_is_no_crossing() -> None:
    assert walk(*at(0.3, 0.7, y=0.95)) == []


def test_who_walks_round_the_end_and_back_over_the_line_has_left() -> None:
    assert walk((0.3, 0.95), (0.7, 0.95), (0.7, 0.5), (0.3, 0.5)) == ["exit"]


def test_who_pauses_on_the_line_crosses_where_the_way_led_from_the_last_clear_point() -> None:
    assert walk((0.4, 0.5), (0.5, 0.5), (0.6, 0.5)) == ["entry"]
    assert walk((0.4, 0.97), (0.5, 0.97), (0.6, 0.97)) == []


def test_who_appears_on_the_line_has_not_crossed_it() -> None:
    assert walk(*at(0.5, 0.7)) == []


def test_who_appears_on_the_line_and_walks_on_through_the_shop_is_followed_from_there() -> None:
    assert walk(*at(0.5, 0.7, 0.3)) == ["exit"]


def test_who_is_seen_late_and_walks_a_short_way_in_has_entered() -> None:
    assert walk(*at(0.5 - BODY, 0.5, 0.5 + BODY)) == ["entry"]


def test_who_passes_a_window_never_leaves_its_line_far_behind() -> None:
    pavement = Line(line_id="pavement", kind="passing", a=ENTRANCE.a, b=ENTRANCE.b)
    short = at(0.5 - MARGIN_OF_BODY * 2, 0.5, 0.5 + MARGIN_OF_BODY * 2)
    assert walk(*short) == []
    assert walk(*short, line=pavement) == ["entry"]


def test_who_appears_inside_has_not_entered() -> None:
    assert walk(*at(0.7, 0.8, 0.6)) == []


def test_one_long_step_is_a_crossing_too() -> None:
    assert walk((0.01, 0.2), (0.99, 0.8)) == ["entry"]


def test_a_side_counts_after_some_frames_in_a_row() -> None:
    assert walk(*at(0.3, 0.3, 0.7, 0.7), confirm=2) == ["entry"]
    assert walk(*at(0.3, 0.3, 0.7, 0.3, 0.7, 0.3), confirm=2) == []
    assert walk(*at(0.3, 0.3, 0.7, 0.5, 0.7, 0.3), confirm=2) == []
    assert walk(*at(0.3, 0.7, 0.7), confirm=2) == []


def test_after_a_crossing_a_way_back_counts_once_it_leads_clear_of_the_line() -> None:
    near, clear = CLEAR_OF_BODY / 2, CLEAR_OF_BODY + 0.001
    assert walk(*at(0.3, 0.5 + near, 0.5 - near, 0.5 + near, 0.5 - near)) == ["entry"]
    assert walk(*at(0.3, 0.5 + near, 0.5 - near, 0.5 - clear)) == ["entry", "exit"]
    assert walk(*at(0.3, 0.5 + clear, 0.5 - near)) == ["entry", "exit"]


def test_one_frame_far_from_the_line_does_not_make_a_track_clear_of_it() -> None:
    sway = at(0.3, 0.3, *[0.52] * 3, 0.7, *[0.48] * 3, *[0.52] * 3, 0.3, *[0.48] * 3)
    assert walk(*sway, confirm=2) == ["entry"]


def test_a_slanted_line_is_crossed_once_by_who_sways_on_it() -> None:
    slanted = Line(line_id="entrance", a=(0.3, 0.8), b=(0.7, 0.2))
    assert walk(*at(0.3, *[0.53, 0.47] * 20), line=slanted) == ["entry"]


def test_a_crossing_is_where_the_new_side_began_not_where_it_was_confirmed() -> None:
    line_state: LineState | None = None
    for number, x in enumerate((0.3, 0.3, 0.7, 0.7)):
        line_state, crossed = follow(ENTRANCE, line_state, Spot(x, 0.5, number, BODY, BODY), 2)
    assert crossed == ("entry", 2, 0.7, 0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_over_one_line_entries_and_exits_take_turns(xs: list[float]) -> None:
    found = walk(*at(*xs))
    assert all(one != next_one for one, next_one in pairwise(found))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_entries_less_exits_show_on_which_side_a_track_is(xs: list[float]) -> None:
    clear = [x for x in xs if abs(x - 0.5) > CLEAR_OF_BODY]
    found = walk(*at(*clear)) if clear else []
    inside = found.count("entry") - found.count("exit")
    expected = (clear[-1] > 0.5) - (clear[0] > 0.5) if clear else 0
    assert inside == expected
