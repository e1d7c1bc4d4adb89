"""Edit the value of a rejected order event. Bytes in, bytes out; numbers keep their digits."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, NoReturn
from uuid import uuid4

from streaming.dlq_ids import DlqError

_PATH = re.compile(r"[^.\[\]=]+(\[\d{1,6}\])*(\.[^.\[\]=]+(\[\d{1,6}\])*)*")
_NO_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity)')
_MARK = uuid4().hex
"""Marks numbers among texts; no text of an event contains it."""
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def read_event(value: bytes | None) -> Any:
    """The JSON value in the bytes; numbers with a fraction become `Decimal`.

    Raises:
        DlqError: not JSON; the message has the place of the fault.
    """
    try:
        return _loads((value or b"").decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DlqError(f"byte {error.start} is no UTF-8") from error
    except json.JSONDecodeError as error:
        raise DlqError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (RecursionError, ValueError, ArithmeticError) as error:
        raise DlqError("brackets too deep or numbers too long") from error


def _loads(text: str) -> Any:
    """Parse by Python's reader: msgspec rejects half a surrogate pair, which may need an edit."""

    def no_number(_: str) -> NoReturn:
        start = next(match.start() for match in _NO_NUMBER.finditer(text) if match[1])
        raise json.JSONDecodeError("Expecting value", text, start)

    return json.loads(text, parse_float=Decimal, parse_constant=no_number)


def to_bytes(event: Any) -> bytes:
    """The event as compact UTF-8 JSON; every number keeps its digits."""
    try:
        return _dumps(event, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair: there is no UTF-8 for it
        return _dumps(event, separators=(",", ":")).encode()


def to_lines(event: Any) -> str:
    """The event as indented JSON; half of a surrogate pair is an escape, as JSON may have it."""
    text = _dumps(event, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return _dumps(event, indent=2)
    return text


def _dumps(event: Any, **options: Any) -> str:
    """JSON in which a `Decimal` is a number: written as a marked text, then without its quotes."""
    text = json.dumps(event, default=lambda number: f"{_MARK}{number}{_MARK}", **options)
    return text.replace(f'"{_MARK}', "").replace(f'{_MARK}"', "")


def read_assignment(text: str) -> tuple[str, Any]:
    """`path=value` -> the path and the value: JSON, or else the text itself.

    Raises:
        DlqError: there is no path.
    """
    path, equals, value = text.partition("=")
    if not equals or not _PATH.fullmatch(path):
        raise DlqError(f"{text!r} is no path=value: write it like order.items[0].quantity=2.")
    try:
        return path, _loads(value)
    except (RecursionError, ValueError, ArithmeticError):
        return path, value


def set_path(event: Any, path: str, value: Any) -> Any:
    """A copy of the event with `value` at `path`.

    The last name of a path may be new to its object. Everything before it must exist, and so must
    an index of a list.

    Raises:
        DlqError: the path does not exist; the message names the first missing part.
    """
    steps = [int(i) if i else name for i, name in _STEP.findall(path)]
    changed = home = copy.copy(event)
    for at, step in enumerate(steps[:-1]):
        _check(home, steps[:at], step, new=False)
        home[step] = home = copy.copy(home[step])
    _check(home, steps[:-1], steps[-1], new=True)
    home[steps[-1]] = value
    return changed


def value_at(event: Any, path: str) -> Any:
    """The value at a path as `set_path` takes it; None where there is none."""
    for index, name in _STEP.findall(path):
        step = int(index) if index else name
        try:
            event = event[step]
        except (KeyError, IndexError, TypeError):
            return None
    return event


def _check(home: Any, so_far: Sequence[str | int], step: str | int, *, new: bool) -> None:
    """Check that `home[step]` exists, or can be set if it may be new."""
    where = to_path(so_far) or "The event"
    if isinstance(step, int):
        if not isinstance(home, list):
            raise DlqError(f"{where} is no list, so it has no [{step}].")
        if step >= len(home):
            raise DlqError(f"{where} has no [{step}]: its length is {len(home)}.")
    elif not isinstance(home, dict):
        raise DlqError(f"{where} is no object, so it has no {step}.")
    elif not new and step not in home:
        known = ", ".join(list(home)[:20]) or "nothing"
        raise DlqError(f"{where} has no {step}: it has {known}.")


def to_path(steps: Iterable[str | int]) -> str:
    """`["order", "items", 0, "name"]` -> `order.items[0].name`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")


def order_id_of(event: Any) -> str | None:
    """`order.order_id`, where it is a text."""
    order = event.get("order") if isinstance(event, dict) else None
    found = order.get("order_id") if isinstance(order, dict) else None
    return found if isinstance(found, str) and found else None
