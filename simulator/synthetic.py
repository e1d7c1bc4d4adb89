"""Synthetic baskets: generated from a seed, for machines without the real ones.

Grain and shape are those of `baskets.Basket`. Sales follow the usual pattern of a shop: few
products are in many baskets, most products in few.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from itertools import accumulate, count

from simulator.baskets import Basket, BasketLine

CATEGORIES = ("GROCERY", "PRODUCE", "DAIRY", "BAKERY", "DRINKS", "HOUSEHOLD", "PHARMACY")
PRODUCTS, HOUSEHOLDS, STORES = 400, 2_500, 60
MOST_LINES, MOST_PIECES = 12, 6
CHEAPEST, DEAREST = 29, 4_999  # cents


def invent_baskets(seed: int) -> Iterator[Basket]:
    """Yield baskets without end; the same seed invents the same ones."""
    rng = random.Random(f"baskets-{seed}")  # noqa: S311 - replayable traffic, not secrets
    shelf = [_product(number, rng) for number in range(1, PRODUCTS + 1)]
    # Zipf: the n-th product sells a n-th of what the first one does.
    popularity = list(accumulate(1 / number for number in range(1, PRODUCTS + 1)))
    for basket_id in count(1):
        size = rng.randint(1, MOST_LINES)
        chosen = dict.fromkeys(rng.choices(shelf, cum_weights=popularity, k=size))
        yield Basket(
            basket_id=basket_id,
            lap=0,
            customer_id=f"C{rng.randint(1, HOUSEHOLDS)}",
            store_id=rng.randint(1, STORES),
            lines=tuple(_line(product, rng) for product in chosen),
            skipped=0,
        )


_Product = tuple[str, str, str, Decimal]


def _product(number: int, rng: random.Random) -> _Product:
    category = rng.choice(CATEGORIES)
    price = Decimal(rng.randint(CHEAPEST, DEAREST)).scaleb(-2)
    return f"S{number:04d}", f"{category} ARTICLE {number}", category, price


def _line(product: _Product, rng: random.Random) -> BasketLine:
    product_id, name, category, price = product
    return BasketLine(product_id, name, category, rng.randint(1, MOST_PIECES), price)
