"""The source row, whatever the broker: the contract between sources and transforms."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import pyarrow as pa

SOURCE_SCHEMA = pa.schema(
    [
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("position", pa.string()),
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
    ]
)
"""One message. `position` is the offset in a form that sorts as text."""

SOURCE_DDL = (
    "key binary, value binary, topic string, partition int, position string, "
    "timestamp timestamp, headers array<struct<key: string, value: binary>>"
)
"""The same for Spark."""
SOURCE_COLUMNS = tuple(SOURCE_SCHEMA.names)

GENERATION = 10**15
"""A position of Kafka is the generation of its topic times this, plus the broker's offset: 0 to
99,999 generations in the 20 digits of a position (docs/adr/0030)."""

HEARTBEAT = "(heartbeat)"
"""Topic of a row that a source with option `heartbeatSeconds` emits at the end of an idle log, with
the time as `timestamp`, no key and no value. No broker allows parentheses in the name of a topic.
"""

UNREADABLE_HEADER = "storelake-unreadable"
"""Name of the header that replaces headers that cannot be decoded; its value: the bytes of the
first name or value that is not UTF-8. A message with this header is rejected."""

_FIRST_MILLIS = 946_684_800_000
"""2000-01-01: older than every broker."""
_AHEAD_MILLIS = 24 * 60 * 60 * 1000


def broker_offset(position: str) -> int:
    """Kafka's own offset of a position, without the generation of the topic."""
    return int(position) % GENERATION


def broker_time(millis: int | None) -> datetime | None:
    """A message's timestamp as a time in UTC; None where it cannot be one.

    A time before the year 2000, or more than a day after now, is invalid: it comes from clients
    that send seconds, microseconds or nanoseconds in place of milliseconds, and may be beyond the
    range of `datetime`.

    Args:
        millis: since 1970; None where the broker has none.
    """
    if millis is None or not _FIRST_MILLIS <= millis <= time.time() * 1000 + _AHEAD_MILLIS:
        return None
    return datetime.fromtimestamp(millis / 1000, tz=timezone.utc)
