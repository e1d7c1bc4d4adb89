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
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def is_storable(text: bytes) -> bool:
    """Whether the database can store a JSON text; the result is undefined for any other text."""
    # An escaped backslash is no beginning of an escape.
    if b"\\u" in text and _CHARACTERS.search(text.replace(rb"\\", b"  ")):
        return False
    # What looks like a number in a string is none: look twice, since few texts have one.
    return not (_NUMBERS.search(text) and _NUMBERS.search(_STRINGS.sub(b'""', text)))
