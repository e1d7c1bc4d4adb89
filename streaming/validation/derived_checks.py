"""Checks of columns that are computed from other columns of the same row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from streaming.validation.batch import Array, Fields, only
from streaming.validation.checks import Between, Check, Expected, OneOf, within

_WHOLE, _COUNT, _TOTAL = pa.decimal128(19, 0), pa.decimal128(12, 0), pa.decimal128(37, 6)


@dataclass(frozen=True)
class Derived(Check):
    """A check of a column that is computed from columns of the same row.

    Attributes:
        check: of the computed column, whose name is its field.
        compute: the columns of a row -> the computed one; null where one of them is.
    """

    check: Check
    compute: Callable[[Any], Array]

    @property
    @override
    def label(self) -> str:
        return self.check.field

    @override
    def good(self, fields: Fields) -> Array:
        return self.check.good({self.label: self.compute(fields)})

    @override
    def expected(self) -> Expected:
        return self.check.expected()

    @override
    def derived(self, rows: pa.Table) -> Array:
        return self.compute(rows)


def one_of_pairs(field: str, other: str, pairs: tuple[tuple[str, str], ...]) -> Derived:
    """Two texts that belong together, such as a branch and its camera; checked with a stroke."""
    joined = tuple(f"{one}/{two}" for one, two in pairs)
    check = OneOf(f"{field}_{other}", joined)
    return Derived(field, check, lambda fields: _join(fields[field], fields[other]))


def not_after(field: str, other: str, slack: timedelta = timedelta()) -> Derived:
    """A time at most `slack` later than another one of the same row."""
    check = Between(f"{field}_until_{other}", 0)
    return Derived(field, check, lambda fields: _left(fields[field], fields[other], slack))


def sum_of_lines(field: str) -> Derived:
    """An amount that is the sum of quantity times unit price over `items`, to the cent."""
    check = Between(f"{field}_less_items", 0, 0.01)
    return Derived(field, check, partial(_distance, field=field))


def _join(one: Array, two: Array) -> Array:
    return pc.binary_join_element_wise(one, two, pa.scalar("/", one.type))


def _left(earlier: Array, later: Array, slack: timedelta) -> Array:
    """The microseconds that are left until the latest time allowed."""
    before, after = (
        column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()) for column in (earlier, later)
    )
    return pc.add(pc.subtract(after, before), int(slack.total_seconds()) * 1_000_000)


def _distance(fields: Any, field: str) -> Array:
    """Difference of the amount and the sum of its lines; null where a line has a null."""
    items, amount = fields["items"], fields[field]
    items = items.combine_chunks() if isinstance(items, pa.ChunkedArray) else items
    quantity = pc.struct_field(items.values, "quantity").cast(pa.int64())
    # A message, unlike a table, may have more digits than can be summed.
    countable = within(quantity, -(2**31), 2**31)
    quantity = only(countable, quantity).cast(_WHOLE).cast(_COUNT)
    amounts = pc.multiply(quantity, pc.struct_field(items.values, "unit_price"))
    total = _sums(amounts.cast(_TOTAL), items)
    return pc.abs(pc.subtract(amount.cast(_TOTAL), total)).cast(pa.float64())


def _sums(amounts: pa.Decimal128Array, lists: pa.ListArray) -> pa.Decimal128Array:
    """The exact sum of the amounts of each list; null for a null list, or one with a null in it.

    Adds 32 bits of the numbers at a time, and carries what is over to the next 32.
    """
    ends = lists.offsets.to_numpy()
    parts = np.frombuffer(pc.fill_null(amounts, Decimal(0)).buffers()[1], np.uint32).reshape(-1, 4)
    parts = _differences(parts, ends)
    for at in range(3):
        parts[:, at + 1] += parts[:, at] >> np.uint64(32)
    sums = pa.py_buffer(parts.astype(np.uint32))
    known = pa.array(_differences(pc.is_null(amounts).to_numpy(zero_copy_only=False), ends) == 0)
    known = pc.and_(known, pc.is_valid(lists))
    return only(known, pa.Array.from_buffers(_TOTAL, len(lists), [None, sums]))


def _differences(values: Any, ends: Any) -> Any:
    """Sums of consecutive values, between each end and the next one."""
    sums = np.zeros((len(values) + 1, *values.shape[1:]), np.uint64)
    np.cumsum(values, axis=0, out=sums[1:])
    return np.diff(sums[ends], axis=0)
