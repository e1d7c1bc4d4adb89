"""From the bytes of a request to a checked event, or to the list of everything wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from conf.contracts.fields import FORMATS
from conf.contracts.order_event import EVENT_TYPES
from conf.contracts.storable import is_storable
from gateway.models import model_for
from gateway.rejections import (
    FieldFault,
    NotABatchError,
    NotAnEventError,
    NotJsonError,
    RejectionError,
    TooLargeError,
)
from gateway.strict_json import LENIENT, STRICT, decode, digest, parse, reason

UNSTORABLE = (
    "Input should hold nothing that a database cannot store: a NUL character, half of a surrogate "
    "pair, a number beyond all bounds"
)
_UUID = re.compile(FORMATS["uuid"])
_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class CheckedEvent:
    """The fields of an event that the gateway uses, and the digest of its content."""

    event_id: str
    event_type: str
    order_id: str
    branch_id: str
    body: bytes
    digest: bytes


def check(body: bytes, accepted: frozenset[str], branches: Set[str] | None = None) -> CheckedEvent:
    """Check one body for the route that takes the types `accepted`.

    Args:
        body: of the request.
        accepted: event types.
        branches: ids of the known ones; None accepts all.

    Raises:
        NotJsonError: the body is no JSON.
        NotAnEventError: with every wrong field and its path.
    """
    return _check_document(parse(body), body, accepted, branches)


def check_batch(
    body: bytes,
    accepted: frozenset[str],
    max_events: int,
    max_event_bytes: int,
    branches: Set[str] | None = None,
) -> list[CheckedEvent | RejectionError]:
    """Cut an array into its elements, byte for byte, and check each, in order.

    An element that is JSON to others but not to us (a name twice, NaN) is refused alone; where the
    array itself is broken the ends of its elements are unknown, so it is refused as a whole.

    Raises:
        NotJsonError: the body is no JSON.
        NotABatchError: it is no array, or has no element, or too many.
    """
    text = decode(body)
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
                reason(json.JSONDecodeError("Expecting ',' delimiter", text, at - 1))
            )
        if len(spans) == max_events:
            raise NotABatchError("too_long", f"A batch should have at most {max_events} events")
        at = _skip(text, at)
    if _skip(text, at) != len(text):
        raise _broken("Extra data", text, at)
    return [
        _result(document, part, accepted, max_event_bytes, branches) for document, part in spans
    ]


def _element(text: str, at: int) -> tuple[Any, int]:
    """One element and where it ends; for what only we refuse, the rejection as the element."""
    try:
        return STRICT.raw_decode(text, at)
    except (ValueError, ArithmeticError, RecursionError) as error:
        refused = error
    try:
        _, end = LENIENT.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise NotJsonError(reason(error)) from None
    return NotAnEventError([_fault("", "invalid_json", reason(refused))]), end


def _result(
    document: Any,
    body: bytes,
    accepted: frozenset[str],
    max_bytes: int,
    branches: Set[str] | None,
) -> CheckedEvent | RejectionError:
    if len(body) > max_bytes:
        return TooLargeError(f"the event is over {max_bytes} bytes")
    if isinstance(document, RejectionError):
        return document
    try:
        return _check_document(document, body, accepted, branches)
    except NotAnEventError as error:
        return error


def _check_document(
    document: Any, body: bytes, accepted: frozenset[str], branches: Set[str] | None
) -> CheckedEvent:
    if not isinstance(document, dict):
        raise NotAnEventError([_fault("", "object_type", "Input should be a JSON object")])
    declared = document.get("event_type")
    faults = _route_faults(declared, accepted) + _branch_faults(document.get("order"), branches)
    try:
        model_for(declared, document.get("schema_version"), accepted).model_validate(document)
    except ValidationError as error:
        found = [_fault(_path(e["loc"]), e["type"], e["msg"]) for e in error.errors()]
        raise NotAnEventError(faults + found, _event_id(document)) from None
    if not is_storable(body):
        faults.append(_fault("", "unstorable", UNSTORABLE))
    if faults:
        raise NotAnEventError(faults, document["event_id"])
    order = document["order"]
    return CheckedEvent(
        document["event_id"],
        document["event_type"],
        order["order_id"],
        order["branch_id"],
        body,
        digest(document, body),
    )


def _route_faults(declared: object, accepted: frozenset[str]) -> list[FieldFault]:
    """A known type on the wrong route; an unknown or missing one is the model's to report."""
    if not isinstance(declared, str) or declared in accepted or declared not in EVENT_TYPES:
        return []
    expected = ", ".join(sorted(accepted))
    return [_fault("event_type", "wrong_route", f"This route takes {expected} only")]


def _branch_faults(order: object, branches: Set[str] | None) -> list[FieldFault]:
    """A branch that is not in the store file; a missing one is the model's to report."""
    branch = order.get("branch_id") if isinstance(order, dict) else None
    if branches is None or not isinstance(branch, str) or branch in branches:
        return []
    message = "Input should be a branch of the store file"
    return [_fault("order.branch_id", "unknown_branch", message)]


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


def _skip(text: str, at: int) -> int:
    """The first place from `at` on that is no white space of JSON."""
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _broken(message: str, text: str, at: int) -> NotJsonError:
    return NotJsonError(reason(json.JSONDecodeError(message, text, at)))
