"""Who enters together: within two seconds of the first one, and a step from one of the group."""

from __future__ import annotations

import pytest

from streaming.transforms.groups import Member, join_groups
from streaming.transforms.track import Spot

pytestmark = pytest.mark.requirement("V13")

BODY = (0.06, 0.1)
"""Length of a body along x and along y."""

STEP = 0.12
SECOND = 1_000_000
ANNA = Member("anna", "anna", 0)


def at(x: float, y: float = 0.6, body: tuple[float, float] = BODY) -> Spot:
    return Spot(x, y, 0, *body)


def together(entered: dict[str, float], *members: Member, **places: Spot) -> dict[str, str]:
    """Person -> first of the group, when people enter at these seconds."""
    times = {person: int(second * SECOND) for person, second in entered.items()}
    return {p: group.group_id for p, group in join_groups(times, members, places).items()}


def test_two_who_enter_side_by_side_are_a_group() -> None:
    assert together({"ben": 0.4}, ANNA, anna=at(0.7), ben=at(0.6)) == {"ben": "anna"}


@pytest.mark.parametrize(
    ("second", "ben"),
    [(2.1, at(0.65)), (0.4, at(0.55)), (0.4, at(0.7, 0.4))],
    ids=["later than two seconds", "more than a step behind", "more than a step aside"],
)
def test_who_enters_later_or_farther_away_is_a_group_alone(second: float, ben: Spot) -> None:
    assert together({"ben": second}, ANNA, anna=at(0.7), ben=ben) == {"ben": "ben"}


def test_a_step_is_longer_in_front_of_the_camera() -> None:
    near = (0.12, 0.2)
    assert together({"ben": 0}, ANNA, anna=at(0.7, body=near), ben=at(0.5, body=near)) == {
        "ben": "anna"
    }


def test_a_row_of_people_is_one_group_whatever_their_order() -> None:
    row = {name: at(0.3 + n * STEP) for n, name in enumerate(["dora", "anna", "carl", "ben"])}
    entered = {"anna": 0.0, "ben": 0.0, "carl": 0.0, "dora": 0.0}
    assert set(together(entered, **row).values()) == {"anna"}


def test_a_queue_that_streams_in_is_one_group_for_two_seconds_only() -> None:
    members = [ANNA, Member("ben", "anna", 0)]
    places = {"anna": at(0.8), "ben": at(0.7), "carl": at(0.6)}
    assert together({"carl": 2.2}, *members, **places) == {"carl": "carl"}


def test_the_nearest_group_is_joined() -> None:
    members = [ANNA, Member("ben", "ben", 0)]
    places = {"anna": at(0.7), "ben": at(0.58), "carl": at(0.62)}
    assert together({"carl": 1}, *members, **places) == {"carl": "ben"}


def test_who_is_out_of_the_picture_has_no_company() -> None:
    assert together({"ben": 0.4}, ANNA, ben=at(0.6)) == {"ben": "ben"}
