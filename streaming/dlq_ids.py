"""Ids of rejected messages, and the header that links a redriven message to its own."""

from __future__ import annotations

import re
from collections.abc import Iterable

from conf.errors import StorelakeError

ORIGIN_HEADER = "storelake-origin"
OWN_HEADERS = "storelake-"
"""Prefix of this project's headers; a redriven message carries only its origin."""

_ID = re.compile(r"([A-Za-z0-9._-]{1,249})/(\d{1,10})/([0-9A-Za-z:_-]{1,64})", re.ASCII)

Headers = list[tuple[str, bytes | None]]


class DlqError(StorelakeError):
    """A rejected message cannot be found, read, fixed or sent; the message states what to do."""


def dead_letter_id(topic: str, partition: int, position: str) -> str:
    """The id of the rejected message from a source position, as `dead_letters.id` has it."""
    return f"{topic}/{partition}/{position.lstrip('0') or '0'}"


def read_id(text: str) -> str:
    """Normalize an id that a user typed, or copied from a header with its leading zeros.

    Raises:
        DlqError: the text is not an id.
    """
    found = _ID.fullmatch(text.strip())
    if found is None:
        raise DlqError(
            f"{text!r} is no id of a dead letter: it looks like order-created/0/42; "
            "`storelake dlq list` shows them."
        )
    return dead_letter_id(found[1], int(found[2]), found[3])


def origin_of(headers: Iterable[tuple[str, bytes | None]]) -> str | None:
    """The id of the rejected message that a message was redriven from; the last header counts."""
    origin = None
    for name, value in headers:
        if name == ORIGIN_HEADER:
            origin = value
    try:
        return read_id(origin.decode("ascii")) if origin else None
    except (DlqError, UnicodeDecodeError):
        return None  # another producer wrote the header
