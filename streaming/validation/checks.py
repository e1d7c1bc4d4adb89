"""Row rules as data: one definition with two uses.

A rule validates the columns of a parsed micro-batch, which splits the stream, and becomes
expectations over the rows of the silver table, which validate committed rows
(`quality.suites.row_rules`). Both have the same types, except money, which has six places in a
message. In both, true is good and null counts as broken: what cannot be validated has failed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import reduce
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from typing_extensions import override

from conf.contracts.fields import FORMATS
from conf.contracts.order_event import MONEY_LIMIT

END = r"(?![\s\S])"
"""The end of a text for Java and Python, in which `\\z` and `\\Z` differ."""

UUID = FORMATS["uuid"].removesuffix("$") + END
EARLIEST = datetime(2000, 1, 1, tzinfo=timezone.utc)
_WHOLE, _COUNT, _TOTAL = pa.decimal128(19, 0), pa.decimal128(12, 0), pa.decimal128(37, 6)

Array: TypeAlias = Any
"""pa.Array or pa.ChunkedArray, which come without types."""
Fields = Mapping[str, Array]
"""Column of the silver table -> its values in the messages."""


@dataclass(frozen=True)
class Expected:
    """An expectation as data, for the package that uses Great Expectations.

    Attributes:
        kind: a class of `great_expectations.expectations`.
        arguments: of the class.
    """

    kind: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Check(ABC):
    """A condition on one column, in both forms.

    Attributes:
        field: a column of the silver table.
    """

    field: str

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

    @property
    def allows_null(self) -> bool:
        """Whether the expectation itself treats a null as this check does."""
        return False

    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the expectation reads."""
        return (self.label,)

    def derived(self, rows: pa.Table) -> pa.ChunkedArray | None:  # noqa: ARG002
        """Rows of the table -> the column `label`, where the table does not have it."""
        return None


@dataclass(frozen=True)
class Present(Check):
    """Any value, including an empty text."""

    @property
    @override
    def allows_null(self) -> bool:
        return True

    @override
    def good(self, fields: Fields) -> Array:
        return pc.is_valid(fields[self.field])

    @override
    def expected(self) -> Expected:
        return Expected("ExpectColumnValuesToNotBeNull", {"column": self.field})


@dataclass(frozen=True)
class Text(Check):
    """A text of 1 to `longest` characters."""

    longest: int = 64

    @override
    def good(self, fields: Fields) -> Array:
        return _within(pc.utf8_length(fields[self.field]), 1, self.longest)

    @override
    def expected(self) -> Expected:
        bounds = {"min_value": 1, "max_value": self.longest}
        return Expected("ExpectColumnValueLengthsToBeBetween", {"column": self.field, **bounds})


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
        return Expected("ExpectColumnValuesToBeInSet", arguments)


@dataclass(frozen=True)
class IfAny(Check):
    """Another check of an optional field, which may be null."""

    check: Check

    @property
    @override
    def allows_null(self) -> bool:
        return True

    @override
    def good(self, fields: Fields) -> Array:
        return pc.or_kleene(pc.is_null(fields[self.field]), self.check.good(fields))

    @override
    def expected(self) -> Expected:
        return self.check.expected()


@dataclass(frozen=True)
class OneOfPairs(Check):
    """Two texts that belong together, such as a branch and its camera."""

    other: str
    pairs: tuple[tuple[str, str], ...]

    @property
    @override
    def label(self) -> str:
        """Both, with a stroke between."""
        return f"{self.field}_{self.other}"

    @override
    def good(self, fields: Fields) -> Array:
        return is_one_of(self._join(fields), self._joined())

    @override
    def expected(self) -> Expected:
        arguments = {"column": self.label, "value_set": list(self._joined())}
        return Expected("ExpectColumnValuesToBeInSet", arguments)

    @override
    def derived(self, rows: pa.Table) -> pa.ChunkedArray:
        return self._join(rows)

    def _join(self, fields: Any) -> Any:
        one, two = fields[self.field], fields[self.other]
        return pc.binary_join_element_wise(one, two, pa.scalar("/", one.type))

    def _joined(self) -> tuple[str, ...]:
        return tuple(f"{one}/{two}" for one, two in self.pairs)


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
        return Expected("ExpectColumnValuesToMatchRegex", arguments)


