"""The account of an order: what its lines, discounts, tax and payments add up to.

Everything is exact and column by column. `fields` are the columns of a message, or of a table: both
have decimals, a message with more digits than can be multiplied. Amounts are in units of the
order's currency; the smallest unit of a currency is that of ISO 4217.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conf.contracts.currencies import PLACES
from conf.contracts.order_event import AMOUNT_LIMIT
from streaming.validation.batch import Array, only
from streaming.validation.checks import within

_QUANTITY, _LINE, _TOTAL = pa.decimal128(11, 4), pa.decimal128(34, 10), pa.decimal128(37, 6)
_DISCOUNT = pa.decimal128(26, 10)
_QUANTITY_LIMIT = Decimal(1_000_000)
_PLACES = pa.array(list(PLACES), pa.string()), pa.array(PLACES.values(), pa.int32())
_ZERO = pa.scalar(Decimal(0), _TOTAL)
_HALF_UP = "half_towards_infinity"


def subtotal(items: pa.ListArray) -> Array:
    """The sum of quantity times unit price of each order, before discounts; null without lines."""
    has_lines = pc.greater(pc.list_value_length(items), 0)
    return only(has_lines, sums(_cut(_line_prices(items.values)), items))


def discount_total(discounts: pa.ListArray, items: pa.ListArray) -> Array:
    """The discounts of each order and of its lines; null without any."""
    of_lines = _discounts_of(_of(items.values, "discount"), items)
    of_order = _discounts_of(_of(discounts.values, "amount"), discounts)
    both = pc.add(pc.fill_null(of_lines, _ZERO), pc.fill_null(of_order, _ZERO))
    return only(pc.or_(pc.is_valid(of_lines), pc.is_valid(of_order)), both)


def less_lines(fields: Any) -> Array:
    """|total_price - the sum of quantity times unit price|; null where a line has a null."""
    items, total = flat_lists(fields["items"]), fields["total_price"].cast(_TOTAL)
    lines = sums(_cut(_line_prices(items.values)), items)
    return pc.abs(pc.subtract(total, lines)).cast(pa.float64())


def less_account(fields: Any) -> Array:
    """|total_price - what the parts of the order add up to|, in smallest units of its currency.

    The parts: each line, rounded to the smallest unit, less the discounts, tax where prices do not
    hold it, shipping, tip and rounding. A missing part is 0. Null where a line has no value, or
    where a line, the subtotal or all discounts are more than `AMOUNT_LIMIT`: no table holds that.
    """
    places = _places(fields["currency"])
    items = flat_lists(fields["items"])
    parts = [
        sums(_line_values(items, places), items),
        pc.negate(_or_zero(sums_of(fields["discounts"], "amount"))),
        _tax_on_top(fields, items),
        *(_or_zero(fields[name]) for name in ("shipping", "tip", "rounding")),
    ]
    account = parts[0]
    for part in parts[1:]:
        account = pc.add(account, part).cast(_TOTAL)
    discounts = _or_zero(discount_total(flat_lists(fields["discounts"]), items))
    account = only(pc.and_(_countable(subtotal(items)), _countable(discounts)), account)
    return _in_units(pc.subtract(fields["total_price"].cast(_TOTAL), account), places)


def less_payments(fields: Any) -> Array:
    """|total_price - payments| in smallest units; 0 without payments.

    An order that is not completed may lack some of its payments.
    """
    total, payments = fields["total_price"].cast(_TOTAL), flat_lists(fields["payments"])
    has_some = pc.greater(pc.list_value_length(payments), 0)
    paid = only(has_some, sums_of(payments, "amount"))
    missing = pc.subtract(total, pc.coalesce(paid, total)).cast(_TOTAL)
    is_open = pc.and_(
        pc.not_equal(fields["status"], "completed"),
        pc.equal(pc.sign(pc.cast(missing, pa.float64())), pc.sign(pc.cast(total, pa.float64()))),
    )
    return _in_units(pc.if_else(is_open, _ZERO, missing), _places(fields["currency"]))


def finer_than_currency(fields: Any) -> Array:
    """How many amounts of the order have more decimals than its currency."""
    places = _places(fields["currency"])
    names = ("total_price", "tax_total", "shipping", "tip", "rounding")
    count = sum(_finer(fields[name], places) for name in names)
    for name in ("payments", "discounts"):
        lists = flat_lists(fields[name])
        finer = _finer(_of(lists.values, "amount"), _of_elements(places, lists))
        count = count + np.bincount(parents(lists), finer, minlength=len(lists))
    return pa.array(count, pa.int64())


def _of(structs: Array, field: str) -> Array:
    """A field of structs; null where a struct is null."""
    return pc.struct_field(structs, field)


def sums_of(lists: Array, field: str) -> Array:
    """The sum of a field over each list of structs; null for a null list."""
    flat = flat_lists(lists)
    return sums(_of(flat.values, field), flat)


def _line_prices(lines: pa.StructArray) -> Array:
    """Quantity times unit price, exact; null where a number has too many digits."""
    quantity = _of(lines, "quantity")
    # A message, unlike a table, may have more digits than can be multiplied.
    countable = within(quantity, -_QUANTITY_LIMIT, _QUANTITY_LIMIT)
    # More places than the contract allows are reported by the rule of the quantity.
    quantity = only(countable, quantity).cast(_QUANTITY, safe=False)
    return pc.multiply(quantity, _of(lines, "unit_price")).cast(_LINE)


def _cut(prices: Array) -> Array:
    """To the six places of a sum."""
    return prices.cast(_TOTAL, safe=False)


def _line_values(items: pa.ListArray, places: Array) -> Array:
    discounts = _or_zero(_of(items.values, "discount")).cast(_DISCOUNT)
    values = pc.subtract(_line_prices(items.values), discounts)
    of_lines = _of_elements(places, items)
    for n in pc.unique(places).to_pylist():
        rounded = pc.round(values, n, round_mode=_HALF_UP)
        values = pc.if_else(pc.equal(of_lines, n), rounded, values)
    return only(_countable(values), values).cast(_TOTAL)


def _countable(amounts: Array) -> Array:
    return within(amounts, Decimal(-AMOUNT_LIMIT), Decimal(AMOUNT_LIMIT))


def _tax_on_top(fields: Any, items: pa.ListArray) -> Array:
    of_lines = sums(_or_zero(_of(items.values, "tax")), items)
    tax = pc.coalesce(fields["tax_total"].cast(_TOTAL), of_lines, _ZERO)
    return pc.if_else(pc.fill_null(fields["tax_included"], True), _ZERO, tax)


def _discounts_of(amounts: Array, lists: pa.ListArray) -> Array:
    """The sum of those that are not null; null where none is."""
    has = np.bincount(parents(lists), pc.is_valid(amounts), minlength=len(lists)) > 0
    return only(pa.array(has), sums(_or_zero(amounts), lists))


def _finer(amounts: Array, places: Array) -> Any:
    found = pc.coalesce(amounts.cast(_TOTAL), _ZERO)
    result = np.zeros(len(found), bool)
    for n in pc.unique(places).to_pylist():
        finer = pc.and_(pc.equal(places, n), pc.not_equal(found, pc.round(found, n)))
        result |= finer.to_numpy(zero_copy_only=False)
    return result.astype(np.int64)


def _in_units(amounts: Array, places: Array) -> Array:
    units = pc.power(10.0, places.cast(pa.float64()))
    return pc.round(pc.multiply(pc.abs(amounts).cast(pa.float64()), units), 3)


def _places(currencies: Array) -> Array:
    """Decimals of each currency; 2 of an unknown one, which another rule reports."""
    codes, places = _PLACES
    flat = currencies.combine_chunks() if isinstance(currencies, pa.ChunkedArray) else currencies
    return pc.fill_null(places.take(pc.index_in(flat, codes)), 2)


def _or_zero(amounts: Array) -> Array:
    return pc.fill_null(amounts.cast(_TOTAL), _ZERO)


def _of_elements(values: Array, lists: pa.ListArray) -> Array:
    return values.take(pa.array(parents(lists)))


def parents(lists: pa.ListArray) -> Any:
    """The row of each value that lies under the lists, those of null lists included."""
    lengths = np.diff(lists.offsets.to_numpy())
    return np.repeat(np.arange(len(lists)), lengths)


def flat_lists(lists: Array) -> pa.ListArray:
    """One array whose values are exactly those of its lists."""
    flat = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    lengths = pc.fill_null(pc.list_value_length(flat), 0).to_numpy()
    ends = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
    return pa.ListArray.from_arrays(ends, pc.list_flatten(flat), mask=pc.is_null(flat))


def sums(amounts: Array, lists: pa.ListArray) -> pa.Decimal128Array:
    """The exact sum of the amounts of each list; null for a null list, or one with a null in it.

    Adds 32 bits of the numbers at a time, and carries what is over to the next 32.

    Args:
        amounts: one per value of the lists.
        lists: whose first value is that of the first list.
    """
    ends, amounts = lists.offsets.to_numpy(), amounts.cast(_TOTAL)
    parts = np.frombuffer(pc.fill_null(amounts, Decimal(0)).buffers()[1], np.uint32).reshape(-1, 4)
    parts = _differences(parts, ends)
    for at in range(3):
        parts[:, at + 1] += parts[:, at] >> np.uint64(32)
    total = pa.py_buffer(parts.astype(np.uint32))
    known = pa.array(_differences(pc.is_null(amounts).to_numpy(zero_copy_only=False), ends) == 0)
    known = pc.and_(known, pc.is_valid(lists))
    return only(known, pa.Array.from_buffers(_TOTAL, len(lists), [None, total]))


def _differences(values: Any, ends: Any) -> Any:
    """Sums of consecutive values, between each end and the next one."""
    totals = np.zeros((len(values) + 1, *values.shape[1:]), np.uint64)
    np.cumsum(values, axis=0, out=totals[1:])
    return np.diff(totals[ends], axis=0)
