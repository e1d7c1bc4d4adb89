"""Row rules as data: one definition, judged twice.

A rule compiles to a Spark Column over a message, which splits the stream, and to expectations over
the rows of the silver table, which judge what was committed (`quality.suites.row_rules`). A message
has times as text and money with six places, a table has timestamps and decimal(12,2): each check
knows both forms. In both, true is good and null counts as broken: what cannot be judged has failed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import reduce
from operator import and_
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column
from pyspark.sql import functions as F  # noqa: N812

END = r"(?![\s\S])"
"""The end of a text, to Java and to Python: `\\z` and `\\Z` mean something else to the other."""

UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}" + END
INSTANT = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z" + END
EARLIEST = datetime(2000, 1, 1, tzinfo=timezone.utc)
MONEY_LIMIT = 10_000_000
"""No price and no total reaches ten millions."""
_TOTAL = pa.decimal128(30, 2)

Fields = Mapping[str, Column]
"""Columns of the silver table -> what a message has for them."""


@dataclass(frozen=True)
class Expected:
    """An expectation as data, for a room that knows Great Expectations.

    Attributes:
        kind: a class of `great_expectations.expectations`.
        arguments: of the class.
    """

    kind: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Check(ABC):
    """What one column must be like, in both forms.

    Attributes:
        field: a column of the silver table.
    """

    field: str

    @abstractmethod
    def column(self, fields: Fields) -> Column:
        """True where a message is good."""

    @abstractmethod
    def expected(self) -> Expected:
        """The same of `label` in the table, where a null was made a value that no check accepts."""

    @property
    def label(self) -> str:
        """The column that is judged in the table: its own, or one that `derived` makes."""
        return self.field

    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the expectation reads."""
        return (self.label,)

    def derived(self, rows: pa.Table) -> pa.ChunkedArray | None:  # noqa: ARG002
        """Rows of the table -> the column `label`, where the table does not have it."""
        return None


@dataclass(frozen=True)
class Present(Check):
    """Anything at all, an empty text included."""

    def column(self, fields: Fields) -> Column:
        """See `Check`."""
        return fields[self.field].isNotNull()

    def expected(self) -> Expected:
        """See `Check`."""
        return Expected("ExpectColumnValuesToNotBeNull", {"column": self.field})


@dataclass(frozen=True)
class Text(Check):
    """A text of 1 to `longest` characters."""

    longest: int = 64

    def column(self, fields: Fields) -> Column:
        """See `Check`."""
        return F.length(fields[self.field]).between(1, self.longest)

    def expected(self) -> Expected:
        """See `Check`."""
        bounds = {"min_value": 1, "max_value": self.longest}
        return Expected("ExpectColumnValueLengthsToBeBetween", {"column": self.field, **bounds})


@dataclass(frozen=True)
class OneOf(Check):
    """One of some texts."""

    values: tuple[str, ...]

    def column(self, fields: Fields) -> Column:
        """See `Check`."""
        return fields[self.field].isin(*self.values)

    def expected(self) -> Expected:
        """See `Check`."""
        arguments = {"column": self.field, "value_set": list(self.values)}
        return Expected("ExpectColumnValuesToBeInSet", arguments)


@dataclass(frozen=True)
class OneOfIfAny(OneOf):
    """One of some texts, or none at all: a field that may be left out."""

    @property
    def label(self) -> str:
        """See `Check`: null counts as broken, so it takes the place of a known text here."""
        return f"{self.field}_if_any"

    def column(self, fields: Fields) -> Column:
        """See `Check`."""
        return fields[self.field].isNull() | super().column(fields)

    def expected(self) -> Expected:
        """See `Check`."""
        arguments = {"column": self.label, "value_set": list(self.values)}
        return Expected("ExpectColumnValuesToBeInSet", arguments)

    def derived(self, rows: pa.Table) -> pa.ChunkedArray:
        """See `Check`."""
        return pc.fill_null(rows[self.field], self.values[0])


