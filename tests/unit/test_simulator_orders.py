"""The shop: real baskets, whole lives, exact totals, the same for the same seed."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import islice, pairwise
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from conf.settings import CONF_DIR
from simulator.baskets import Basket, BasketLine, price_line, read_baskets
from simulator.orders import Shop, SimulatedOrderEvent, instant
from simulator.poison import HUGE_BYTES, WAYS, draw_way, poison
from tests.support.clock import HandClock

CONTRACT = json.loads(
    (CONF_DIR / "contracts" / "order_event.v1.json").read_text(), parse_float=Decimal
)
SCHEMA = Draft202012Validator(CONTRACT, format_checker=Draft202012Validator.FORMAT_CHECKER)
BRANCHES = [("B01", "USD"), ("B02", "USD"), ("B03", "USD")]
OPENING = datetime(2024, 5, 1, 10, tzinfo=timezone.utc)


def shop(
    seed: int = 1, run_id: str = "run", baskets: Any = None
) -> tuple[Shop, HandClock[datetime]]:
    clock = HandClock(OPENING)
    source = baskets if baskets is not None else iter(BASKETS)
    return Shop(source, BRANCHES, seed=seed, run_id=run_id, clock=clock), clock


def a_day(count: int = 400, **options: Any) -> list[SimulatedOrderEvent]:
    """`count` events, a tenth of a second apart."""
    open_shop, clock = shop(**options)
    events = []
    for number in range(count):
        clock.now = OPENING + timedelta(seconds=number / 10)
        events.append(open_shop.next_event(number / 10, count - number))
    return events


def parsed(value: bytes) -> Any:
    return json.loads(value, parse_float=Decimal)


BASKETS = list(islice(read_baskets(), 500))


def test_the_first_basket_is_the_first_of_the_year() -> None:
    assert BASKETS[0] == Basket(
        basket_id=31198570044,
        lap=0,
        customer_id="C900",
        store_id=330,
        lines=(BasketLine("P1095275", "ROLLS: BAGELS", "PASTRY", 1, Decimal("0.50")),),
        skipped=0,
    )


def test_every_line_can_be_sold() -> None:
    lines = [line for basket in BASKETS for line in basket.lines]
    assert len(lines) > 2000
    assert all(1 <= line.quantity <= 100_000 for line in lines)
    assert all(line.unit_price >= Decimal("0.01") for line in lines)
    assert all(line.unit_price.as_tuple().exponent == -2 for line in lines)
    assert all(line.name and line.category for line in lines)
    assert sum(basket.skipped for basket in BASKETS) > 0


@pytest.mark.parametrize(
    ("quantity", "value", "expected"),
    [
        (2, 2.78, (2, Decimal("1.39"))),
        (3, 1.00, (3, Decimal("0.33"))),
        (2, 0.05, (2, Decimal("0.03"))),
        (8725, 20.06, (1, Decimal("20.06"))),
        (0, 1.00, None),
        (1, 0.00, None),
    ],
    ids=["exact", "rounded", "half up", "petrol by measure", "coupon", "nothing paid"],
)
def test_a_till_line_gets_a_price_per_piece(quantity: int, value: float, expected: Any) -> None:
    assert price_line(quantity, value) == expected


def test_a_slice_begins_with_a_whole_basket() -> None:
    whole = {basket.basket_id: basket for basket in islice(read_baskets(), 6000)}
    later = list(islice(read_baskets(start=1), 100))
    assert later[0].basket_id != BASKETS[0].basket_id
    assert all(whole[basket.basket_id] == basket for basket in later)


def test_the_contract_accepts_every_clean_event() -> None:
    for event in a_day():
        faults = [error.message for error in SCHEMA.iter_errors(parsed(event.value))]
        assert faults == []


def test_the_total_is_the_sum_of_the_items_to_the_cent() -> None:
    for event in a_day():
        order = parsed(event.value)["order"]
        if "items" in order:
            total = sum(i["quantity"] * i["unit_price"] for i in order["items"])
            assert order["total_price"] == total == event.total_price


def test_the_same_seed_and_run_give_the_same_day() -> None:
    assert [e.value for e in a_day(200)] == [e.value for e in a_day(200)]


def test_another_run_has_other_ids_but_the_same_sales() -> None:
    one, two = a_day(200), a_day(200, run_id="another")
    assert not {e.event_id for e in one} & {e.event_id for e in two}
    assert not {e.order_id for e in one} & {e.order_id for e in two}
    assert [e.total_price for e in one] == [e.total_price for e in two]


def test_another_seed_leads_another_life() -> None:
    assert [e.event_type for e in a_day(200)] != [e.event_type for e in a_day(200, seed=2)]


def lives(events: list[SimulatedOrderEvent]) -> dict[str, list[SimulatedOrderEvent]]:
    by_order = defaultdict(list)
    for event in events:
        by_order[event.order_id].append(event)
    return by_order


def test_all_lives_end_save_perhaps_the_very_last() -> None:
    ends = [events[-1].status in {"completed", "cancelled"} for events in lives(a_day()).values()]
    assert len(ends) > 100
    assert ends.count(False) <= 1


def test_every_order_lives_its_steps_in_order() -> None:
    for events in lives(a_day()).values():
        assert events[0].event_type == "order.created"
        times = [event.event_time for event in events]
        assert times == sorted(set(times))
        for before, after in pairwise(events):
            if after.event_type == "order.status_changed":
                change = after.document["order"]
                assert change["old_status"] == before.status
                assert change["new_status"] == after.status


def test_a_day_has_every_kind_of_event() -> None:
    assert {event.event_type for event in a_day(1000, baskets=read_baskets())} == {
        "order.created",
        "order.updated",
        "order.cancelled",
        "order.status_changed",
    }


def test_an_order_keeps_the_time_when_it_was_created() -> None:
    for events in lives(a_day()).values():
        full = [e.document["order"] for e in events if "items" in e.document["order"]]
        assert {order["created_at"] for order in full} == {instant(events[0].event_time)}


def test_a_stray_event_has_no_later_life() -> None:
    open_shop, _ = shop()
    stray = open_shop.stray_event()
    later = [open_shop.next_event(number, 50 - number) for number in range(50)]
    assert stray.order_id not in {event.order_id for event in later}
    assert "items" in stray.document["order"]


# -- poison ----------------------------------------------------------------------------------------


def broken_rules(key: bytes | None, value: bytes | None) -> set[str]:
    """The contract, and the business rules as the streams state them."""
    try:
        document = json.loads(value or b"", parse_float=Decimal, parse_constant=lambda _: None)
    except ValueError:
        return {"contract"}
    if not SCHEMA.is_valid(document):
        return {"contract"}
    order = document["order"]
    total = sum(item["quantity"] * item["unit_price"] for item in order["items"])
    verdicts = {
        "total_is_sum": order["total_price"] == total,
        "branch_is_known": order["branch_id"] in dict(BRANCHES),
        "not_in_the_future": document["event_time"] <= instant(OPENING + timedelta(minutes=10)),
        "key_is_order_id": key == order["order_id"].encode(),
    }
    return {rule for rule, holds in verdicts.items() if not holds}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_breaks_exactly_the_rule_that_it_names(way: str) -> None:
    open_shop, _ = shop()
    for seed in range(30):
        stray = open_shop.stray_event()
        assert broken_rules(stray.key, stray.value) == set()
        bad = poison(stray, way, random.Random(seed))
        assert broken_rules(bad.key, bad.value) == {bad.refused_by}


def test_breaking_leaves_the_event_itself_whole() -> None:
    open_shop, _ = shop()
    event = open_shop.stray_event()
    before = event.value
    for way in WAYS:
        poison(event, way, random.Random(1))
    assert event.value == before


def test_the_largest_poison_fits_through_a_broker_as_it_comes() -> None:
    open_shop, _ = shop()
    bad = poison(open_shop.stray_event(), "huge_value", random.Random(1))
    assert HUGE_BYTES < len(bad.value or b"") < 1_000_000


def test_all_ways_are_used() -> None:
    rng = random.Random(1)
    assert {draw_way(rng) for _ in range(1000)} == set(WAYS)
