"""Row rules as data, and the validation of messages by them.

A rule on columns has two uses: it validates parsed micro-batches, which splits the stream, and
becomes expectations on the rows of the silver table, which validate committed rows
(`quality.suites.row_rules`). A rule is true for a good row. Null counts as broken: a rule that
cannot be evaluated has failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streaming.validation.batch import (
    Array,
    Fields,
    Lines,
    Mask,
    ParsedBatch,
    failed,
    is_one_of,
    to_mask,
)
from streaming.validation.checks import UUID, Check, Matches
from streaming.validation.envelope import envelope_rules, metadata_rule
from streaming.validation.parsing import Parsed, parse

REFUSED = "refused_by_sink"
REFUSED_MEANING = {
    REFUSED: "A sink could not hold a value of the message; see `refused_rows` in Postgres."
}
"""For a message that passes every rule, but that the database or the lake rejects."""

E = TypeVar("E", bound=msgspec.Struct)


@dataclass(frozen=True)
class Condition:
    """Rows with a text in a column, or with a number below `value`; or all others.

    A null is not that text, and is below every number.
    """

    field: str
    value: str | int
    holds: bool = True

    def applies(self, batch: ParsedBatch) -> Mask:
        """Where the condition is met."""
        if isinstance(self.value, int):
            same = to_mask(pc.less(pc.fill_null(batch.fields[self.field], -1), self.value))
        else:
            same = batch.equal(self.field, self.value)
        return same if self.holds else ~same


@dataclass(frozen=True)
class When:
    """Rows that a rule applies to: those that meet every condition."""

    conditions: tuple[Condition, ...]

    def applies(self, batch: ParsedBatch) -> Mask:
        """Where the rule applies."""
        every: Mask = np.logical_and.reduce([c.applies(batch) for c in self.conditions])
        return every


@dataclass(frozen=True)
class Rule:
    """A condition on a message, and so on the rows of its silver table.

    Attributes:
        id: stable; quarantine and reports show it.
        description: a sentence on a message that fails the rule.
        checks: all of which must hold.
        when: the rows that it applies to; None: all.
        each: whether it applies to every element of the message's list, and not to the message.
    """

    id: str
    description: str
    checks: tuple[Check, ...]
    when: When | None = None
    each: bool = False

    def good(self, batch: ParsedBatch) -> Mask:
        """Whether a message is good, or the rule does not apply."""
        applies = self.when.applies(batch) if self.when else None
        if applies is not None and not applies.any():
            return ~applies
        good = self._each_good(batch.lines) if self.each else self._hold(batch.fields)
        return good if applies is None else good | ~applies

    def _each_good(self, lines: Lines) -> Mask:
        every = lines.all(self._hold(lines.fields))
        return every if all(check.allows_null for check in self.checks) else every & lines.present

    def _hold(self, fields: Fields) -> Mask:
        return to_mask(reduce(pc.and_, (check.good(fields) for check in self.checks)))


@dataclass(frozen=True)
class MessageRule:
    """A rule on a part of a message that its row does not have: no expectation can check it.

    Bronze keeps the message, and quarantine also the id of the rule.

    Attributes:
        id: stable; quarantine and reports show it.
        description: a sentence on a message that fails the rule.
        not_checkable_because: why the silver table cannot be validated by it.
        holds: whether a message is good; a null is not.
    """

    id: str
    description: str
    not_checkable_because: str
    holds: Callable[[ParsedBatch], Array]

    def good(self, batch: ParsedBatch) -> Mask:
        """Whether a message is good."""
        return to_mask(self.holds(batch))


AnyRule = Rule | MessageRule


def event_rules(versions: Sequence[int], version_of: str) -> tuple[AnyRule, ...]:
    """Rules for the events of all contracts, before their own rules.

    Args:
        versions: the known ones.
        version_of: description of the rule on the version.
    """
    return (
        MessageRule(
            "types_match",
            "A field has the wrong JSON type, such as a number in quotes.",
            "JSON types are gone: columns have one type.",
            lambda batch: batch.fields["types_match"],
        ),
        MessageRule(
            "schema_version_known",
            version_of,
            "A table has one schema, whatever the version of the message.",
            lambda batch: is_one_of(batch.fields["schema_version"], versions),
        ),
        Rule("event_id_uuid", "event_id is no UUID.", (Matches("event_id", UUID),)),
    )


def validate(
    rows: pa.Table,
    decoder: msgspec.json.Decoder[E],
    rules: Sequence[AnyRule],
    message: Callable[[pa.Table, Parsed[E]], ParsedBatch],
) -> tuple[ParsedBatch, pa.ListArray]:
    """Source rows -> their fields as columns, and the ids of the rules that each row failed.

    The columns of a rejected message have the fields that could be read.

    Args:
        rows: source rows.
        decoder: of an event.
        rules: on the content.
        message: source rows and their events -> columns, for the rules and for the table.
    """
    values = rows["value"].combine_chunks()
    envelope = {"broker_metadata_readable": metadata_rule(rows), **envelope_rules(values)}
    clean = np.logical_and.reduce(list(envelope.values()))
    parsed = parse(values, clean, decoder)
    batch = message(rows, parsed)
    # One cause at a time: bytes, then JSON, then the content.
    unreadable = ~parsed.readable
    good = {
        **envelope,
        "json_object": ~clean | parsed.readable,
        **{rule.id: unreadable | rule.good(batch) for rule in rules},
    }
    return batch, failed(good)
