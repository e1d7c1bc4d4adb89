"""What PostgreSQL cannot store of a JSON text: the gateway and the streams refuse the same.

JSON allows it; PostgreSQL's text and jsonb do not: NUL, half of a surrogate pair, numbers beyond
`numeric` (also by their digits). https://www.postgresql.org/docs/18/datatype-json.html
"""

from __future__ import annotations

import re

_CHARACTERS = re.compile(
    rb"\\u0000|\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)
_NUMBERS = re.compile(rb"[:,\[]\s*-?(?:\d[\d.]*[eE][+-]?\d{4}|[\d.]{1001})")


def is_storable(text: bytes) -> bool:
    """Whether the database can store a JSON text; unsure means no.

    An escaped backslash before `u0000` counts as a NUL, and so does such a number in a text.
    """
    if b"\\u" in text and _CHARACTERS.search(text):
        return False
    return _NUMBERS.search(text) is None
