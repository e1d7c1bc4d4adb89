"""Currencies that have coins or notes, and their decimals, as ISO 4217 lists them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from iso4217 import Currency

PLACES: Mapping[str, int] = {
    currency.code: currency.exponent for currency in Currency if currency.exponent is not None
}
"""Code -> decimals of an amount: 0 (JPY), 2 (EUR), 3 (KWD) or 4 (CLF). Metals have none."""


def smallest_unit(currency: str) -> Decimal:
    """The least amount that can be paid: 0.01 of EUR; of an unknown code, too."""
    return Decimal(1).scaleb(-PLACES.get(currency, 2))
