"""From the bytes of a request to a checked event, or to the list of everything wrong with it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from pydantic import ValidationError

from conf.contracts.fields import FORMATS
from conf.contracts.order_event import EVENT_TYPES
from gateway.models import model_for
from gateway.rejections import (
    FieldFault,
    NotABatchError,
    NotAnEventError,
    NotJsonError,
    RejectionError,
    TooLargeError,
)

_UUID = re.compile(FORMATS["uuid"])
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class CheckedEvent:
    """The fields of an event that the gateway uses; the rest is in its bytes."""

    event_id: str
    event_type: str
    order_id: str
    body: bytes


def parse(body: bytes) -> Any:
    """Read JSON exactly: numbers with a fraction become `Decimal`.

    Python's own reader is lenient where others are not, so NaN, Infinity, UTF-16 and a name that
    occurs twice (two readers could see two orders) are refused.

    Raises:
        NotJsonError: with the reason, without the content.
    """
    text = _text(body)
    try:
        return _STRICT.decode(text)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise NotJsonError(_reason(error)) from None


def check(body: bytes, accepted: frozenset[str]) -> CheckedEvent:
    """Check one body for the route that takes the types `accepted`.

    Raises:
        NotJsonError: the body is no JSON.
        NotAnEventError: with every wrong field and its path.
    """
    return _validate_suite(parse(body), body, accepted)


def check_batch(
    body: bytes, accepted: frozenset[str], max_events: int, max_event_bytes: int
) -> list[CheckedEvent | RejectionError]:
    """Cut an array into its elements, byte for byte, and check each, in order.

    An element that is JSON to others but not to us (a name twice, NaN) is refused alone; where the
    array itself is broken the ends of its elements are unknown, so it is refused as a whole.

    Raises:
        NotJsonError: the body is no JSON.
        NotABatchError: it is no array, or has no element, or too many.
    """
    text = _text(body)
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        parse(body)
        raise NotABatchError("list_type", "Input should be a JSON array of events")
    spans, at = [], _skip(text, at + 1)
    if text[at : at + 1] == "]":
        raise NotABatchError("too_short", "A batch should have at least one event")
    while True:
        document, end = _element(text, at)
        spans.append((document, text[at:end].encode()))
        at = _skip(text, end)
        mark, at = text[at : at + 1], at + 1
        if mark == "]":
            break
        if mark != ",":
            raise NotJsonError(
                _reason(json.JSONDecodeError("Expecting ',' delimiter", text, at - 1))
            )
        if len(spans) == max_events:
            raise NotABatchError("too_long", f"A batch should have at most {max_events} events")
        at = _skip(text, at)
    if _skip(text, at) != len(text):
        raise _broken("Extra data", text, at)
    return [_verdict(document, part, accepted, max_event_bytes) for document, part in spans]


def _element(text: str, at: int) -> tuple[Any, int]:
    """One element and where it ends; for what only we refuse, the rejection as the element."""
    try:
        return _STRICT.raw_decode(text, at)
    except (ValueError, ArithmeticError, RecursionError) as error:
        refused = error
    try:
        _, end = _LENIENT.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(_reason(error)) from None
    return NotAnEventError([_fault("", "invalid_json", _reason(refused))]), end


def _verdict(
    document: Any, body: bytes, accepted: frozenset[str], max_bytes: int
) -> CheckedEvent | RejectionError:
    if len(body) > max_bytes:
        return TooLargeError(f"the event is over {max_bytes} bytes")
    if isinstance(document, RejectionError):
        return document
    try:
        return _validate_suite(document, body, accepted)
    except NotAnEventError as error:
        return error


def _validate_suite(document: Any, body: bytes, accepted: frozenset[str]) -> CheckedEvent:
    if not isinstance(document, dict):
        raise NotAnEventError([_fault("", "object_type", "Input should be a JSON object")])
    declared = document.get("event_type")
    faults = _route_faults(declared, accepted)
    try:
        model_for(declared, document.get("schema_version"), accepted).model_validate(document)
    except ValidationError as error:
        found = [_fault(_path(e["loc"]), e["type"], e["msg"]) for e in error.errors()]
        raise NotAnEventError(faults + found, _event_id(document)) from None
    if faults:
        raise NotAnEventError(faults, document["event_id"])
    event_id, order_id = document["event_id"], document["order"]["order_id"]
    return CheckedEvent(event_id, document["event_type"], order_id, body)


def _route_faults(declared: object, accepted: frozenset[str]) -> list[FieldFault]:
    """A known type on the wrong route; an unknown or missing one is the model's to report."""
    if not isinstance(declared, str) or declared in accepted or declared not in EVENT_TYPES:
        return []
    expected = ", ".join(sorted(accepted))
    return [_fault("event_type", "wrong_route", f"This route takes {expected} only")]


def _event_id(document: dict[str, Any]) -> str | None:
    """The id of a refused event, where it is one: nothing else of the input is repeated."""
    value = document.get("event_id")
    return value if isinstance(value, str) and _UUID.fullmatch(value) else None


def _fault(path: str, code: str, message: str) -> FieldFault:
    return FieldFault(path=path, code=code, message=message)


def _path(location: tuple[int | str, ...]) -> str:
    """`order.items[2].unit_price`, as a person would write it."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJsonError(f"not UTF-8 at byte {error.start}") from None


def _skip(text: str, at: int) -> int:
    """The first place from `at` on that is no white space of JSON."""
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _broken(message: str, text: str, at: int) -> NotJsonError:
    return NotJsonError(_reason(json.JSONDecodeError(message, text, at)))


def _reason(error: Exception) -> str:
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


_STRICT = json.JSONDecoder(
    parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_unique
)
# Finds the end of what the strict one refuses; numbers remain text, so none is too large.
_LENIENT = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=str)
