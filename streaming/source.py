"""What a source row is, whatever the broker; the contract between connectors and transforms."""

from __future__ import annotations

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
