"""Mending the value of a rejected order event. Bytes in, bytes out; money stays exact."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Sequence
from typing import Any

import simplejson

from streaming.letters import DeadLetterError

_PATH = re.compile(r"[^.\[\]=]+(\[\d{1,6}\])*(\.[^.\[\]=]+(\[\d{1,6}\])*)*")
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def read_event(value: bytes | None) -> Any:
    """The JSON value in the bytes; numbers with a fraction become `Decimal`.

    Raises:
        DeadLetterError: with the place where it stops being JSON.
    """
    try:
        return simplejson.loads((value or b"").decode("utf-8"), use_decimal=True)
    except UnicodeDecodeError as error:
        raise DeadLetterError(f"byte {error.start} is no UTF-8") from error
    except simplejson.JSONDecodeError as error:
        raise DeadLetterError(f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise DeadLetterError("brackets too deep or numbers too long") from error


def to_bytes(event: Any) -> bytes:
    """The event as it goes over the wire (compact, UTF-8), every number with its own digits."""

    def dump(*, ascii_only: bool) -> bytes:
        text = simplejson.dumps(
            event, separators=(",", ":"), ensure_ascii=ascii_only, use_decimal=True
        )
        return text.encode()

    try:
        return dump(ascii_only=False)
    except UnicodeEncodeError:  # half of a surrogate pair: there is no UTF-8 for it
        return dump(ascii_only=True)


def to_lines(event: Any) -> str:
    """The event for people."""
    return simplejson.dumps(event, indent=2, ensure_ascii=False, use_decimal=True)


def read_assignment(text: str) -> tuple[str, Any]:
    """`path=value` -> the path and the value: JSON, or else the text itself.

    Raises:
        DeadLetterError: there is no path.
    """
    path, equals, value = text.partition("=")
    if not equals or not _PATH.fullmatch(path):
        raise DeadLetterError(
            f"{text!r} is no path=value: write it like order.items[0].quantity=2."
        )
    try:
        return path, simplejson.loads(value, use_decimal=True)
    except (RecursionError, ValueError):
        return path, value


def set_path(event: Any, path: str, value: Any) -> Any:
    """The event with `value` at `path`; the one that was given stays as it is.

    The last name of a path may be new to its object. Everything before it must be there, and a
    place in a list, too.

    Raises:
        DeadLetterError: the path leads nowhere; the message says where it ends.
    """
    steps = [int(i) if i else name for i, name in _STEP.findall(path)]
    changed = home = copy.copy(event)
    for at, step in enumerate(steps[:-1]):
        _check(home, steps[:at], step, new=False)
        home[step] = home = copy.copy(home[step])
    _check(home, steps[:-1], steps[-1], new=True)
    home[steps[-1]] = value
    return changed


def _check(home: Any, so_far: Sequence[str | int], step: str | int, *, new: bool) -> None:
    """Whether `home[step]` can be had, or be set if it may be new."""
    where = to_path(so_far) or "The event"
    if isinstance(step, int):
        if not isinstance(home, list):
            raise DeadLetterError(f"{where} is no list, so it has no [{step}].")
        if step >= len(home):
            raise DeadLetterError(f"{where} has no [{step}]: its length is {len(home)}.")
    elif not isinstance(home, dict):
        raise DeadLetterError(f"{where} is no object, so it has no {step}.")
    elif not new and step not in home:
        known = ", ".join(list(home)[:20]) or "nothing"
        raise DeadLetterError(f"{where} has no {step}: it has {known}.")


def to_path(steps: Iterable[str | int]) -> str:
    """`["order", "items", 0, "name"]` -> `order.items[0].name`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return text.removeprefix(".")


def order_id_of(event: Any) -> str | None:
    """`order.order_id`, where it is a text."""
    order = event.get("order") if isinstance(event, dict) else None
    found = order.get("order_id") if isinstance(order, dict) else None
    return found if isinstance(found, str) and found else None