@dataclass(frozen=True)
class OneOfPairs(Check):
    """Two texts that belong together, such as a branch and its camera."""

    other: str
    pairs: tuple[tuple[str, str], ...]

    @property
    def label(self) -> str:
        """See `Check`: both, with a stroke between."""
        return f"{self.field}_{self.other}"

    def column(self, fields: Fields) -> Column:
        """See `Check`."""
        both = F.concat(fields[self.field], F.lit("/"), fields[self.other])
        return both.isin(*self._joined())

    def expected(self) -> Expected:
        """See `Check`."""
        arguments = {"column": self.label, "value_set": list(self._joined())}
        return Expected("ExpectColumnValuesToBeInSet", arguments)

    def derived(self, rows: pa.Table) -> pa.ChunkedArray:
        """See `Check`."""
        one, two = rows[self.field], rows[self.other]
        return pc.binary_join_element_wise(one, two, pa.scalar("/", one.type))

    def _joined(self) -> tuple[str, ...]:
        return tuple(f"{one}/{two}" for one, two in self.pairs)


@dataclass(frozen=True)
class Matches(Check):
    """A text of a form that Java and Python read alike; end it with `END`."""

    pattern: str

    def column(self, fields: Fields) -> Column:
        """See `Check`."""
        return fields[self.field].rlike(self.pattern)

    def expected(self) -> Expected:
        """See `Check`."""
        arguments = {"column": self.field, "regex": self.pattern}
        return Expected("ExpectColumnValuesToMatchRegex", arguments)


@dataclass(frozen=True)
class Between(Check):
    """A number from `low`, which is not negative, to `high`, both included."""

    low: float
    high: float | None = None

    def column(self, fields: Fields) -> Column:
        """See `Check`."""
        value = fields[self.field]
        return value >= self.low if self.high is None else value.between(self.low, self.high)

    def expected(self) -> Expected:
        """See `Check`."""
        return _between(self.field, min_value=self.low, max_value=self.high)


@dataclass(frozen=True)
class Below(Check):
    """A number less than another one of the same row."""

    other: str

    @property
    def label(self) -> str:
        """See `Check`; it only names the expectation, which is about two columns."""
        return f"{self.field}_below_{self.other}"

    def columns(self) -> tuple[str, ...]:
        """See `Check`."""
        return (self.field, self.other)

    def column(self, fields: Fields) -> Column:
        """See `Check`."""
        return fields[self.field] < fields[self.other]

    def expected(self) -> Expected:
        """See `Check`."""
        arguments = {"column_A": self.other, "column_B": self.field}
        return Expected("ExpectColumnPairValuesAToBeGreaterThanB", arguments)


@dataclass(frozen=True)
class Money(Check):
    """A positive amount of at most two places, below ten millions; a table has no third place."""

    def column(self, fields: Fields) -> Column:
        """See `Check`."""
        value = fields[self.field]
        return (value > 0) & (value < MONEY_LIMIT) & (value == F.round(value, 2))

    def expected(self) -> Expected:
        """See `Check`."""
        bounds = {"min_value": 0, "max_value": MONEY_LIMIT}
        return _between(self.field, strict_min=True, strict_max=True, **bounds)


@dataclass(frozen=True)
class Instant(Check):
    """A moment from the year 2000 on; in a message text in ISO 8601, UTC, with a Z."""

    def column(self, fields: Fields) -> Column:
        """See `Check`."""
        value = fields[self.field]
        return value.rlike(INSTANT) & (instant(value) >= F.lit(EARLIEST))

    def expected(self) -> Expected:
        """See `Check`."""
        return _between(self.field, min_value=EARLIEST)


@dataclass(frozen=True)
class NotAfter(Check):
    """A moment that is not later than another one of the same row, or not by more than `slack`."""

    other: str
    slack: timedelta = timedelta()

    @property
    def label(self) -> str:
        """See `Check`: the microseconds that are left."""
        return f"{self.field}_until_{self.other}"

    def column(self, fields: Fields) -> Column:
        """See `Check`."""
        latest = instant(fields[self.other])
        if self.slack:
            latest = latest + F.expr(f"INTERVAL {int(self.slack.total_seconds())} SECONDS")
        return instant(fields[self.field]) <= latest

    def expected(self) -> Expected:
        """See `Check`."""
        return _between(self.label, min_value=0)

    def derived(self, rows: pa.Table) -> pa.ChunkedArray:
        """See `Check`."""
        earlier, later = (
            rows[name].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
            for name in (self.field, self.other)
        )
        slack = int(self.slack.total_seconds()) * 1_000_000
        return pc.add(pc.subtract(later, earlier), slack)


