"""What Python's JSON parser takes, and JSON has not."""

from __future__ import annotations

from typing import NoReturn


def no_number(text: str) -> NoReturn:
    """The `parse_constant` of a strict parser: NaN and the infinities are no numbers.

    Raises:
        ValueError: always.
    """
    raise ValueError(f"{text} is no JSON")
