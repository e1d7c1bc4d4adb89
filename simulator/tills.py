"""What tills of version 3 send of a sale: payments, channels, discounts, tax, returns.

What belongs to a product (sold by weight, on offer, with a deposit) or to a branch (tax on top,
cash without small coins) follows from its id; the rest is random, in the shares below. Amounts are
exact decimals of the currency; a total is the account of `conf.contracts.order_event.OrderV3`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zlib import crc32

from conf.contracts.currencies import PLACES, smallest_unit
from conf.contracts.order_event import IN_STORE
from simulator.baskets import BasketLine

VERSION_SHARES = {1: 0.1, 2: 0.1, 3: 0.8}
SHARE_ANONYMOUS, SHARE_ABROAD, SHARE_FULFILLED_ELSEWHERE = 0.4, 0.03, 0.3
SHARE_RETURNED, SHARE_WITH_RECEIPT, SHARE_TIED = 0.04, 0.7, 0.03
SHARE_DISCOUNTED, SHARE_GIFT, SHARE_TIP, SHARE_TAX_OF_LINES = 0.1, 0.05, 0.03, 0.5
CHANNELS = {IN_STORE: 0.75, "web": 0.12, "app": 0.06, "phone": 0.04, "marketplace": 0.03}
AT_THE_TILL: dict[tuple[str, ...], float] = {
    ("card",): 0.5,
    ("cash",): 0.27,
    ("wallet",): 0.1,
    ("gift_card", "card"): 0.05,
    ("voucher", "cash"): 0.05,
    ("other",): 0.03,
}
AFAR: dict[tuple[str, ...], float] = {
    ("card",): 0.5,
    ("wallet",): 0.25,
    ("bank_transfer",): 0.15,
    ("invoice",): 0.1,
}
FOREIGN_CURRENCIES = ("EUR", "USD", "JPY", "KWD", "CLF")
TAX_RATE = Decimal("0.08875")
KILOGRAMS, OFFER = Decimal("0.452"), Decimal("0.2")
DEPOSIT, SHIPPING, TIP, COINS = Decimal(25), 495, 100, 5
"""In smallest units of the currency; a branch without small coins rounds cash to `COINS`."""


@dataclass(frozen=True)
class Sale:
    """What a till adds to the lines of an order.

    Attributes:
        methods: of payment; the first of two pays a third of the total.
        customer_id: None: nobody asked.
        fulfilment_branch_id: where the goods are collected; None: the branch of the sale.
        discount: share that is taken off the whole order.
        tax_on_top: whether prices are without tax.
        tax_of_lines: whether the lines have their tax; else the order has it.
        coins: whether the branch rounds cash.
        receipt: whether a return names the order that it is about.
    """

    currency: str
    channel: str = IN_STORE
    methods: tuple[str, ...] = ("card",)
    customer_id: str | None = None
    fulfilment_branch_id: str | None = None
    discount: Decimal = Decimal(0)
    gift: bool = False
    tip: bool = False
    tax_on_top: bool = False
    tax_of_lines: bool = False
    coins: bool = False
    receipt: bool = True


def draw_version(rng: random.Random) -> int:
    """The version of the till of one order."""
    version: int = draw(rng, VERSION_SHARES)
    return version


def draw_sale(
    branch_id: str,
    currency: str,
    customer_id: str,
    others: Sequence[str],
    rng: random.Random,
    *,
    channel: str | None = None,
) -> Sale:
    """Draw a sale of a branch; one of the `others` may fulfil it. Without a channel draw that."""
    channel = channel or draw(rng, CHANNELS)
    near = channel == IN_STORE
    elsewhere = not near and rng.random() < SHARE_FULFILLED_ELSEWHERE
    if rng.random() < SHARE_ABROAD:
        currency = rng.choice([code for code in FOREIGN_CURRENCIES if code != currency])
    return Sale(
        currency=currency,
        channel=channel,
        methods=draw(rng, AT_THE_TILL if near else AFAR),
        customer_id=None if near and rng.random() < SHARE_ANONYMOUS else customer_id,
        fulfilment_branch_id=rng.choice(others) if elsewhere and others else None,
        discount=Decimal("0.1") if rng.random() < SHARE_DISCOUNTED else Decimal(0),
        gift=rng.random() < SHARE_GIFT,
        tip=near and rng.random() < SHARE_TIP,
        tax_on_top=crc32(branch_id.encode()) % 3 == 0,
        tax_of_lines=rng.random() < SHARE_TAX_OF_LINES,
        coins=crc32(branch_id.encode()) % 4 == 3,
        receipt=rng.random() < SHARE_WITH_RECEIPT,
    )


def draw(rng: random.Random, shares: dict[Any, float]) -> Any:
    """One of the keys, by their shares."""
    return rng.choices(list(shares), list(shares.values()))[0]


def order_fields(sale: Sale, lines: Sequence[BasketLine], *, returned: bool) -> dict[str, Any]:
    """The fields of version 3 that follow from a sale and its lines, as JSON has them.

    Args:
        sale: of the order.
        lines: as a basket has them, in cents of any currency.
        returned: whether these lines come back.
    """
    sold = [part for line in lines for part in _sold(line)]
    if sale.gift and not returned:
        sold.append(_gift(lines[0]))
    items = [_item(part, sale, -1 if returned else 1) for part in sold]
    unit = smallest_unit(sale.currency)
    value = sum((item.pop("value") for item in items), Decimal(0))
    off = (value * sale.discount).quantize(unit, ROUND_HALF_UP)
    of_lines = sale.tax_of_lines and not off
    tax = sum(i["tax"] for i in items) if of_lines else _tax(value - off, sale)
    afar = sale.channel != IN_STORE and not returned
    shipping = SHIPPING * unit if afar else None
    tip = TIP * unit if sale.tip and not returned else None
    total = value - off + (tax if sale.tax_on_top else 0) + (shipping or 0) + (tip or 0)
    rounding = _rounding(total, unit) if sale.coins and sale.methods == ("cash",) else None
    total += rounding or 0
    order = {
        "customer_id": sale.customer_id,
        "currency": sale.currency,
        "channel": sale.channel,
        "fulfilment_branch_id": sale.fulfilment_branch_id,
        "payments": _payments(total, sale, unit),
        "discounts": [{"amount": off, "reason": "members' day"}] if off else None,
        "tax_total": None if of_lines else tax,
        "tax_included": not sale.tax_on_top,
        "shipping": shipping,
        "tip": tip,
        "rounding": rounding,
        "total_price": total,
        "items": [_given(item if of_lines else {**item, "tax": None}) for item in items],
    }
    return _given(order)


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True)
class _Sold:
    """A line as a till prints it; price in smallest units."""

    product_id: str
    name: str
    category: str | None
    quantity: Decimal
    price: Decimal
    kind: str = "product"
    unit: str | None = None
    off: Decimal = Decimal(0)


def _sold(line: BasketLine) -> list[_Sold]:
    """A product by weight, on offer, with a deposit or as it is, by its id."""
    of_ten = crc32(line.product_id.encode()) % 10
    price = line.unit_price.scaleb(2).to_integral_value()
    sold = _Sold(line.product_id, line.name, line.category, Decimal(line.quantity), price)
    if of_ten == 0:
        return [replace(sold, quantity=sold.quantity * KILOGRAMS, unit="kg")]
    if of_ten == 1:
        return [replace(sold, off=OFFER)]
    if of_ten == 2:
        name = f"DEPOSIT ON {line.name}"[:256]
        return [sold, _Sold(f"{line.product_id}-D", name, None, sold.quantity, DEPOSIT, "deposit")]
    return [sold]


def _gift(line: BasketLine) -> _Sold:
    return _Sold(line.product_id, line.name, line.category, Decimal(1), Decimal(0), "gift")


def _item(sold: _Sold, sale: Sale, sign: int) -> dict[str, Any]:
    """An item of an order, and its `value`."""
    unit = smallest_unit(sale.currency)
    price = sold.price.scaleb(-PLACES[sale.currency])
    full = sign * sold.quantity * price
    discount = (full * sold.off).quantize(unit, ROUND_HALF_UP)
    value = (full - discount).quantize(unit, ROUND_HALF_UP)
    return {
        "product_id": sold.product_id,
        "name": sold.name,
        "category": sold.category,
        "kind": sold.kind,
        "quantity": sign * sold.quantity,
        "unit": sold.unit,
        "unit_price": price,
        "list_price": price if discount else None,
        "discount": discount or None,
        "discount_reason": "offer of the week" if discount else None,
        "tax": _tax(value, sale),
        "value": value,
    }


def _tax(value: Decimal, sale: Sale) -> Decimal:
    """On top of a value, or within it."""
    rate = TAX_RATE if sale.tax_on_top else TAX_RATE / (1 + TAX_RATE)
    return (value * rate).quantize(smallest_unit(sale.currency), ROUND_HALF_UP)


def _rounding(total: Decimal, unit: Decimal) -> Decimal | None:
    coin = COINS * unit
    return (total / coin).quantize(Decimal(1), ROUND_HALF_UP) * coin - total or None


def _payments(total: Decimal, sale: Sale, unit: Decimal) -> list[dict[str, Any]]:
    part = (total / 3).quantize(unit, ROUND_HALF_UP)
    amounts = [total] if len(sale.methods) == 1 else [part, total - part]
    return [{"method": m, "amount": a} for m, a in zip(sale.methods, amounts, strict=True)]
