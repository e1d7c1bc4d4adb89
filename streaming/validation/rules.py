"""Validates messages inside a stream by rules whose ids quarantine shows.

A rule is true for a good row. Null counts as broken: a rule that cannot be evaluated has failed.

The rules on bytes and JSON are here: a row of silver has neither any more. Bronze still has the
message, quarantine has it with the ids. The rules on the content are data (`checks`), since they
also validate the silver tables.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import reduce
from typing import TypeVar

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from streaming.source import UNREADABLE_HEADER
from streaming.validation.checks import (
    UUID,
    AnyRule,
    Array,
    Matches,
    MessageRule,
    ParsedBatch,
    Rule,
    failed,
    is_one_of,
)
from streaming.validation.parsing import Parsed, parse

MAX_VALUE_BYTES = 1024 * 1024

# Allowed in JSON, but not in PostgreSQL's text and jsonb: NUL, half a surrogate pair, numbers
# beyond `numeric` (also by their digits).
# https://www.postgresql.org/docs/18/datatype-json.html
_UNSTORABLE = re.compile(
    rb"\\u0000|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
    rb"|[:,\[]\s*-?(?:\d[\d.]*[eE][+-]?\d{4}|[\d.]{1001})"
)
# A fast check before the slow one: no message without this is unstorable.
_SUSPICIOUS = r"\\u|[\d.][eE][+-]?\d{4}|[\d.]{500}"

ENVELOPE_MEANINGS = {
    "broker_metadata_readable": "The time that the broker has for the message lies in no possible "
    "range, or the name of a header is no UTF-8 text.",
    "value_present": "The message is empty.",
    "value_not_too_large": "The message is larger than 1 MiB.",
    "valid_utf8": "The bytes are no UTF-8 text.",
    "storable_text": "The text holds something that the database cannot store: a NUL character, "
    "half of a surrogate pair, or a number beyond all bounds.",
    "json_object": "The text is not one whole JSON object.",
}
"""Rule on the bytes -> what is wrong with a message that fails it."""

REFUSED = "refused_by_sink"
REFUSED_MEANING = {
    REFUSED: "A sink could not hold a value of the message; see `refused_rows` in Postgres."
}
"""For a message that passes every rule, but that the database or the lake rejects."""

E = TypeVar("E", bound=msgspec.Struct)


def metadata_rule(rows: pa.Table) -> Array:
    """Whether the broker's time and the headers of messages could be read; no nulls.

    Args:
        rows: source rows. An invalid time is null; `UNREADABLE_HEADER` replaces the headers.
    """
    headers = rows["headers"].combine_chunks()
    names = pc.struct_field(pc.list_flatten(headers), "key")
    unreadable = pc.list_parent_indices(headers).filter(pc.equal(names, UNREADABLE_HEADER))
    readable = np.ones(rows.num_rows, bool)
    readable[unreadable.to_numpy()] = False
    return pc.and_(pc.is_valid(rows["timestamp"].combine_chunks()), pa.array(readable))


def envelope_rules(values: Array) -> dict[str, Array]:
    """Rules on the bytes of messages, before anything is parsed; no nulls.

    Args:
        values: binary. A missing value, or one that is not text, fails only the rule for that.
    """
    size = pc.binary_length(values)
    is_text = _each(values, _are_texts(values), _is_text)
    suspicious = pc.match_substring_regex(values, _SUSPICIOUS)
    return {
        "value_present": pc.fill_null(pc.greater(size, 0), False),
        "value_not_too_large": pc.fill_null(pc.less_equal(size, MAX_VALUE_BYTES), True),
        "valid_utf8": is_text,
        "storable_text": _each(
            values,
            pc.fill_null(pc.invert(suspicious), True),
            lambda value: _UNSTORABLE.search(value) is None,
        ),
    }


def _are_texts(values: Array) -> Array:
    """True for all values if all are UTF-8; else only for nulls: the others need `_is_text`."""
    try:
        values.cast(pa.string())
    except pa.ArrowInvalid:
        return pc.is_null(values)
    return pa.array(np.ones(len(values), bool))


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _each(values: Array, surely: Array, closer: Callable[[bytes], bool]) -> Array:
    """`surely`, and where that is false, the result of `closer`."""
    good = np.array(surely.to_numpy(zero_copy_only=False))
    for at in np.flatnonzero(~good):
        good[at] = closer(values[int(at)].as_py())
    return pa.array(good)


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
            lambda m: m.fields["types_match"],
        ),
        MessageRule(
            "schema_version_known",
            version_of,
            "A table has one schema, whatever the version of the message.",
            lambda m: is_one_of(m.fields["schema_version"], versions),
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
    clean = reduce(pc.and_, envelope.values())
    parsed = parse(pc.if_else(clean, values, None).to_pylist(), decoder)
    readable = pa.array(parsed.readable)
    batch = message(rows, parsed)
    # One cause at a time: bytes, then JSON, then the content.
    good = {
        **envelope,
        "json_object": pc.or_(pc.invert(clean), readable),
        **{rule.id: pc.or_(pc.invert(readable), rule.good(batch)) for rule in rules},
    }
    return batch, failed(good)
