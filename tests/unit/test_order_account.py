"""The account of an order against plain decimals: any lines, discounts, tax, tips and currency."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conf.contracts.currencies import PLACES
from conf.stores import Stores
from streaming.transforms.newest_orders import newest_orders
from tests.support.accounts import account, silver, smallest, value_of
from tests.support.builders import MISSING, order_event, order_item

CURRENCIES = ("JPY", "EUR", "KWD", "CLF")
MOST = 10_000_000


def decimals(places: int, low: int = -MOST, high: int = MOST) -> st.SearchStrategy[Decimal]:
    return st.integers(low * 10**places, high * 10**places).map(
        lambda n: Decimal(n).scaleb(-places)
    )


@st.composite
def orders(draw: st.DrawFn) -> dict[str, Any]:
    """The fields of an order whose total is its account, or one or two units away from it."""
    currency = draw(st.sampled_from(CURRENCIES))
    amounts = decimals(PLACES[currency], -1000, 1000)
    maybe = st.just(MISSING) | amounts
    lines = st.builds(
        order_item,
        quantity=decimals(4, -1000, 1000) | st.integers(-5, 5),
        unit_price=decimals(4, 0, 1000),
        discount=maybe,
        tax=maybe,
    )
    order = {
        "currency": currency,
        "items": draw(st.lists(lines, min_size=1, max_size=4)),
        "discounts": [{"amount": a} for a in draw(st.lists(amounts, max_size=3))],
        "tax_included": draw(st.sampled_from((MISSING, True, False))),
        **{n: draw(maybe) for n in ("tax_total", "shipping", "tip", "rounding")},
    }
    given_fields = {name: value for name, value in order.items() if value is not MISSING}
    units = draw(st.sampled_from((0, 0, 0, 1, -1, 2, -2)))
    return given_fields | {"total_price": account(given_fields) + units * smallest(currency)}


def is_off(order: dict[str, Any]) -> bool:
    """Whether a total is more than a smallest unit away from its account."""
    difference: Decimal = abs(order["total_price"] - account(order))
    return difference > smallest(order["currency"])


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(found=st.lists(orders(), min_size=1, max_size=20))
def test_a_total_fails_exactly_where_plain_decimals_differ(
    stores: Stores, found: list[dict[str, Any]]
) -> None:
    events = [order_event(schema_version=3, order_id=f"O-{n}", **o) for n, o in enumerate(found)]
    rows = silver(stores, events)
    wanted = [["total_equals_account"] if is_off(order) else [] for order in found]
    assert rows["rules"].to_pylist() == wanted


def test_lines_are_rounded_half_away_from_zero() -> None:
    half = {"unit_price": Decimal("0.5"), "quantity": 1}
    assert value_of(half, "JPY") == 1
    assert value_of({**half, "quantity": -1}, "JPY") == -1


def test_the_discounts_of_lines_and_of_the_order_are_one_sum(stores: Stores) -> None:
    lines = [order_item(discount=0.5, discount_reason="offer"), order_item()]
    event = order_event(
        schema_version=3, items=lines, discounts=[{"amount": 1, "reason": "member"}],
        total_price=3.5,
    )  # fmt: skip
    (row,) = newest_orders(silver(stores, [event])).to_pylist()
    assert (row["discount_total"], row["subtotal"]) == (Decimal("1.5"), Decimal(5))
    assert row["total_price"] == Decimal("3.5")