@dataclass(frozen=True)
class Between(Check):
    """A number from `low`, which is not negative, to `high`, both included."""

    low: float
    high: float | None = None

    @override
    def good(self, fields: Fields) -> Array:
        return _within(fields[self.field], self.low, self.high)

    @override
    def expected(self) -> Expected:
        return _between(self.field, min_value=self.low, max_value=self.high)


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
        return Expected("ExpectColumnPairValuesAToBeGreaterThanB", arguments)


@dataclass(frozen=True)
class Money(Check):
    """A positive amount below ten millions, of at most two places, which a table always has."""

    @override
    def good(self, fields: Fields) -> Array:
        value = fields[self.field]
        bounded = pc.and_(pc.greater(value, Decimal(0)), pc.less(value, Decimal(MONEY_LIMIT)))
        return pc.and_(bounded, pc.equal(value, pc.round(value, 2)))

    @override
    def expected(self) -> Expected:
        bounds = {"min_value": 0, "max_value": MONEY_LIMIT}
        return _between(self.field, strict_min=True, strict_max=True, **bounds)


@dataclass(frozen=True)
class Instant(Check):
    """A time from the year 2000 on; text of another form is null (`instants`)."""

    @override
    def good(self, fields: Fields) -> Array:
        return pc.greater_equal(fields[self.field], EARLIEST)

    @override
    def expected(self) -> Expected:
        return _between(self.field, min_value=EARLIEST)


@dataclass(frozen=True)
class NotAfter(Check):
    """A time at most `slack` later than another one of the same row."""

    other: str
    slack: timedelta = timedelta()

    @property
    @override
    def label(self) -> str:
        """The microseconds that are left."""
        return f"{self.field}_until_{self.other}"

    @override
    def good(self, fields: Fields) -> Array:
        return pc.greater_equal(self._left(fields), 0)

    @override
    def expected(self) -> Expected:
        return _between(self.label, min_value=0)

    @override
    def derived(self, rows: pa.Table) -> pa.ChunkedArray:
        return self._left(rows)

    def _left(self, fields: Any) -> Any:
        earlier, later = (
            fields[name].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
            for name in (self.field, self.other)
        )
        slack = int(self.slack.total_seconds()) * 1_000_000
        return pc.add(pc.subtract(later, earlier), slack)


@dataclass(frozen=True)
class SumOfLines(Check):
    """An amount that is the sum of quantity times unit price over `items`, to the cent."""

    @property
    @override
    def label(self) -> str:
        """The distance between the two."""
        return f"{self.field}_less_items"

    @override
    def good(self, fields: Fields) -> Array:
        return pc.less_equal(self._distance(fields), Decimal("0.01"))

    @override
    def expected(self) -> Expected:
        return _between(self.label, min_value=0, max_value=0.01)

    @override
    def derived(self, rows: pa.Table) -> pa.ChunkedArray:
        return self._distance(rows).cast(pa.float64())

    def _distance(self, fields: Any) -> Any:
        """Difference of the amount and the sum of its lines; null where a line has a null."""
        items, amount = fields["items"], fields[self.field]
        items = items.combine_chunks() if isinstance(items, pa.ChunkedArray) else items
        lines = pc.list_flatten(items)
        quantity = pc.struct_field(lines, "quantity")
        # A message, unlike a table, may have more digits than can be summed.
        countable = _within(quantity, -(2**31), 2**31)
        quantity = pc.if_else(countable, quantity, None).cast(_WHOLE).cast(_COUNT)
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
        return pc.abs(pc.subtract(amount.cast(_TOTAL), total))


def _between(column: str, **bounds: Any) -> Expected:
    return Expected("ExpectColumnValuesToBeBetween", {"column": column, **bounds})


def is_one_of(column: Array, values: Sequence[str | int]) -> Array:
    """Whether each value is one of these; a null is not."""
    return pc.is_in(column, pa.array(values, column.type))


def _within(column: Array, low: float, high: float | None) -> Array:
    good = pc.greater_equal(column, low)
    return good if high is None else pc.and_(good, pc.less_equal(column, high))


