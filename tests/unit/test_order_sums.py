"""The sums of a ledger: by branch, hour and currency, with returns and payments."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from quality.order_sums import Hour, Sums, compare_sums, sums_of
from tests.support.ledgers import NOON, change, entry

HOUR = Hour("B01", NOON, "USD")
TEN = Decimal(10)


def shown(sums: Sums) -> dict[str, object]:
    return {name: value for name, value in sums.items() if value}


def test_an_order_counts_once_with_its_newest_total_and_status() -> None:
    ledger = [
        change(9, "O-1", "completed"),
        entry(1),
        entry(1),  # sent twice
        entry(3, order_id="O-1", total_price=Decimal("12.50")),
        entry(2, payment_method="online", status="cancelled"),
    ]
    assert {hour: shown(sums) for hour, sums in sums_of(ledger).items()} == {
        HOUR: {
            "order_count": 2,
            "completed_count": 1,
            "cancelled_count": 1,
            "cash_count": 1,
            "online_count": 1,
            "in_store_count": 2,
            "total_revenue": Decimal("15.00"),
            "net_revenue": Decimal("12.50"),
            "orders by cash": 1,
            "orders by online": 1,
            "paid by cash": Decimal("12.50"),
            "paid by online": Decimal("2.50"),
            "net by cash": Decimal("12.50"),
        }
    }


def test_a_return_lowers_the_net_of_its_own_hour_and_is_no_order() -> None:
    later = NOON + timedelta(hours=2)
    payments = {"gift_card": Decimal(4), "card": Decimal(6)}
    ledger = [
        entry(1, total_price=TEN, payments=payments, payment_method=None, channel="web"),
        entry(
            2, event_type="order.returned", total_price=-TEN, payments={"card": -TEN},
            payment_method=None, status="completed", created_at=later + timedelta(minutes=9),
        ),
    ]  # fmt: skip
    sums = sums_of(ledger)
    assert sums[HOUR]["net_revenue"] == TEN
    assert sums[HOUR]["in_store_count"] == 0
    assert sums[HOUR]["paid by gift_card"] == Decimal(4)
    assert sums[HOUR]["paid by card"] == Decimal(6)
    assert shown(sums[HOUR._replace(hour=later)]) == {
        "return_count": 1,
        "refunds": TEN,
        "net_revenue": -TEN,
        "net by card": -TEN,
    }


def test_money_of_two_currencies_is_never_one_sum() -> None:
    sums = sums_of([entry(1), entry(2, currency="JPY", total_price=Decimal(300))])
    assert {hour.currency: s["total_revenue"] for hour, s in sums.items()} == {
        "USD": Decimal("2.50"),
        "JPY": 300,
    }


def test_of_two_events_at_one_instant_the_cancellation_is_the_later() -> None:
    cancelled = entry(1, event_type="order.cancelled", status="cancelled", offset=0)
    (sums,) = sums_of([cancelled, entry(1, offset=7)]).values()
    assert shown(sums)["cancelled_count"] == 1
    assert "net_revenue" not in shown(sums)


def test_broken_late_and_unknown_orders_do_not_count() -> None:
    ledger = [
        entry(1, outcome="poisoned"),
        entry(2, late=True),
        entry(3, outcome="failed"),
        change(4, "O-4", "completed"),
    ]
    assert sums_of(ledger) == {}


def test_an_hour_that_differs_or_is_missing_is_named() -> None:
    wanted = sums_of([entry(1), entry(2, created_at=NOON - timedelta(hours=1))])
    assert compare_sums(wanted, wanted) == []
    changed = {hour: {**sums, "order_count": Decimal(2)} for hour, sums in wanted.items()}
    assert len(compare_sums(wanted, changed)) == 2
    (difference,) = compare_sums(wanted, {HOUR: wanted[HOUR]})
    assert difference.startswith(
        "order_metrics of B01 at 2024-05-01 11:00 in USD: cash_count is 0, the ledger has 1; "
    )
