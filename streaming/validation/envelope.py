"""Rules on the bytes of messages, before anything is parsed.

A row of silver has no bytes any more. Bronze still has the message, quarantine has it with the ids
of the rules.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conf.contracts.storable import is_storable
from streaming.source import UNREADABLE_HEADER
from streaming.validation.batch import Array, Mask, to_mask

MAX_VALUE_BYTES = 1024 * 1024

# A fast check before the slow one: every message without this can be stored.
_SUSPICIOUS = r"\\u|[:,\[][\s\v]*-?(?:\d[\d.]*[eE][+-]?\d{4}|[\d.]{20})"

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


def metadata_rule(rows: pa.Table) -> Mask:
    """Whether the broker's time and the headers of messages could be read.

    Args:
        rows: source rows. An invalid time is null; `UNREADABLE_HEADER` replaces the headers.
    """
    headers = rows["headers"].combine_chunks()
    names = pc.struct_field(pc.list_flatten(headers), "key")
    unreadable = pc.list_parent_indices(headers).filter(pc.equal(names, UNREADABLE_HEADER))
    readable = to_mask(pc.is_valid(rows["timestamp"])).copy()
    readable[unreadable.to_numpy()] = False
    return readable


def envelope_rules(values: Array) -> dict[str, Mask]:
    """Rule on the bytes -> whether each message is good.

    Args:
        values: binary. A missing value, or one that is not text, fails only the rule for that.
    """
    size = pc.fill_null(pc.binary_length(values), 0).to_numpy()
    suspicious = to_mask(pc.match_substring_regex(values, _SUSPICIOUS))
    return {
        "value_present": size > 0,
        "value_not_too_large": size <= MAX_VALUE_BYTES,
        "valid_utf8": _each(values, _are_texts(values), _is_text),
        "storable_text": _each(values, ~suspicious, is_storable),
    }


def _are_texts(values: Array) -> Mask:
    """True for all values if all are UTF-8; else only for nulls: the others need `_is_text`."""
    try:
        values.cast(pa.string())
    except pa.ArrowInvalid:
        return to_mask(pc.is_null(values))
    return np.ones(len(values), bool)


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _each(values: Array, surely: Mask, closer: Callable[[bytes], bool]) -> Mask:
    """`surely`, and where that is false, the result of `closer`."""
    good = surely.copy()
    for at in np.flatnonzero(~surely):
        good[at] = closer(values[int(at)].as_py())
    return good
