"""Lines on a picture: sides, distances, and where a way meets a line."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from udfs.geometry import Point, contains, passes_between, signed_distance

# A line over an entrance, from the bottom of the picture to the top: y grows downwards.
A, B = (0.5, 0.9), (0.5, 0.1)

shares = st.integers(0, 100).map(lambda n: n / 100)
points = st.tuples(shares, shares)


def test_right_of_the_line_is_positive() -> None:
    assert signed_distance(A, B, (0.7, 0.5)) == pytest.approx(0.2)


def test_left_of_the_line_is_negative() -> None:
    assert signed_distance(A, B, (0.2, 0.5)) == pytest.approx(-0.3)


def test_a_point_on_the_line_has_no_distance() -> None:
    assert signed_distance(A, B, (0.5, 0.3)) == 0


def test_distance_is_measured_to_the_straight_beyond_the_ends_too() -> None:
    assert signed_distance(A, B, (0.7, 5.0)) == pytest.approx(0.2)


def test_distance_does_not_depend_on_how_long_the_line_is() -> None:
    assert signed_distance((0, 0), (0.1, 0.1), (1, 0)) == pytest.approx(-math.sqrt(0.5))
    assert signed_distance((0, 0), (0.9, 0.9), (1, 0)) == pytest.approx(-math.sqrt(0.5))


@given(points, points, points)
def test_turning_the_line_round_changes_the_side_and_nothing_else(
    a: Point, b: Point, p: Point
) -> None:
    assume(a != b)
    assert signed_distance(a, b, p) == pytest.approx(-signed_distance(b, a, p), abs=1e-9)


def test_a_way_through_the_middle_meets_the_line() -> None:
    assert passes_between(A, B, (0.3, 0.5), (0.7, 0.5))


def test_a_way_through_an_end_meets_the_line() -> None:
    assert passes_between(A, B, (0.3, 0.9), (0.7, 0.9))


@pytest.mark.parametrize("y", [0.05, 0.95])
def test_a_way_past_an_end_does_not_meet_the_line(y: float) -> None:
    assert not passes_between(A, B, (0.3, y), (0.7, y))


def test_a_slanted_way_meets_the_line_where_it_crosses_it_and_not_where_it_starts() -> None:
    assert passes_between(A, B, (0.3, 0.95), (0.7, 0.75))
    assert not passes_between(A, B, (0.3, 0.89), (0.7, 0.95))


def test_a_way_along_the_line_never_meets_it() -> None:
    assert not passes_between(A, B, (0.7, 0.9), (0.7, 0.1))


def test_standing_still_meets_nothing() -> None:
    assert not passes_between(A, B, (0.5, 0.5), (0.5, 0.5))


@given(points, points)
def test_a_way_there_and_back_meets_the_same_line(p: Point, q: Point) -> None:
    assert passes_between(A, B, p, q) == passes_between(A, B, q, p)


SQUARE = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))
HORSESHOE = ((0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.6, 0.9), (0.6, 0.4), (0.4, 0.4), (0.4, 0.9))


@pytest.mark.parametrize("corners", [SQUARE, tuple(reversed(SQUARE))])
def test_a_polygon_contains_what_is_inside_whichever_way_its_points_go_round(
    corners: tuple[Point, ...],
) -> None:
    assert contains(corners, (0.5, 0.5))
    assert not contains(corners, (0.5, 0.9))
    assert not contains(corners, (0.1, 0.5))


def test_the_hollow_of_a_polygon_is_outside() -> None:
    assert not contains(HORSESHOE, (0.5, 0.7))
    assert contains(HORSESHOE, (0.8, 0.7))


@given(points)
def test_two_halves_hold_a_point_once(p: Point) -> None:
    assume(p[0] != 0.5)
    left = ((0, 0), (0.5, 0), (0.5, 2), (0, 2))
    right = ((0.5, 0), (2, 0), (2, 2), (0.5, 2))
    assert contains(left, p) != contains(right, p) or p[0] == 0
