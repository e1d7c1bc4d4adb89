"""The plan of a run: what each message is, how late is late, and baskets without the package."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime, timedelta, timezone
from itertools import islice

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.settings import StreamSettings
from simulator.plan import Plan, PlanError, draw_age
from simulator.synthetic import invent_baskets
from streaming.transforms.watermark import is_late

PLAN = Plan(count=10_000, poison=0.02, late=0.05, duplicates=0.1)


def kinds(plan: Plan, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [plan.kind(number, rng) for number in range(plan.total or 1000)]


def test_each_kind_has_its_share() -> None:
    found = Counter(kinds(PLAN))
    assert found["poison"] == pytest.approx(200, rel=0.3)
    assert found["late"] == pytest.approx(450, rel=0.3)
    assert found["duplicate"] == pytest.approx(1000, rel=0.2)
    assert found.total() == 10_000


def test_the_same_seed_draws_the_same_kinds() -> None:
    assert kinds(PLAN) == kinds(PLAN)
    assert kinds(PLAN) != kinds(PLAN, seed=2)


def test_nothing_is_late_in_the_first_tenth() -> None:
    assert "late" not in kinds(Plan(count=1000, late=1.0))[:100]
    assert set(kinds(Plan(count=1000, late=1.0))[100:]) == {"late"}
    assert "late" not in kinds(Plan(late=1.0))[:100]


def test_shares_of_more_than_one_whole_are_refused() -> None:
    with pytest.raises(PlanError, match="together they are 1 at most"):
        Plan(count=10, poison=0.5, late=0.3, duplicates=0.3)
    assert Plan(count=10, poison=0.7, late=0.2, duplicates=0.1).ordinary == 0


@settings(deadline=None)
@given(
    minute=st.integers(0, 3000),
    behind=st.integers(0, 3599),
    lateness=st.integers(0, 300),
    watermark=st.integers(0, 60),
    seed=st.integers(0, 1000),
)
def test_a_late_event_is_late_for_the_metrics_whatever_the_limits(
    minute: int, behind: int, lateness: int, watermark: int, seed: int
) -> None:
    """Even when the newest event that the stream has seen is an hour old."""
    limits = StreamSettings(
        allowed_lateness=timedelta(minutes=lateness), watermark=timedelta(minutes=watermark)
    )
    now = datetime(2024, 5, 1, tzinfo=timezone.utc) + timedelta(minutes=minute)
    event_time = now - draw_age(limits, random.Random(seed))
    newest = now - timedelta(seconds=behind)
    times = pa.chunked_array([pa.array([event_time], pa.timestamp("us", tz="UTC"))])

    assert is_late(times, newest - limits.watermark, limits.allowed_lateness).to_pylist() == [True]


def test_invented_baskets_are_the_same_for_the_same_seed() -> None:
    assert list(islice(invent_baskets(1), 50)) == list(islice(invent_baskets(1), 50))
    assert list(islice(invent_baskets(1), 50)) != list(islice(invent_baskets(2), 50))


def test_invented_baskets_can_be_sold_and_have_numbers_of_their_own() -> None:
    baskets = list(islice(invent_baskets(3), 2000))
    lines = [line for basket in baskets for line in basket.lines]

    assert len({basket.basket_id for basket in baskets}) == 2000
    assert all(basket.lines for basket in baskets)
    assert all(line.quantity >= 1 and line.unit_price > 0 for line in lines)
    assert all(line.unit_price.as_tuple().exponent == -2 for line in lines)
    popular = Counter(line.product_id for line in lines)
    assert popular["S0001"] > 10 * popular["S0400"]
