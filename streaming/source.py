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

PACKED_DDL = "rows int, messages binary"
PACKED_SCHEMA = pa.schema([("rows", pa.int32()), ("messages", pa.binary())])
"""Many source rows as one: their number, and an Arrow stream of them (option `packed`)."""

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

HISTORY_HEADER = "history-import"
"""Name of the header of an imported order event: it is never late, and moves no watermark."""

_FIRST_MILLIS = 946_684_800_000
"""2000-01-01: older than every broker."""
_AHEAD_MILLIS = 24 * 60 * 60 * 1000


def packed(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Source rows -> one row of `PACKED_DDL`.

    Between two Python steps Spark copies each row twice, column by column; bytes it only passes.
    """
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, rows.schema) as writer:
        writer.write_batch(rows)
    cells = {"rows": [rows.num_rows], "messages": [stream.getvalue().to_pybytes()]}
    return pa.RecordBatch.from_pydict(cells, PACKED_SCHEMA)


def unpacked(packs: pa.RecordBatch) -> pa.Table:
    """Rows of `PACKED_DDL` -> the source rows in them."""
    streams = [pa.ipc.open_stream(one.as_buffer()) for one in packs["messages"]]
    return pa.concat_tables([SOURCE_SCHEMA.empty_table(), *(s.read_all() for s in streams)])


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
