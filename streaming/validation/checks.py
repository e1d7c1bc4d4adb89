"""Conditions on columns, of which row rules consist: predicates for Arrow and expectations.

Both forms see the same types, except money, which has six places in a message. In both, true is
good and null counts as broken: what cannot be validated has failed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from conf.contracts.fields import FORMATS
from conf.contracts.order_event import MONEY_LIMIT
from streaming.validation.batch import Array, Fields, is_one_of

END = r"(?![\s\S])"
"""The end of a text for Java and Python, in which `\\z` and `\\Z` differ."""

UUID = FORMATS["uuid"].removesuffix("$") + END
MANY_VALUES = 12
"""Of more allowed values, people see the number."""
EARLIEST = datetime(2000, 1, 1, tzinfo=timezone.utc)
"""Times before it are invalid; a text that is no time is null (`parsing.instants`)."""


@dataclass(frozen=True)
class Expected:
    """An expectation as data, for the package that uses Great Expectations.

    Attributes:
        kind: a class of `great_expectations.expectations`.
        arguments: of the class.
        text: what is expected of the columns of the table, for people; empty where only the
            description of the rule states it.
    """

    kind: str
    arguments: Mapping[str, Any]
    text: str


@dataclass(frozen=True)
class Check(ABC):
    """A condition on one column, in both forms.

    Attributes:
        field: a column of the silver table.
        allows_null: whether the expectation itself treats a null as this check does.
    """

    field: str
    allows_null: ClassVar[bool] = False

    @abstractmethod
    def good(self, fields: Fields) -> Array:
        """True where a message is good, false or null where it is not."""

    @abstractmethod
    def expected(self) -> Expected:
        """The same for `label` in the table, where a value that no check accepts replaces nulls."""

    @property
    def label(self) -> str:
        """The validated column of the table: `field`, or one that `derived` makes."""
        return self.field

    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the expectation reads."""
        return (self.label,)

    def derived(self, rows: pa.Table) -> Array | None:  # noqa: ARG002
        """Rows of the table -> the column `label`, where the table does not have it."""
        return None


@dataclass(frozen=True)
class Present(Check):
    """Any value, including an empty text."""

    allows_null = True

    @override
    def good(self, fields: Fields) -> Array:
        return pc.is_valid(fields[self.field])

    @override
    def expected(self) -> Expected:
        text = f"{self.field} has a value"
        return Expected("ExpectColumnValuesToNotBeNull", {"column": self.field}, text)


@dataclass(frozen=True)
class Text(Check):
    """A text of 1 to `longest` characters."""

    longest: int = 64

    @override
    def good(self, fields: Fields) -> Array:
        return within(pc.utf8_length(fields[self.field]), 1, self.longest)

    @override
    def expected(self) -> Expected:
        bounds = {"min_value": 1, "max_value": self.longest}
        arguments = {"column": self.field, **bounds}
        text = f"{self.field} has 1 to {self.longest} characters"
        return Expected("ExpectColumnValueLengthsToBeBetween", arguments, text)


@dataclass(frozen=True)
class OneOf(Check):
    """A text out of a fixed set."""

    values: tuple[str, ...]

    @override
    def good(self, fields: Fields) -> Array:
        return is_one_of(fields[self.field], self.values)

    @override
    def expected(self) -> Expected:
        arguments = {"column": self.field, "value_set": list(self.values)}
        text = f"{self.field} is {one_of(self.values)}"
        return Expected("ExpectColumnValuesToBeInSet", arguments, text)


@dataclass(frozen=True)
class IfAny(Check):
    """Another check of an optional field, which may be null."""

    check: Check
    allows_null = True

    @override
    def good(self, fields: Fields) -> Array:
        return pc.or_kleene(pc.is_null(fields[self.field]), self.check.good(fields))

    @override
    def expected(self) -> Expected:
        expected = self.check.expected()
        return replace(expected, text=f"{expected.text}, or has no value")


