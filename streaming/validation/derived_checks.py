"""Checks of columns that are computed from other columns of the same row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from streaming.validation.batch import Array, Fields
from streaming.validation.checks import Between, Check, Expected, OneOf


@dataclass(frozen=True)
class Derived(Check):
    """A check of a column that is computed from columns of the same row.

    Attributes:
        check: of the computed column, whose name is its field.
        compute: the columns of a row -> the computed one; null where one of them is.
        text: what is expected of the columns of the table, for people; empty where only the
            description of the rule states it.
    """

    check: Check
    compute: Callable[[Any], Array]
    text: str = ""

    @property
    @override
    def label(self) -> str:
        return self.check.field

    @override
    def good(self, fields: Fields) -> Array:
        return self.check.good({self.label: self.compute(fields)})

    @override
    def expected(self) -> Expected:
        return replace(self.check.expected(), text=self.text)

    @override
    def derived(self, rows: pa.Table) -> Array:
        return self.compute(rows)


def one_of_pairs(field: str, other: str, pairs: tuple[tuple[str, str], ...]) -> Derived:
    """Two texts that belong together, such as a branch and its camera; checked with a stroke."""
    joined = tuple(f"{one}/{two}" for one, two in pairs)
    check = OneOf(f"{field}_{other}", joined)
    text = f"{field} and {other} belong together"
    return Derived(field, check, lambda fields: _join(fields[field], fields[other]), text)


def not_after(field: str, other: str, slack: timedelta = timedelta()) -> Derived:
    """A time at most `slack` later than another one of the same row."""
    check = Between(f"{field}_until_{other}", 0)
    text = (
        f"{field} is at most {slack} later than {other}"
        if slack
        else f"{field} is not later than {other}"
    )
    return Derived(field, check, lambda fields: _left(fields[field], fields[other], slack), text)


def given(check: Check) -> Derived:
    """A check of a column that is null in good rows of other versions."""
    label = f"{check.field}_given"
    text = check.expected().text
    return Derived(
        check.field, replace(check, field=label), lambda fields: fields[check.field], text
    )


def at_most(label: str, compute: Callable[[Any], Array], limit: float = 0) -> Derived:
    """A number from 0 to `limit` that is computed from columns of the same row."""
    return Derived(label, Between(label, 0, limit), compute)


def _join(one: Array, two: Array) -> Array:
    return pc.binary_join_element_wise(one, two, pa.scalar("/", one.type))


def _left(earlier: Array, later: Array, slack: timedelta) -> Array:
    """The microseconds that are left until the latest time allowed."""
    before, after = (
        column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()) for column in (earlier, later)
    )
    return pc.add(pc.subtract(after, before), int(slack.total_seconds()) * 1_000_000)