@dataclass(frozen=True)
class SumOfLines(Check):
    """An amount that is the sum of quantity times unit price over `items`, to the cent."""

    @property
    def label(self) -> str:
        """See `Check`: the distance between the two."""
        return f"{self.field}_less_items"

    def column(self, fields: Fields) -> Column:
        """See `Check`."""
        total = F.aggregate(
            fields["items"],
            F.lit(0).cast("decimal(32,6)"),
            lambda total, i: (total + i["quantity"].cast("decimal(12,0)") * i["unit_price"]).cast(
                "decimal(32,6)"
            ),
        )
        return F.abs(fields[self.field] - total) <= F.lit("0.01").cast("decimal(4,2)")

    def expected(self) -> Expected:
        """See `Check`."""
        return _between(self.label, min_value=0, max_value=0.01)

    def derived(self, rows: pa.Table) -> pa.ChunkedArray:
        """See `Check`; exact until the end, null where a line has a null."""
        items = rows["items"].combine_chunks()
        lines = pc.list_flatten(items)
        quantity = pc.struct_field(lines, "quantity").cast(pa.decimal128(10, 0))
        amounts = pc.multiply(quantity, pc.struct_field(lines, "unit_price"))
        totals = (
            pa.table({"row": pc.list_parent_indices(items), "amount": amounts})
            .group_by("row")
            .aggregate([("amount", "sum", pc.ScalarAggregateOptions(skip_nulls=False))])
        )
        rows_with_lines = totals["row"].combine_chunks()
        place = pc.index_in(pa.array(range(len(items)), pa.int64()), rows_with_lines)
        found = totals["amount_sum"].cast(_TOTAL).take(place)
        no_lines = pc.equal(pc.list_value_length(items), 0)
        total = pc.if_else(no_lines, pa.scalar(Decimal(0), _TOTAL), found)
        return pc.abs(pc.subtract(rows[self.field], total)).cast(pa.float64())


def _between(column: str, **bounds: Any) -> Expected:
    return Expected("ExpectColumnValuesToBeBetween", {"column": column, **bounds})


def instant(column: Column) -> Column:
    """The text as a timestamp, or null."""
    return F.try_to_timestamp(column)


@dataclass(frozen=True)
class When:
    """Rows that a rule is about: those where a column holds a text, or those where it does not.

    A null is not that text.
    """

    field: str
    value: str
    holds: bool = True

    def column(self, fields: Fields) -> Column:
        """True where the rule applies, else false."""
        same = F.coalesce(fields[self.field] == self.value, F.lit(False))
        return same if self.holds else ~same


@dataclass(frozen=True)
class Rule:
    """What a message must be like, and so the rows of its silver table.

    Attributes:
        id: stable; quarantine and reports show it.
        says: a sentence for people, of what is wrong when it does not hold.
        checks: that hold together.
        when: the rows that it is about; all without it.
        each: whether every element of the message's list is judged, and not the message.
    """

    id: str
    says: str
    checks: tuple[Check, ...]
    when: When | None = None
    each: bool = False

    def column(self, message: Message) -> Column:
        """True where a message is good or not concerned."""
        if self.each:
            good = F.forall(message.elements, lambda e: self._hold(message.of_element(e)))
        else:
            good = self._hold(message.fields)
        return good if self.when is None else ~self.when.column(message.fields) | good

    def _hold(self, fields: Fields) -> Column:
        return reduce(and_, (check.column(fields) for check in self.checks))


@dataclass(frozen=True)
class MessageRule:
    """A rule on what a message loses when it becomes a row: no expectation can see it.

    Bronze keeps the message, and quarantine the id of the rule beside it.

    Attributes:
        id: stable; quarantine and reports show it.
        says: a sentence for people, of what is wrong when it does not hold.
        lost: why the silver table cannot be judged by it.
        column: True where a message is good.
    """

    id: str
    says: str
    lost: str
    column: Callable[[Message], Column]


@dataclass(frozen=True)
class Message:
    """A parsed message, as rules see it.

    Attributes:
        fields: by the name of the table's column; those that the table has not, by any name.
        elements: of its list.
        of_element: an element of the list -> its fields, by the name of the table's column.
    """

    fields: Fields
    elements: Column
    of_element: Callable[[Column], Fields]


AnyRule = Rule | MessageRule


def compiled(rules: tuple[AnyRule, ...], message: Message) -> dict[str, Column]:
    """The rules by their ids, as Columns."""
    return {rule.id: rule.column(message) for rule in rules}
