"""Parses JSON messages to typed values, and these to Arrow columns: strict types, no exceptions.

A message of the expected types is read in one pass. Any other is read again field by field, so that
rules can report all of its faults, and not only a wrong type.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from operator import attrgetter
from types import UnionType
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conf.contracts.fields import FORMATS
from streaming.validation.batch import Array, Mask, offsets, only, to_mask

Int = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Long = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Number = msgspec.Raw
"""A JSON number as text, not rounded to a binary fraction."""
NO_NUMBER = msgspec.Raw(b"null")

AMOUNT = pa.decimal128(20, 6)
"""Money of a message: with six places, so that a third one is rejected and not rounded away; more
places are noise of binary fractions."""
INSTANT = pa.timestamp("us", "UTC")
_INSTANT = FORMATS["date-time"].removesuffix("$") + r"\z"
_NUMBER = re.compile(r"-?\d[\d.eE+-]*", re.ASCII)
_FEW = 50
"""So many values, of which one is invalid, are cast one by one."""
_LONGEST = 38
"""Arrow casts a decimal of more digits than these to another number, without an error."""

E = TypeVar("E", bound=msgspec.Struct)
_anything = msgspec.json.Decoder(float_hook=Decimal)


@dataclass(frozen=True)
class Parsed(Generic[E]):
    """Messages as typed values.

    Attributes:
        events: one per message; an empty one where it could not be read.
        readable: whether a message is one whole JSON object.
        typed: whether every known field has its JSON type.
    """

    events: list[E]
    readable: Mask
    typed: Mask


def parse(values: Array, clean: Mask, decoder: msgspec.json.Decoder[E]) -> Parsed[E]:
    """Read messages.

    Args:
        values: UTF-8, binary.
        clean: which of them are read.
        decoder: of a struct whose fields may all be left out.
    """
    events, readable, typed = list[E](), clean.copy(), np.ones(len(values), bool)
    decode, nothing = decoder.decode, decoder.type()
    texts = values.to_numpy(zero_copy_only=False).tolist()
    for at, (value, is_clean) in enumerate(zip(texts, clean.tolist(), strict=True)):
        try:
            event = decode(value) if is_clean else nothing
        except (msgspec.DecodeError, RecursionError):
            event, readable[at], typed[at] = _read_again(value, decoder.type)
        events.append(event)
    return Parsed(events, readable, typed)


def _read_again(value: bytes, kind: type[E]) -> tuple[E, bool, bool]:
    try:
        found = _anything.decode(value)
    except (msgspec.DecodeError, RecursionError, ArithmeticError):
        found = None
    if not isinstance(found, dict):
        return kind(), False, False
    event, typed = _fit(found, kind)
    return event, True, typed


def _fit(value: Any, kind: Any) -> tuple[Any, bool]:
    """The readable part of a JSON value as a type, and whether all of it has that type."""
    if get_origin(kind) in (Union, UnionType):  # with None
        kind = get_args(kind)[0]
    if kind is Number:
        return _fit_number(value)
    if kind is Any or value is None:
        return value, True
    if get_origin(kind) is list and isinstance(value, list):
        parts = [_fit(one, get_args(kind)[0]) for one in value]
        return [part for part, _ in parts], all(fits for _, fits in parts)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        return _fit_fields(value, kind)
    return _fit_value(value, kind)


def _fit_number(value: Any) -> tuple[msgspec.Raw, bool]:
    """A number, or one in quotes, of which only the type is wrong; null for any other value."""
    fits = value is None or (isinstance(value, int | Decimal) and not isinstance(value, bool))
    text = str(value).strip('"')
    is_number = _NUMBER.fullmatch(text) and (fits or isinstance(value, str))
    return (msgspec.Raw(text.encode()) if is_number else NO_NUMBER), fits


def _fit_value(value: Any, kind: Any) -> tuple[Any, bool]:
    """Convert a value of the wrong type where possible, so that other rules need not fail."""
    if kind is float and isinstance(value, Decimal):
        return float(value), True
    if kind is str and isinstance(value, int | Decimal):
        return str(value), False
    if isinstance(value, Decimal) and value.adjusted() < 20 and value == int(value):
        value = int(value)  # 1.0 and 1 are the same JSON number
    with suppress(msgspec.ValidationError):
        return msgspec.convert(value, kind), True
    with suppress(msgspec.ValidationError):
        return msgspec.convert(value, kind, strict=False), False
    return None, False


def _fit_fields(value: dict[str, Any], kind: type[msgspec.Struct]) -> tuple[Any, bool]:
    fields = [f for f in msgspec.structs.fields(kind) if f.encode_name in value]
    parts = {f.name: _fit(value[f.encode_name], f.type) for f in fields}
    found = kind(**{name: part for name, (part, _) in parts.items()})
    return found, all(fits for _, fits in parts.values())


def column(structs: Iterable[msgspec.Struct], field: str) -> list[Any]:
    """One field of each struct."""
    return list(map(attrgetter(field), structs))


def texts(values: Iterable[str | None]) -> pa.StringArray:
    """Texts as a column."""
    return pa.array(values, pa.string())


def instants(values: Iterable[str | None]) -> pa.TimestampArray:
    """Texts like 2024-05-01T10:00:00.5Z as times in UTC; null for another form, or invalid date."""
    column = texts(values)
    column = only(pc.match_substring_regex(column, _INSTANT), column)
    return _cast(column, INSTANT)


def amounts(values: Sequence[msgspec.Raw]) -> tuple[pa.Decimal128Array, Mask]:
    """JSON numbers as `AMOUNT`, and which of them are numbers, or null.

    Numbers with too many digits become null. Numbers in quotes are read: only their type is wrong.
    """
    lengths = list(map(len, values))
    ends = offsets(lengths)
    json = pa.StringArray.from_buffers(
        len(values), ends.buffers()[1], pa.py_buffer(b"".join(values))
    )
    is_present = pc.not_equal(json, "null")
    with suppress(pa.ArrowInvalid):  # all are numbers that fit
        _require_short(lengths)
        return only(is_present, json).cast(AMOUNT), np.ones(len(values), bool)
    bare = pc.utf8_trim(json, '"')
    is_number = pc.match_substring_regex(bare, rf"^{_NUMBER.pattern}\z")
    fits = pc.and_(pc.equal(json, bare), pc.or_(is_number, pc.invert(is_present)))
    return _cast(only(is_number, bare), AMOUNT), to_mask(fits)


def _cast(column: pa.StringArray, kind: pa.DataType) -> pa.Array:
    """Cast a column, with null for invalid values; halves it until these are few."""
    try:
        _require_short([pc.max(pc.binary_length(column)).as_py() or 0])
        return column.cast(kind)
    except pa.ArrowInvalid:
        if len(column) <= _FEW:
            return pa.array([_cast_one(text, kind) for text in column.to_pylist()], kind)
    half = len(column) // 2
    return pa.concat_arrays([_cast(part, kind) for part in (column[:half], column[half:])])


def _require_short(lengths: Sequence[int]) -> None:
    if max(lengths, default=0) > _LONGEST:
        raise pa.ArrowInvalid(f"a number has more than {_LONGEST} characters")


def _cast_one(text: str | None, kind: pa.DataType) -> Any:
    try:
        if pa.types.is_decimal(kind) and text is not None:
            return pa.scalar(Decimal(text).quantize(Decimal("0.000001")), kind).as_py()
        return pa.scalar(text, pa.string()).cast(kind).as_py()
    except (pa.ArrowInvalid, ArithmeticError):
        return None
