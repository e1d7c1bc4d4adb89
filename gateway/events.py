"""From the bytes of a request to a checked event, or to the list of everything wrong with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn

from pydantic import BaseModel, ValidationError

from gateway.models import EVENT_TYPES, OrderEvent, StatusChangedEvent, model_for


class FieldFault(BaseModel):
    """One wrong field. The offending value is left out: it may be personal data."""

    path: str
    code: str
    message: str


class NotJsonError(Exception):
    """The body is no JSON document in UTF-8."""


class NotAnEventError(Exception):
    """The body is JSON, but not an event of the contract or not of the route."""

    def __init__(self, faults: list[FieldFault]) -> None:
        super().__init__(f"{len(faults)} wrong fields")
        self.faults = faults


@dataclass(frozen=True)
class CheckedEvent:
    """What the gateway needs to know of an event; the rest stays in its bytes."""

    event_id: str
    event_type: str
    order_id: str


def parse(body: bytes) -> Any:
    """Read JSON exactly: numbers with a fraction become `Decimal`.

    Python's own reader is lenient where others are not, so NaN, Infinity, UTF-16 and a name that
    occurs twice (two readers could see two orders) are refused.

    Raises:
        NotJsonError: with the reason, without the content.
    """
    try:
        return json.loads(
            body.decode("utf-8"),
            parse_float=Decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except json.JSONDecodeError as error:
        raise NotJsonError(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError as error:
        raise NotJsonError(f"not UTF-8 at byte {error.start}") from None
    except (ValueError, ArithmeticError) as error:  # the hooks below, or a number beyond reason
        raise NotJsonError(
            str(error) if type(error) is ValueError else "number out of range"
        ) from None
    except RecursionError:
        raise NotJsonError("nested too deeply") from None


def check(body: bytes, event_type: str) -> CheckedEvent:
    """Check one body for the route that takes `event_type`.

    Raises:
        NotJsonError: the body is no JSON.
        NotAnEventError: with every wrong field and its path.
    """
    document = parse(body)
    if not isinstance(document, dict):
        raise NotAnEventError([_fault("", "object_type", "Input should be a JSON object")])
    faults = _route_faults(document.get("event_type"), event_type)
    try:
        event = model_for(document, default=event_type).model_validate(document)
    except ValidationError as error:
        found = [_fault(_path(e["loc"]), e["type"], e["msg"]) for e in error.errors()]
        raise NotAnEventError(faults + found) from None
    if faults or not isinstance(event, (OrderEvent, StatusChangedEvent)):
        raise NotAnEventError(faults)
    return CheckedEvent(event.event_id, event.event_type, event.order.order_id)


def _route_faults(declared: object, expected: str) -> list[FieldFault]:
    """A known type on the wrong route; an unknown or missing one is the model's to report."""
    if declared == expected or not isinstance(declared, str) or declared not in EVENT_TYPES:
        return []
    return [_fault("event_type", "wrong_route", f"This route takes {expected} only")]


def _fault(path: str, code: str, message: str) -> FieldFault:
    return FieldFault(path=path, code=code, message=message)


def _path(location: tuple[int | str, ...]) -> str:
    """`order.items[2].unit_price`, as a person would write it."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return document
