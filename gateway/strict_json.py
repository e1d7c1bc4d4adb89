"""Strict JSON: what every reader understands alike, or a rejection with the place of the fault."""

from __future__ import annotations

import json
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from hashlib import blake2b
from typing import Any, NoReturn

import msgspec

from gateway.rejections import NotJsonError


def parse(body: bytes) -> Any:
    """Read JSON exactly: whole numbers become `int` (1.0 as well), others `Decimal`.

    Python's own reader is lenient where others are not, so NaN, Infinity, UTF-16 and a name that
    occurs twice (two readers could see two orders) are refused.

    Raises:
        NotJsonError: with the reason, without the content.
    """
    text = decode(body)
    try:
        return STRICT.decode(text)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise NotJsonError(reason(error)) from None


def digest(document: dict[str, Any], body: bytes) -> bytes:
    """16 bytes of the content of a parsed body.

    The order of names, white space, and the spelling of numbers and texts do not change them.
    """
    try:
        content = _CANONICAL.encode(document)
    except (ValueError, RecursionError):  # an unknown field with half of a surrogate pair
        content = body
    return blake2b(content, digest_size=16).digest()


def decode(body: bytes) -> str:
    """The text of a body; raises `NotJsonError` when it is not UTF-8."""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJsonError(f"not UTF-8 at byte {error.start}") from None


def reason(error: Exception) -> str:
    """Why the reader gave up, in words that hold nothing of the content."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno}, column {error.colno}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    # Our hooks raise a plain ValueError; anything else comes from a number beyond reason.
    return str(error) if type(error) is ValueError else "number out of range"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return document


def _number(text: str) -> int | Decimal:
    """A JSON number by its value, exactly: 1.0 and 1e0 are 1, 2.50 is 2.5."""
    value = Decimal(text)
    if text[-1] != "0" and "e" not in text and "E" not in text:
        return value
    if value.adjusted() <= _WHOLE_DIGITS and value == value.to_integral_value():
        return int(value)
    return value.normalize(_EXACT)


_WHOLE_DIGITS = 30  # more than any field has; a huge exponent must not become a huge integer
_EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
_CANONICAL = msgspec.json.Encoder(order="deterministic", decimal_format="number")
STRICT = json.JSONDecoder(
    parse_float=_number, parse_constant=_refuse_constant, object_pairs_hook=_unique
)
# Finds the end of what the strict one refuses; numbers remain text, so none is too large.
LENIENT = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
