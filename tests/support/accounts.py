"""The account of an order of version 3 in plain decimals, as a person would add it up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any

import msgspec
import pyarrow as pa

from conf.contracts.currencies import PLACES
from conf.stores import Stores
from streaming.transforms.order_event_processor import silver_orders
from tests.support.messages import Sent, to_rows

SKEW = timedelta(minutes=10)
DIGITS = 60  # no sum of a message has more


def smallest(currency: str) -> Decimal:
    return Decimal(1).scaleb(-PLACES[currency])


def account(order: Mapping[str, Any]) -> Decimal:
    """Lines - discounts + tax on top + shipping + tip + rounding; numbers are exact decimals."""
    with localcontext(prec=DIGITS):
        total = sum((value_of(line, order["currency"]) for line in order["items"]), Decimal(0))
        total -= sum(Decimal(one["amount"]) for one in order.get("discounts", ()))
        if order.get("tax_included") is False:
            of_lines = sum(Decimal(line.get("tax", 0)) for line in order["items"])
            total += Decimal(order.get("tax_total", of_lines))
        return total + sum(Decimal(order.get(n, 0)) for n in ("shipping", "tip", "rounding"))


def value_of(line: Mapping[str, Any], currency: str) -> Decimal:
    """Of a line, to the smallest unit, half away from zero."""
    with localcontext(prec=DIGITS):
        value = Decimal(line["quantity"]) * Decimal(line["unit_price"])
        value -= Decimal(line.get("discount", 0))
        return value.quantize(smallest(currency), ROUND_HALF_UP)


def paid(order: Mapping[str, Any]) -> Decimal:
    """The sum of its payments."""
    with localcontext(prec=DIGITS):
        return sum((Decimal(one["amount"]) for one in order["payments"]), Decimal(0))


def silver(stores: Stores, events: Iterable[Mapping[str, Any]]) -> pa.Table:
    """The validated rows of events; their decimals are sent as the numbers that they are."""
    sent = [Sent(_encode(event), event["order"]["order_id"].encode()) for event in events]
    return silver_orders(stores, SKEW)(to_rows("order-created", sent))


_encode = msgspec.json.Encoder(decimal_format="number").encode
