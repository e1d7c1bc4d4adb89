"""Messages of a broker as source rows: sizes, headers and Arrow batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from streaming.source import SOURCE_SCHEMA, UNREADABLE_HEADER

ROWS_PER_ARROW_BATCH = 10_000
BYTES_PER_ARROW_BATCH = 16 * 1024 * 1024

Row = tuple[Any, ...]
"""In the order of `SOURCE_SCHEMA`."""
Header = dict[str, Any]
"""{"key": text, "value": bytes or None}."""


def to_arrow(rows: Sequence[Row]) -> pa.RecordBatch:
    """Rows in the order of `SOURCE_SCHEMA` -> one Arrow batch."""
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(SOURCE_SCHEMA)
    arrays = [
        pa.array(column, type=field.type)
        for column, field in zip(columns, SOURCE_SCHEMA, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SOURCE_SCHEMA)


def message_bytes(key: bytes | None, value: bytes | None, headers: Sequence[Header] | None) -> int:
    """Bytes of key, value and headers, for the limits of batches."""
    size = len(key or b"") + len(value or b"")
    return size + sum(len(h["key"]) + len(h["value"] or b"") for h in headers or ())


def to_batches(rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
    """Arrow batches of at most 10,000 rows and 16 MiB; a larger row has a batch of its own."""
    held: list[Row] = []
    size = 0
    for row in rows:
        more = message_bytes(row[0], row[1], row[-1])
        if held and (len(held) == ROWS_PER_ARROW_BATCH or size + more > BYTES_PER_ARROW_BATCH):
            yield to_arrow(held)
            held, size = [], 0
        held.append(row)
        size += more
    if held:
        yield to_arrow(held)


def headers_of(
    pairs: Callable[[], Iterable[tuple[str, bytes | None]] | None],
) -> list[Header] | None:
    """The headers of a message, None without any.

    Args:
        pairs: gets them from the broker's client, which fails to decode names and values that are
            not UTF-8. Then only these bytes are kept, under `UNREADABLE_HEADER`.
    """
    try:
        return [{"key": name, "value": value} for name, value in pairs() or ()] or None
    except (UnicodeDecodeError, SystemError) as error:
        return [{"key": UNREADABLE_HEADER, "value": _undecoded(error)}]


def _undecoded(error: UnicodeDecodeError | SystemError) -> bytes | None:
    """The bytes that could not be decoded.

    confluent-kafka continues after a failure to decode, so Python raises a SystemError from it.
    """
    cause = error if isinstance(error, UnicodeDecodeError) else error.__cause__
    return bytes(cause.object) if isinstance(cause, UnicodeDecodeError) else None