@dataclass(frozen=True)
class When:
    """Rows that a rule applies to: those with a text in a column, or all others.

    A null is not that text.
    """

    field: str
    value: str
    holds: bool = True

    def applies(self, fields: Fields) -> Array:
        """True where the rule applies, else false."""
        same = is_one_of(fields[self.field], [self.value])
        return same if self.holds else pc.invert(same)


@dataclass(frozen=True)
class Rule:
    """A condition on a message, and so on the rows of its silver table.

    Attributes:
        id: stable; quarantine and reports show it.
        says: describes, in a sentence, a message that fails the rule.
        checks: all of which must hold.
        when: the rows that it applies to; None: all.
        each: whether it applies to every element of the message's list, and not to the message.
    """

    id: str
    says: str
    checks: tuple[Check, ...]
    when: When | None = None
    each: bool = False

    def good(self, message: ParsedBatch) -> Array:
        """True where a message is good, or the rule does not apply; no nulls."""
        if self.each:
            lines = message.lines
            good = lines.all(pc.fill_null(self._hold(lines.fields), False))
            good = pc.and_(good, pc.is_valid(lines.lists))
        else:
            good = pc.fill_null(self._hold(message.fields), False)
        if self.when is None:
            return good
        return pc.or_(pc.invert(self.when.applies(message.fields)), good)

    def _hold(self, fields: Fields) -> Array:
        return reduce(pc.and_, (check.good(fields) for check in self.checks))


@dataclass(frozen=True)
class MessageRule:
    """A rule on a part of a message that its row does not have: no expectation can check it.

    Bronze keeps the message, and quarantine also the id of the rule.

    Attributes:
        id: stable; quarantine and reports show it.
        says: describes, in a sentence, a message that fails the rule.
        lost: why the silver table cannot be validated by it.
        holds: whether a message is good; a null is not.
    """

    id: str
    says: str
    lost: str
    holds: Callable[[ParsedBatch], Array]

    def good(self, message: ParsedBatch) -> Array:
        """True where a message is good; no nulls."""
        return pc.fill_null(self.holds(message), False)


def relist(elements: Array, lists: pa.ListArray) -> pa.ListArray:
    """Lists of the same lengths with other elements; null where a message has no list."""
    return pa.ListArray.from_arrays(lists.offsets, elements, mask=pc.is_null(lists))


@dataclass(frozen=True)
class Lines:
    """The elements of the lists of all messages, in one sequence.

    Attributes:
        fields: of the elements, by the name of the table's column.
        lists: of each message, the structs of its elements, or null.
    """

    fields: Fields
    lists: pa.ListArray

    @classmethod
    def of(cls, lengths: Sequence[int | None], fields: Mapping[str, Array]) -> Lines:
        """Lists from elements and the length of each list; None for a message without a list."""
        offsets = np.concatenate(([0], np.cumsum([length or 0 for length in lengths])))
        structs = pa.StructArray.from_arrays(list(fields.values()), list(fields))
        missing = pa.array([length is None for length in lengths], pa.bool_())
        return cls(
            fields, pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs, mask=missing)
        )

    def all(self, good: Array) -> Array:
        """Whether every element of a message's list is good; true without a list.

        Args:
            good: of each element; no nulls.
        """
        whole = np.ones(len(self.lists), bool)
        parents = pc.list_parent_indices(self.lists).to_numpy()
        whole[parents[~good.to_numpy(zero_copy_only=False)]] = False
        return pa.array(whole)


@dataclass(frozen=True)
class ParsedBatch:
    """The parsed messages of a micro-batch, as columns.

    Attributes:
        fields: by the name of the table's column; fields that the table lacks by any name.
        lines: the elements of their lists.
    """

    fields: Fields
    lines: Lines


AnyRule = Rule | MessageRule


def failed(rules: Mapping[str, Array]) -> pa.ListArray:
    """list<string>: the ids of the rules that each message fails; empty for a good one.

    Args:
        rules: rule id -> whether each message is good; no nulls.
    """
    bad = ~np.column_stack([good.to_numpy(zero_copy_only=False) for good in rules.values()])
    _, which = np.nonzero(bad)
    offsets = np.concatenate(([0], np.cumsum(bad.sum(axis=1))))
    ids = pa.array(list(rules), pa.string()).take(pa.array(which))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), ids)