@dataclass(frozen=True)
class Matches(Check):
    """A text of a form that Java, Python and RE2 read alike; end it with `END`."""

    pattern: str

    @override
    def good(self, fields: Fields) -> Array:
        # RE2 has no look-ahead, and its own notation for the end of a text.
        pattern = self.pattern.removesuffix(END) + r"\z"
        return pc.match_substring_regex(fields[self.field], pattern)

    @override
    def expected(self) -> Expected:
        arguments = {"column": self.field, "regex": self.pattern}
        pattern = self.pattern.removesuffix(END)
        text = f"{self.field} {'is a UUID' if self.pattern == UUID else f'matches {pattern}'}"
        return Expected("ExpectColumnValuesToMatchRegex", arguments, text)


@dataclass(frozen=True)
class Between(Check):
    """A number or time from `low`, which is not negative, to `high`, both included."""

    low: float | datetime
    high: float | None = None

    @override
    def good(self, fields: Fields) -> Array:
        return within(fields[self.field], self.low, self.high)

    @override
    def expected(self) -> Expected:
        text = f"{self.field} is {in_range(self.low, self.high)}"
        return _between(self.field, text, min_value=self.low, max_value=self.high)


@dataclass(frozen=True)
class Money(Check):
    """A positive amount below ten millions, of at most two places, which a table always has."""

    @override
    def good(self, fields: Fields) -> Array:
        value = fields[self.field]
        low, high = (pa.scalar(Decimal(limit), value.type) for limit in (0, MONEY_LIMIT))
        bounded = pc.and_(pc.greater(value, low), pc.less(value, high))
        return pc.and_(bounded, pc.equal(value, pc.round(value, 2)))

    @override
    def expected(self) -> Expected:
        bounds = {"min_value": 0, "max_value": MONEY_LIMIT}
        text = f"{self.field} is more than 0 and less than {MONEY_LIMIT:,}"
        return _between(self.field, text, strict_min=True, strict_max=True, **bounds)


@dataclass(frozen=True)
class Decimals(Check):
    """A number from `low` to `high`, both included, of at most `places` places."""

    low: int
    high: int
    places: int

    @override
    def good(self, fields: Fields) -> Array:
        value = fields[self.field]
        bounded = within(value, Decimal(self.low), Decimal(self.high))
        return pc.and_(bounded, pc.equal(value, pc.round(value, self.places)))

    @override
    def expected(self) -> Expected:
        text = f"{self.field} is {in_range(self.low, self.high)}, with {self.places} places at most"
        return _between(self.field, text, min_value=self.low, max_value=self.high)


@dataclass(frozen=True)
class Below(Check):
    """A number less than another one of the same row."""

    other: str

    @property
    @override
    def label(self) -> str:
        """Names the expectation, which is about two columns."""
        return f"{self.field}_below_{self.other}"

    @override
    def columns(self) -> tuple[str, ...]:
        return (self.field, self.other)

    @override
    def good(self, fields: Fields) -> Array:
        return pc.less(fields[self.field], fields[self.other])

    @override
    def expected(self) -> Expected:
        arguments = {"column_A": self.other, "column_B": self.field}
        text = f"{self.field} is less than {self.other}"
        return Expected("ExpectColumnPairValuesAToBeGreaterThanB", arguments, text)


def _between(column: str, text: str, **bounds: Any) -> Expected:
    return Expected("ExpectColumnValuesToBeBetween", {"column": column, **bounds}, text)


def one_of(values: Sequence[str]) -> str:
    """Allowed values for people; their number, where they are many."""
    if len(values) > MANY_VALUES:
        return f"one of {len(values):,} known values"
    return f"one of {', '.join(values)}" if values else "one of no value"


def in_range(low: float | datetime, high: float | datetime | None) -> str:
    """A range with both ends included, for people."""
    lower = _end(low)
    return f"at least {lower}" if high is None else f"from {lower} to {_end(high)}"


def _end(value: float | datetime) -> str:
    return f"{value:%Y-%m-%d}" if isinstance(value, datetime) else f"{value:,.15g}"


def within(column: Array, low: Any, high: Any) -> Array:
    """Whether each value is at least `low` and at most `high`, where that is not None."""
    good = pc.greater_equal(column, pa.scalar(low, column.type))
    if high is None:
        return good
    return pc.and_(good, pc.less_equal(column, pa.scalar(high, column.type)))
